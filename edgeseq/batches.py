"""Batches: rows of token ids of similar length that run through the engine together.

Which rows share a batch follows from the order of the rows alone, never from time, from the number of threads or from
the chunks that the rows come in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeseq.manifest import Input

TOKENS = 131_072
"""A batch is full at this number of tokens, padding included. What is done once for a batch is shared by many reads."""
PATIENCE = 8 * TOKENS
"""A row waits for company while at most this number of tokens is added after it."""

PadSide = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of token ids in one array: row i is ``ids[starts[i] : starts[i] + lengths[i]]``.

    ``numbers`` holds the number of each row among all rows of a run.
    """

    ids: NDArray[np.integer[Any]]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    numbers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, which: NDArray[np.intp]) -> Rows:
        """Some of the rows; the ids are shared."""
        return Rows(self.ids, self.starts[which], self.lengths[which], self.numbers[which])

    def copy_to(self, target: NDArray[np.integer[Any]], side: PadSide) -> None:
        """Nothing; writes each row to one side of its row of ``target``, and anything at all beside it.

        What stands around a row comes along, so that all rows are copied in one go but those near the array's ends.
        """
        length = target.shape[1]
        places = self.starts if side == "right" else self.starts + self.lengths - length
        step, last = self.ids.itemsize, len(self.ids) - length
        anywhere = np.ndarray((max(0, last + 1), length), self.ids.dtype, self.ids, 0, (step, step))
        if places.min() >= 0 and places.max() <= last:
            target[:] = anywhere[places]
            return
        inside = (places >= 0) & (places <= last)
        target[inside] = anywhere[places[inside]]
        for row in np.flatnonzero(~inside).tolist():
            start, size = int(self.starts[row]), int(self.lengths[row])
            at = slice(size) if side == "right" else slice(length - size, length)
            target[row, at] = self.ids[start : start + size]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of ids in parts, and the token length that all are padded to. No rows is a valid batch."""

    parts: list[Rows]
    length: int

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The number of each row."""
        return np.concatenate([part.numbers for part in self.parts]) if self.parts else np.empty(0, np.int64)

    def input_ids(
        self, pad_id: int, dtype: np.dtype[Any], side: PadSide = "right", *, buffer: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """The ids, padded on one side: an array of (rows, length) that the caller owns.

        With a one-dimensional ``buffer`` of that type, what fits it is written there, and the array is a view of it.
        """
        kinds = [part.ids.dtype for part in self.parts]
        ids = np.empty((len(self), self.length), np.result_type(np.min_scalar_type(pad_id), *kinds))
        first = 0
        for part in self.parts:
            part.copy_to(ids[first : first + len(part)], side)
            first += len(part)
        np.copyto(ids, pad_id, where=self._is_padding(side))
        if buffer is None or buffer.size < ids.size:
            own: NDArray[Any] = ids.astype(dtype, copy=False)
            return own
        view: NDArray[Any] = buffer[: ids.size].reshape(ids.shape)
        np.copyto(view, ids, casting="unsafe")
        return view

    def attention_mask(self, dtype: np.dtype[Any], side: PadSide = "right") -> NDArray[Any]:
        """1 for a token and 0 for padding: (rows, length)."""
        return (~self._is_padding(side)).astype(dtype)

    def _is_padding(self, side: PadSide) -> NDArray[np.bool_]:
        """What is no token: (rows, length)."""
        lengths = np.array([], np.int32)
        if self.parts:
            lengths = np.concatenate([part.lengths for part in self.parts]).astype(np.int32)
        places = np.arange(self.length, dtype=np.int32)
        padding: NDArray[np.bool_] = (places if side == "right" else places[::-1]) >= lengths[:, None]
        return padding


@dataclass(slots=True)
class _Group:
    """Rows that wait to become a batch, and the batcher's token count when the first of them came."""

    born: int
    rows: int = 0
    parts: list[Rows] = field(default_factory=list)


class Batcher:
    """Sorts rows into batches by length bucket.

    With ``spec.mixed_lengths`` a row is padded to the smallest bucket that holds it; a row longer than every bucket,
    and every row where lengths may not be mixed, shares a batch only with rows of exactly its own length. A
    specification without buckets gives one row a batch. At most `PATIENCE` tokens wait at any time.
    """

    def __init__(self, spec: Input, *, tokens: int = TOKENS, patience: int = PATIENCE) -> None:
        self._buckets = np.array(spec.buckets if spec.mixed_lengths else (), np.int64)
        self._tokens = tokens if spec.buckets else 0
        self._patience = patience
        self._added = 0
        self._groups: dict[int, _Group] = {}

    def add(self, rows: Rows) -> list[Batch]:
        """The batches that these rows complete, and those of rows that waited too long, in the order of their ends."""
        lengths = self._padded(rows.lengths)
        added = self._added + np.cumsum(lengths)
        ready = []
        first = 0
        while first < len(rows):
            oldest = next(iter(self._groups.values())).born if self._groups else self._added
            end = min(int(np.searchsorted(added, oldest + self._patience, "right")) + 1, len(rows))
            ready += self._sort(rows, lengths, added, first, end)
            self._added = int(added[end - 1])
            ready += self._overdue()
            first = end
        return ready

    def flush(self) -> list[Batch]:
        """Every row that still waits, oldest group first."""
        return [self._take(length) for length in list(self._groups)]

    def _padded(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """The bucket of each row, or its own length where no bucket holds it."""
        places = np.searchsorted(self._buckets, lengths)
        held = places < len(self._buckets)
        padded: NDArray[np.int64] = lengths.copy()
        padded[held] = self._buckets[places[held]]
        return padded

    def _sort(
        self, rows: Rows, lengths: NDArray[np.int64], added: NDArray[np.int64], first: int, end: int
    ) -> list[Batch]:
        """Puts the rows ``first`` to ``end`` (not included), during which no group grows too old, into their groups.

        Gives the batches that become full, in the order of their last rows.
        """
        order = first + np.argsort(lengths[first:end], kind="stable")
        in_order = lengths[order]
        changes = np.flatnonzero(in_order[1:] != in_order[:-1]) + 1
        full = []
        for begin, stop in pairwise([0, *changes.tolist(), len(order)]):
            length = int(in_order[begin])
            room = max(1, self._tokens // length)
            at = begin
            while at < stop:
                group = self._groups.get(length)
                if group is None:
                    group = self._groups[length] = _Group(int(added[order[at]]) - length)
                some = order[at : min(stop, at + room - group.rows)]
                at += len(some)
                group.parts.append(rows.take(some))
                group.rows += len(some)
                if group.rows == room:
                    full.append((int(some[-1]), self._take(length)))
        self._groups = dict(sorted(self._groups.items(), key=lambda item: item[1].born))
        return [batch for _, batch in sorted(full, key=lambda pair: pair[0])]

    def _overdue(self) -> list[Batch]:
        """The batches of groups that have waited too long."""
        late = [length for length, group in self._groups.items() if self._added - group.born > self._patience]
        return [self._take(length) for length in late]

    def _take(self, length: int) -> Batch:
        return Batch(self._groups.pop(length).parts, length)
