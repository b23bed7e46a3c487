"""From a read to rows of token ids: normalise, tile, encode."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.aggregate import Rows, Windows
from edgeseq.manifest import Input
from edgeseq.normalise import n_fraction, normalise, reverse_complement
from edgeseq.read import Read
from edgeseq.tokenizers import Tokenizer
from edgeseq.windows import tile

Ids = NDArray[np.integer[Any]]

PENDING: Rows = np.empty(0, np.float32)
"""Stands in the rows of a read for model output that has not come yet."""


class EncodedRead:
    """A read, its windows, and the ids of any of its rows on demand.

    ``windows.rows`` holds `PENDING` for each row that was asked for; ``missing`` counts those, and ``finished`` tells
    that no more rows will be asked for. Row ``strands * window + strand`` belongs to that strand of that window.
    """

    __slots__ = ("_last", "_sequence", "finished", "missing", "read", "windows")

    def __init__(self, read: Read, sequence: bytes, windows: Windows, last: Ids | None) -> None:
        self.read = read
        self.windows = windows
        self.missing = 0
        self.finished = not len(windows.starts)
        self._sequence = sequence
        self._last = last

    def expect(self, windows: int) -> None:
        """Asks for the rows of all windows before number ``windows``."""
        rows = self.windows.rows
        self.missing = windows * self.windows.strands - len(rows)
        rows.extend([PENDING] * self.missing)

    def place(self, row: int, values: Rows) -> None:
        """Takes the model's output for one row."""
        self.windows.rows[row] = values
        self.missing -= 1

    def take_last(self) -> Ids | None:
        """The ids of the last window's forward strand if they are at hand; they are handed out once."""
        last, self._last = self._last, None
        return last

    def slices(self, first: int, last: int) -> Iterator[bytes]:
        """The normalised bases of the rows of windows ``first`` to ``last`` (not included)."""
        starts, ends = self.windows.starts, self.windows.ends
        for window in range(first, last):
            forward = self._sequence[starts[window] : ends[window]]
            yield forward
            if self.windows.strands == 2:
                yield reverse_complement(forward)


class Encoder:
    """Encodes reads as a manifest's input section asks for. Safe to share between threads."""

    def __init__(self, spec: Input, tokenizer: Tokenizer) -> None:
        self._spec = spec
        self._tokenizer = tokenizer
        self._strands = 2 if spec.strand == "mean" else 1
        self._tile = lru_cache(4096)(self._tile_once)

    def plan(self, read: Read) -> EncodedRead:
        """The read with its windows. A window too short to give any token (the last one) is left out."""
        sequence = normalise(read.sequence, self._spec.alphabet)
        length = len(sequence)
        starts, ends = self._tile(length) if length <= 16 * self._spec.window else tile(length, self._spec)
        last = None
        if len(starts):
            last = self._tokenizer.encode(sequence[starts[-1] : ends[-1]])
            if not len(last):
                starts, ends, last = starts[:-1], ends[:-1], None
        windows = Windows(starts, ends, [], self._strands, n_fraction(sequence, self._spec.alphabet))
        return EncodedRead(read, sequence, windows, last)

    def rows(self, encoded: EncodedRead, first: int, last: int) -> Iterator[Ids]:
        """The ids of the rows of windows ``first`` to ``last`` (not included), in order."""
        known = encoded.take_last() if last == len(encoded.windows.starts) and self._strands == 1 else None
        if known is not None:
            last -= 1
        for bases in encoded.slices(first, last):
            yield self._tokenizer.encode(bases)
        if known is not None:
            yield known

    def _tile_once(self, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        starts, ends = tile(length, self._spec)
        starts.setflags(write=False)
        ends.setflags(write=False)
        return starts, ends
