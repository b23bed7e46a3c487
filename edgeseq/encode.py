"""From a read to rows of token ids: normalise, tile, encode."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.aggregate import Windows
from edgeseq.batches import Row
from edgeseq.manifest import Input
from edgeseq.normalise import COMPLEMENTS, TABLES, UNKNOWN
from edgeseq.read import Read
from edgeseq.tokenizers import Tokenizer
from edgeseq.windows import tile

Ids = NDArray[np.integer[Any]]


class EncodedRead(Windows):
    """A read, its windows, and what it takes to encode them.

    ``texts`` holds one text for each strand that is scored; both run along the forward strand. ``last`` holds the ids
    of the last window if they are known already. Row ``strands * window + strand`` belongs to that strand of that
    window; ``first`` is the number of row 0 among the rows of all reads, and ``end`` that of the next read's row 0.
    """

    __slots__ = ("end", "first", "last", "read", "texts")

    def __init__(
        self,
        read: Read,
        texts: list[bytes],
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        n_fraction: float,
        last: Ids | None = None,
    ) -> None:
        self.read = read
        self.texts = texts
        self.starts = starts
        self.ends = ends
        self.n_fraction = n_fraction
        self.last = last
        self.scored = len(starts)
        self.first = self.end = 0


class Encoder:
    """Encodes reads as a manifest's input section asks for. Safe to share between threads.

    Where a tokenizer gives each letter one byte, normalising and encoding are one translation of the whole read.
    """

    def __init__(self, spec: Input, tokenizer: Tokenizer) -> None:
        self._spec = spec
        self._tokenizer = tokenizer
        self._tile = lru_cache(4096)(self._tile_once)
        unknown = ord(UNKNOWN[spec.alphabet])
        strands = [TABLES[spec.alphabet]]
        if spec.strand == "mean":
            strands.append(strands[0].translate(COMPLEMENTS))
        ids = tokenizer.byte_ids
        self._whole = ids is not None and not any(ids[letter] == ids[unknown] for letter in {*strands[0]} - {unknown})
        if ids is not None and self._whole:
            strands = [table.translate(ids) for table in strands]
            unknown = ids[unknown]
        self._strands = strands
        self._unknown = unknown

    @property
    def strands(self) -> int:
        """Rows for each window."""
        return len(self._strands)

    def plan(self, read: Read) -> EncodedRead:
        """The read with its windows. A window too short to give any token (the last one) is left out."""
        texts = [read.sequence.translate(table) for table in self._strands]
        text = texts[0]
        length = len(text)
        starts, ends = self._tile(length) if length <= 16 * self._spec.window else tile(length, self._spec)
        n_fraction = text.count(self._unknown) / length if self._unknown in text else 0.0
        if self._whole or not length:
            return EncodedRead(read, texts, starts, ends, n_fraction)
        last = self._tokenizer.encode(text[starts[-1] : ends[-1]])
        if not len(last):
            return EncodedRead(read, texts, starts[:-1], ends[:-1], n_fraction)
        return EncodedRead(read, texts, starts, ends, n_fraction, last)

    def rows(self, encoded: EncodedRead, first: int, end: int) -> list[Row]:
        """The ids of the rows of windows ``first`` to ``end`` (not included), in order."""
        texts = encoded.texts
        if self._whole and len(texts) == len(encoded.starts) == 1:
            return [*texts[first:end]]
        places = zip(encoded.starts[first:end].tolist(), encoded.ends[first:end].tolist(), strict=True)
        if len(texts) == 1:
            parts = [texts[0][start:stop] for start, stop in places]
        else:
            forward, reverse = texts
            parts = [part for start, stop in places for part in (forward[start:stop], reverse[start:stop][::-1])]
        if self._whole:
            return [*parts]
        known = encoded.last if end == len(encoded.starts) and len(texts) == 1 else None
        if known is None:
            return [self._tokenizer.encode(part) for part in parts]
        encoded.last = None
        return [*[self._tokenizer.encode(part) for part in parts[:-1]], known]

    def _tile_once(self, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        starts, ends = tile(length, self._spec)
        starts.setflags(write=False)
        ends.setflags(write=False)
        return starts, ends
