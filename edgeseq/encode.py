"""From reads to rows of token ids: normalise, tile, encode, a chunk at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.batches import Rows
from edgeseq.chunks import Chunk
from edgeseq.manifest import Input
from edgeseq.normalise import COMPLEMENTS, TABLES, UNKNOWN
from edgeseq.tokenizers import Tokenizer
from edgeseq.windows import Windows, tile

Ids = NDArray[np.integer[Any]]


class EncodedChunk(Windows):
    """A chunk of reads, their windows, and what it takes to encode them.

    ``texts`` holds one text for each strand that is scored; all run along the forward strand. ``places`` is where each
    window starts in them. ``known`` holds the ids of rows that had to be encoded before they were asked for.
    Row ``strands * window + strand`` belongs to that strand of that window; ``first_row`` is the number of row 0 among
    the rows of all chunks, and ``end_row`` that of the next chunk's row 0.
    """

    def __init__(
        self,
        chunk: Chunk,
        texts: list[bytes],
        counts: NDArray[np.int64],
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        n_fractions: NDArray[np.float64],
    ) -> None:
        super().__init__(counts, starts, ends, n_fractions)
        self.chunk = chunk
        self.texts = texts
        self.places = np.repeat(np.cumsum(chunk.lengths) - chunk.lengths, counts) + starts
        self.known: dict[int, Ids] = {}
        self.first_row = self.end_row = 0

    def without(self, windows: list[int]) -> EncodedChunk:
        """The chunk without some windows, each the last one of its read."""
        kept = np.ones(len(self.starts), np.bool_)
        kept[windows] = False
        counts = self.counts.copy()
        counts[np.repeat(np.arange(len(counts)), counts)[windows]] -= 1
        return EncodedChunk(self.chunk, self.texts, counts, self.starts[kept], self.ends[kept], self.n_fractions)


class Encoder:
    """Encodes reads as a manifest's input section asks for. Safe to share between threads.

    Where a tokenizer gives each letter one byte, normalising and encoding are one translation of a whole chunk.
    """

    def __init__(self, spec: Input, tokenizer: Tokenizer) -> None:
        self._spec = spec
        self._tokenizer = tokenizer
        self._added = len(tokenizer.encode(b""))
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
        most = spec.buckets[-1] if spec.buckets else 0
        self._most = most if not self._whole and tokenizer.token_count(spec.window) > most else 0

    @property
    def strands(self) -> int:
        """Rows for each window."""
        return len(self._strands)

    def plan(self, chunk: Chunk) -> EncodedChunk:
        """The reads with their windows. A window too short to give any token (the last one) is left out, and one with
        more tokens than the last bucket holds is cut in halves: nothing of a read is ever cut off."""
        texts = [chunk.letters.translate(table) for table in self._strands]
        n_fractions = self._n_fractions(texts[0], chunk.lengths)
        encoded = EncodedChunk(chunk, texts, *tile(chunk.lengths, self._spec), n_fractions)
        if self._whole:
            return encoded
        last = (encoded.first + encoded.counts - 1)[encoded.counts > 0].tolist()
        found = {window: self._encode(encoded, window, 0) for window in last}
        silent = [window for window, ids in found.items() if len(ids) <= self._added]
        if silent:
            encoded = encoded.without(silent)
        if self._most:
            return self._fitted(encoded)
        if not silent:
            encoded.known = {window * self.strands: ids for window, ids in found.items()}
        return encoded

    def _fitted(self, encoded: EncodedChunk) -> EncodedChunk:
        """The same reads in windows of at most as many tokens as the last bucket holds, on every strand."""
        owners: list[int] = []
        bounds: list[tuple[int, int]] = []
        known: list[list[Ids]] = []
        reads = np.repeat(np.arange(len(encoded.counts)), encoded.counts)
        first = encoded.places - encoded.starts
        windows = zip(*(a.tolist() for a in (reads, first, encoded.starts, encoded.ends)), strict=True)
        for read, before, start, end in windows:
            todo = [(start, end)]
            while todo:
                start, end = todo.pop()
                rows = [
                    self._tokenizer.encode(self._letters(encoded.texts[strand], before + start, before + end, strand))
                    for strand in range(self.strands)
                ]
                if max(map(len, rows)) > self._most and end - start > 1:
                    middle = (start + end) // 2
                    todo += [(middle, end), (start, middle)]
                else:
                    owners.append(read)
                    bounds.append((start, end))
                    known.append(rows)
        kept = _outermost(owners, bounds)
        owners, bounds = [owners[place] for place in kept], [bounds[place] for place in kept]
        starts, ends = np.array(bounds, np.int64).reshape(-1, 2).T
        counts = np.bincount(np.array(owners, np.int64), minlength=len(encoded.counts))
        fitted = EncodedChunk(encoded.chunk, encoded.texts, counts, starts, ends, encoded.n_fractions)
        fitted.known = dict(enumerate(ids for place in kept for ids in known[place]))
        return fitted

    def rows(self, encoded: EncodedChunk, windows: NDArray[np.int64] | None = None) -> Rows:
        """The rows of ``windows`` (default: of all) in order, with their numbers."""
        if windows is None:
            windows = np.arange(len(encoded.starts))
        strands = self.strands
        numbers = encoded.first_row + windows
        if strands > 1:
            numbers = (encoded.first_row + windows[:, None] * strands + np.arange(strands)).ravel()
        if self._whole:
            return self._translated(encoded, windows, numbers)
        ids = [
            known
            if (known := encoded.known.pop(window * strands + strand, None)) is not None
            else self._encode(encoded, window, strand)
            for window in windows.tolist()
            for strand in range(strands)
        ]
        lengths = np.array([len(row) for row in ids], np.int64)
        together = np.concatenate(ids) if ids else np.empty(0, np.uint8)
        return Rows(together, np.cumsum(lengths) - lengths, lengths, numbers)

    def _translated(self, encoded: EncodedChunk, windows: NDArray[np.int64], numbers: NDArray[np.int64]) -> Rows:
        """The rows where the texts hold ids: places in one array, the reverse strand from its own end on."""
        places = encoded.places[windows]
        lengths = (encoded.ends - encoded.starts)[windows]
        ids = np.frombuffer(encoded.texts[0], np.uint8)
        if self.strands > 1:
            reverse = np.frombuffer(encoded.texts[1], np.uint8)[::-1]
            places = np.stack([places, 2 * len(ids) - places - lengths], axis=1).ravel()
            lengths = np.repeat(lengths, 2)
            ids = np.concatenate([ids, reverse])
        return Rows(ids, places, lengths, numbers)

    def _encode(self, encoded: EncodedChunk, window: int, strand: int) -> Ids:
        """The ids of one strand of a window."""
        place = int(encoded.places[window])
        end = place + int(encoded.ends[window] - encoded.starts[window])
        return self._tokenizer.encode(self._letters(encoded.texts[strand], place, end, strand))

    @staticmethod
    def _letters(text: bytes, begin: int, end: int, strand: int) -> bytes:
        """A part of the text of a strand, in that strand's direction."""
        part = text[begin:end]
        return part[::-1] if strand else part

    def _n_fractions(self, text: bytes, lengths: NDArray[np.int64]) -> NDArray[np.float64]:
        places = np.flatnonzero(np.frombuffer(text, np.uint8) == self._unknown)
        if not len(places):
            return np.zeros(len(lengths))
        owners = np.searchsorted(np.cumsum(lengths), places, "right")
        shares: NDArray[np.float64] = np.bincount(owners, minlength=len(lengths)) / np.maximum(lengths, 1)
        return shares


def _outermost(owners: list[int], bounds: list[tuple[int, int]]) -> list[int]:
    """Places of the parts that lie in no other part of their read, by read and start.

    Parts of windows that overlap may lie in one another; the ends of those that are left grow with their starts.
    """
    kept: list[int] = []
    reach: tuple[int, int] = (-1, 0)
    for place in sorted(range(len(bounds)), key=lambda place: (owners[place], bounds[place][0], -bounds[place][1])):
        if (owners[place], bounds[place][1]) > reach:
            kept.append(place)
            reach = owners[place], bounds[place][1]
    return kept
