"""Batches: rows of token ids of similar length that run through the engine together.

Which rows share a batch follows from the order of the rows alone, never from time or from the number of threads.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeseq.manifest import Input

TOKENS = 131_072
"""A batch is full at this number of tokens, padding included. What is done once for a batch is shared by many reads."""
PATIENCE = 8 * TOKENS
"""A row waits for company while at most this number of tokens is added after it."""

Owner = TypeVar("Owner")
Row = bytes | NDArray[np.integer[Any]]
"""The ids of a row: one byte each, or an array. All rows of a batch are of one kind."""
PadSide = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Batch(Generic[Owner]):
    """Rows of ids, the owner of each, and the token length that all are padded to. No rows is a valid batch."""

    rows: list[Row]
    owners: list[Owner]
    length: int

    def input_ids(self, pad_id: int, dtype: np.dtype[Any], side: PadSide = "right") -> NDArray[Any]:
        """The ids, padded on one side: an array of (rows, length) that the caller owns."""
        if _are_bytes(self.rows):
            pad = bytes([pad_id])
            if side == "right":
                filled = b"".join([row.ljust(self.length, pad) for row in self.rows])
            else:
                filled = b"".join([row.rjust(self.length, pad) for row in self.rows])
            return np.frombuffer(filled, np.uint8).reshape(len(self.rows), self.length).astype(dtype)
        ids = np.full((len(self.rows), self.length), pad_id, dtype)
        for row, values in zip(ids, self.rows, strict=True):
            if side == "right":
                row[: len(values)] = values
            else:
                row[self.length - len(values) :] = values
        return ids

    def attention_mask(self, dtype: np.dtype[Any], side: PadSide = "right") -> NDArray[Any]:
        """1 for a token and 0 for padding: (rows, length)."""
        places = np.arange(self.length) if side == "right" else np.arange(self.length)[::-1]
        lengths = np.array([len(values) for values in self.rows])
        return (places < lengths[:, None]).astype(dtype)


@dataclass(slots=True)
class _Group(Generic[Owner]):
    """Rows that wait to become a batch, and the batcher's token count when the first of them came."""

    born: int
    rows: list[Row] = field(default_factory=list)
    owners: list[Owner] = field(default_factory=list)


class Batcher(Generic[Owner]):
    """Sorts rows into batches by length bucket.

    With ``spec.mixed_lengths`` a row is padded to the smallest bucket that holds it; a row longer than every bucket,
    and every row where lengths may not be mixed, shares a batch only with rows of exactly its own length. A
    specification without buckets gives one row a batch. At most `PATIENCE` tokens wait at any time.
    """

    def __init__(self, spec: Input, *, tokens: int = TOKENS, patience: int = PATIENCE) -> None:
        self._buckets = spec.buckets if spec.mixed_lengths else ()
        self._alone = not spec.buckets
        self._tokens = tokens
        self._patience = patience
        self._added = 0
        self._groups: dict[int, _Group[Owner]] = {}

    def add(self, ids: Row, owner: Owner) -> list[Batch[Owner]]:
        """The batches that this row completes: none, its own, and those of rows that waited too long."""
        length = len(ids)
        place = bisect_left(self._buckets, length)
        if place < len(self._buckets):
            length = self._buckets[place]
        group = self._groups.get(length)
        if group is None:
            group = self._groups[length] = _Group(self._added)
        group.rows.append(ids)
        group.owners.append(owner)
        self._added += length
        ready = []
        if self._alone or (len(group.rows) + 1) * length > self._tokens:
            ready.append(self._take(length))
        while self._groups:
            oldest = next(iter(self._groups))
            if self._added - self._groups[oldest].born <= self._patience:
                break
            ready.append(self._take(oldest))
        return ready

    def flush(self) -> list[Batch[Owner]]:
        """Every row that still waits, oldest group first."""
        return [self._take(length) for length in list(self._groups)]

    def _take(self, length: int) -> Batch[Owner]:
        group = self._groups.pop(length)
        return Batch(group.rows, group.owners, length)


def _are_bytes(rows: list[Row]) -> TypeGuard[list[bytes]]:
    return bool(rows) and isinstance(rows[0], bytes)
