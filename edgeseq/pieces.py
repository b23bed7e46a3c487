"""Long reads in pieces, so that what is computed for each base of a chromosome never lies in memory at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from edgeseq.chunks import Chunk
from edgeseq.manifest import Input
from edgeseq.read import Read
from edgeseq.windows import tile

PIECE_BASES = 1 << 18
"""Bases of a piece, roughly: much more than what the windows of neighbouring pieces share."""


class Place(NamedTuple):
    """Where a piece lies on its read, in bases.

    ``offset`` is where it starts; its windows give the scores of the bases from ``begin`` to ``end`` (not included) of
    the read, of ``length`` bases in all. Neighbouring pieces share bases but never scores.
    """

    offset: int
    begin: int
    end: int
    length: int


class PieceChunk(Chunk):
    """Pieces of reads, or whole short ones, with the place of each."""

    def __init__(self, reads: Sequence[Read], places: Sequence[Place]) -> None:
        super().__init__(reads)
        self.places = places


def cut(chunks: Iterator[Chunk | None], spec: Input, *, bases: int = PIECE_BASES) -> Iterator[PieceChunk | None]:
    """The reads in pieces of about so many bases, in order; ``None`` is passed on.

    The windows of the pieces of a read are exactly the windows of the read. Between two pieces, as between two windows,
    the border lies in the middle of what they share.
    """
    for chunk in chunks:
        if chunk is None:
            yield None
            continue
        reads: list[Read] = []
        places: list[Place] = []
        gathered = 0
        for read in chunk:
            for place, sequence in _places(read.sequence, spec, bases):
                reads.append(Read(read.id, sequence, source=read.source, record=read.record))
                places.append(place)
                gathered += len(sequence)
                if gathered >= bases:
                    yield PieceChunk(reads, places)
                    reads, places, gathered = [], [], 0
        if reads:
            yield PieceChunk(reads, places)


def _places(sequence: bytes, spec: Input, bases: int) -> Iterator[tuple[Place, bytes]]:
    length = len(sequence)
    windows = int(tile(np.array([length]), spec)[0][0])
    each = max(2, bases // spec.stride)
    begin = 0
    for first in range(0, max(windows, 1), each):
        if first and first + 1 == windows:
            return
        offset = first * spec.stride
        last = first + each >= windows - 1
        end = length if last else offset + (each - 1) * spec.stride + spec.window
        border = length if last else (end + offset + each * spec.stride) // 2
        yield Place(offset, begin, border, length), sequence[offset:end]
        begin = border
