"""The whole reads that a file has gained, while somebody still writes it.

A record whose end has not been written yet is held back, never scored as a whole one, and comes out once the rest has
arrived, however the writing was cut. FASTQ and FASTA, plain or as gzip of any number of members, are followed byte by
byte; SAM and BAM are read once they are complete.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

from edgeseq.chunks import Chunk
from edgeseq.errors import ReadError, TruncatedError
from edgeseq.fastx import read_fasta, read_fastq
from edgeseq.folder import unreadable
from edgeseq.inflate import BLOCK, DamageError, inflated
from edgeseq.reads import format_of, open_reads, promises_reads
from edgeseq.stream import Stream

BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The last 28 bytes of every complete BAM file."""
SNIFF = 1 << 16
_LINES = 3

Kind = Literal["unknown", "fastq", "fasta", "whole", "other"]
"""What a file turned out to be; ``whole`` is SAM or BAM, ``other`` holds no reads."""


@dataclass(frozen=True, slots=True)
class Gained:
    """Reads that became whole, and how far the file is used up after them.

    ``offset`` counts decompressed bytes (of SAM and BAM: nothing) and ``records`` the reads so far.
    """

    chunk: Chunk
    offset: int
    records: int


class Follower:
    """Follows one file. `poll` gives what is new each time it is called.

    ``offset`` and ``records`` say how much was given out; with those of an earlier follower of the same file, reading
    goes on where that one stopped. ``read_at`` is the place in the file itself up to which it was read.
    """

    def __init__(self, path: str, *, offset: int = 0, records: int = 0) -> None:
        self.kind: Kind = "unknown"
        self.offset = self.records = 0
        self._goal, self._goal_records = offset, records
        self._file = GrowingFile(path)
        self._pieces = inflated(self._file.blocks(), cast(BinaryIO, self._file))
        self._pending = b""
        self._ended = False

    @property
    def path(self) -> str:
        """Where the file is now. It may be set: a renamed file is the same file."""
        return self._file.path

    @path.setter
    def path(self, path: str) -> None:
        self._file.path = path

    @property
    def read_at(self) -> int:
        """The place in the file itself up to which it was read."""
        return self._file.at

    @property
    def held_back(self) -> int:
        """Decompressed bytes of a record that is not whole yet."""
        return 0 if self.kind == "other" else len(self._pending)

    def poll(self) -> Iterator[Gained]:
        """Reads that became whole since the last call, as soon as they are read.

        Raises `ReadError` after them where the file is damaged or cannot be read; a damaged file gives no more.
        """
        while not self._ended:
            try:
                piece = next(self._pieces, None)
            except DamageError as damage:
                self._ended = True
                if self.kind == "other" or not self._meant():
                    return
                raise damage.error(self.path, self.records, self.offset) from damage
            if not piece:
                break
            yield from self._gain(piece)
        if self.kind == "whole" and not self._ended and self._file.ends_with(BGZF_END):
            yield from self._read_whole()

    def finish(self) -> Iterator[Gained]:
        """The reads that are whole if nothing more is written: the last one of a FASTA file, those of a cut BAM file.

        Raises `TruncatedError` where the file ends in the middle of a record. There is nothing to poll afterwards.
        """
        self._file.ended = True
        yield from self.poll()
        if self._ended:
            return
        self._ended = True
        if self.kind == "unknown" and self._pending:
            self._sniff(final=True)
        if self.kind == "whole":
            yield from self._read_whole()
        elif self.kind in ("fastq", "fasta"):
            yield from self._parse(final=True)

    def _gain(self, piece: bytes) -> Iterator[Gained]:
        """What decompressed bytes add."""
        self._pending += piece
        if self.kind == "unknown":
            self._sniff(final=False)
        if self.kind in ("fastq", "fasta"):
            self._skip()
            try:
                yield from self._parse(final=False)
            except ReadError:
                self._ended = True
                raise
        elif self.kind != "unknown":
            self._pending = b""

    def _skip(self) -> None:
        """Passes over what an earlier follower gave out."""
        if self.offset < self._goal:
            step = min(len(self._pending), self._goal - self.offset)
            self._pending = self._pending[step:]
            self.offset += step
            self.records = self._goal_records if self.offset == self._goal else 0

    def _sniff(self, *, final: bool) -> None:
        """Decides what the file is, as soon as its first lines are there."""
        named = promises_reads(self.path)
        enough = self._pending.lstrip(b"\r\n").count(b"\n") >= (1 if named else _LINES)
        if not (enough or final or len(self._pending) >= SNIFF):
            return
        format_, mark = format_of(self._pending[:SNIFF], named=named)
        if format_ in ("sam", "bam"):
            self.kind = "whole"
        elif format_ == "fastq" or format_ == "fasta":
            self.kind = format_
            self._pending = self._pending[mark:]
            self.offset = mark
        elif not named:
            self.kind = "other"
        else:
            self.kind = "whole"  # says what is wrong with it when it is complete

    def _parse(self, *, final: bool) -> Iterator[Gained]:
        """The whole records that wait."""
        text = self._pending
        if self.kind == "fasta" and not final:
            text = text[: text.rfind(b"\n>") + 1]
        if not text:
            return
        read = read_fastq if self.kind == "fastq" else read_fasta
        start, before, end = self.offset, self.records, self.offset + len(text)
        waiting: Chunk | None = None
        problem: ReadError | None = None
        try:
            for chunk in read(Stream(self.path, iter((text,))), start):
                if waiting is not None:
                    yield self._gained(waiting, chunk[0].offset)
                waiting = chunk
        except ReadError as error:
            end = error.offset
            if final or not isinstance(error, TruncatedError):
                record = before + error.record
                problem = type(error)(
                    error.source, error.problem, record=record, offset=error.offset, remedy=error.remedy
                )
        self._pending = self._pending[end - start :]
        if waiting is not None:
            yield self._gained(waiting, end)
        self.offset = end
        if problem is not None:
            raise problem

    def _gained(self, chunk: Chunk, offset: int) -> Gained:
        self.offset, self.records = offset, self.records + len(chunk)
        return Gained(chunk, offset, self.records)

    def _read_whole(self) -> Iterator[Gained]:
        """The reads of a file that is complete, but for those given out already."""
        self._ended = True
        passed = 0
        for chunk in open_reads(self.path).chunks():
            before, passed = passed, passed + len(chunk)
            if passed <= self._goal_records:
                self.records = passed
                continue
            if before < self._goal_records:
                chunk = Chunk([chunk[at] for at in range(self._goal_records - before, len(chunk))])
            self.records = passed
            yield Gained(chunk, 0, passed)

    def _meant(self) -> bool:
        """Whether damage of this file is damage of reads."""
        return self.kind != "unknown" or promises_reads(self.path)


class GrowingFile:
    """A file that is opened, read from where it was left, and closed again, so that it may be renamed or go away."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.at = 0
        self.ended = False
        """Nothing more is expected: `blocks` ends where the file does."""

    def blocks(self) -> Iterator[bytes]:
        """Blocks of the file; an empty one where nothing is new. Raises `DamageError` where it cannot be read."""
        while True:
            block = self.read(BLOCK)
            if not block and self.ended:
                return
            yield block

    def read(self, size: int) -> bytes:
        """Up to so many bytes, fewer only at the end of what is there; none where the file is not there."""
        try:
            with Path(self.path).open("rb", buffering=0) as file:
                file.seek(self.at)
                block = file.read(size)
        except FileNotFoundError:
            return b""
        except OSError as error:
            problem = unreadable(self.path, error)
            raise DamageError(problem.problem, problem.remedy, io=True) from error
        self.at += len(block)
        return block

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int) -> int:
        self.at = offset
        return offset

    def ends_with(self, tail: bytes) -> bool:
        """Whether these are the last bytes of the file, all of which was read."""
        try:
            with Path(self.path).open("rb", buffering=0) as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - len(tail)))
                return size == self.at and file.read(len(tail)) == tail
        except OSError:
            return False
