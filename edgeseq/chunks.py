"""Reads that travel together: the unit of work from the parsers to the sinks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import EdgeseqError
from edgeseq.read import Read

MOST_READS = 2048
MOST_BASES = 1 << 19
"""Single reads are gathered up to so many of them, and to about so many bases."""


class Chunk:
    """Reads that came out of their source together, in order. One read is a chunk as well; none is not.

    ``letters`` holds all sequences, one directly after the other, and ``lengths`` the bases of each (int64). What else
    reads have comes as columns too. A `Read` is what indexing and iteration give.
    """

    def __init__(self, reads: Sequence[Read]) -> None:
        self._reads = reads
        self.letters = b"".join([read.sequence for read in reads])
        self.lengths: NDArray[np.int64] = np.array([len(read.sequence) for read in reads], np.int64)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, number: int) -> Read:
        return self._reads[number]

    def __iter__(self) -> Iterator[Read]:
        return iter(self._reads)

    def ids(self) -> list[str]:
        """`Read.id` of each read."""
        return [read.id for read in self._reads]

    def sources(self) -> list[str]:
        """`Read.source` of each read."""
        return [read.source for read in self._reads]

    def barcodes(self) -> list[str]:
        """`Read.barcode` of each read."""
        return [read.barcode for read in self._reads]


class Reads(Iterator[Read]):
    """An iterator over reads that hands them out in chunks as well, to those who can use them.

    Closing it closes the source.
    """

    def __init__(self, chunks: Iterator[Chunk]) -> None:
        self._chunks = chunks
        self._current: Iterator[Read] = iter(())

    def __next__(self) -> Read:
        while True:
            for read in self._current:
                return read
            self._current = iter(next(self._chunks))

    def chunks(self) -> Iterator[Chunk]:
        """All reads that have not been taken yet, in chunks."""
        if rest := list(self._current):
            yield Chunk(rest)
        yield from self._chunks

    def close(self) -> None:
        """Nothing; ends the iteration."""
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()


def gathered(items: Iterable[Read | Chunk | None]) -> Iterator[Chunk | None]:
    """The items in order, single reads gathered into chunks; ``None`` sends what has been gathered and follows it.

    An error of ``items`` is raised after the reads before it.
    """
    reads: list[Read] = []
    bases = 0
    error: Exception | None = None
    try:
        for item in items:
            if isinstance(item, Read):
                reads.append(item)
                bases += len(item.sequence)
                if len(reads) < MOST_READS and bases < MOST_BASES:
                    continue
            if reads:
                yield Chunk(reads)
                reads, bases = [], 0
            if not isinstance(item, Read):
                yield item
    except (EdgeseqError, OSError) as problem:
        error = problem
    if reads:
        yield Chunk(reads)
    if error is not None:
        raise error
