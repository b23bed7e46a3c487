"""What a command line names as input: files, folders and standard input, as one stream of reads."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeseq.errors import ReadError, UsageError

if TYPE_CHECKING:
    from edgeseq.chunks import Chunk, Reads

STDIN = "-"
COMPANIONS = frozenset(
    {
        ".bai",
        ".csi",
        ".csv",
        ".fai",
        ".fast5",
        ".gzi",
        ".htm",
        ".html",
        ".json",
        ".jsonl",
        ".log",
        ".md",
        ".md5",
        ".pdf",
        ".pod5",
        ".tbi",
        ".toml",
        ".tsv",
        ".txt",
        ".yaml",
        ".yml",
    }
)
"""Suffixes of what lies beside reads. Such a file may hold none where it was named among others (``folder/*``)."""

Report = Callable[[ReadError], None]


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file to read. ``named``: the user named this very file; one met in a folder may turn out to hold no reads."""

    path: str
    named: bool
    size: int
    """In bytes; 0 where that is unknown."""
    live: bool = False
    """It is a pipe or the like: reads may pause."""
    companion: bool = False
    """It was named among others and its suffix promises no reads; without reads it is passed over with a note."""


class Inputs:
    """The reads of several inputs, each physical file once.

    ``files`` are in the order given, folders walked with numbers in numeric order. ``bytes_read`` follows the reading.
    """

    def __init__(self, arguments: Sequence[str], report: Report, note: Callable[[str], object] = str) -> None:
        """Finds the files; reads nothing yet. ``report`` is called with what cannot be listed or read, ``note`` with
        the path of a companion file without reads.

        Raises UsageError where an argument names nothing.
        """
        self._report = report
        self._note = note
        self.files = _find(arguments, report)
        self.bytes_read = 0

    @property
    def size(self) -> int:
        """Bytes of all files together; 0 where one of them has no known size."""
        sizes = [file.size for file in self.files]
        return 0 if any(file.live for file in self.files) else sum(sizes)

    @property
    def live(self) -> bool:
        """Whether reads may pause."""
        return any(file.live for file in self.files)

    def reads(self) -> Reads:
        """The reads of all files, in order. Damage is reported after the reads before it, and the next file follows."""
        from edgeseq.chunks import Reads

        return Reads(self._chunks())

    def _chunks(self) -> Iterator[Chunk]:
        before = 0
        for file in self.files:
            try:
                if file.companion:
                    yield from self._noting(file)
                else:
                    yield from self._chunks_of(file)
            except ReadError as error:
                self._report(error)
            before += file.size
            self.bytes_read = max(before, self.bytes_read) if file.live else before

    def _noting(self, file: InputFile) -> Iterator[Chunk]:
        """The reads of a companion file, or a note that it has none."""
        found = False
        for chunk in self._chunks_of(file):
            found = True
            yield chunk
        if not found:
            self._note(file.path)

    def _chunks_of(self, file: InputFile) -> Iterator[Chunk]:
        from edgeseq.reads import open_reads

        try:
            handle = _CountedFile(file.path, self._count)
        except OSError as error:
            problem = f"cannot be opened: {error.strerror or error}"
            raise ReadError(file.path, problem, record=0, offset=0, remedy="check path and rights") from error
        with handle:
            yield from open_reads(handle, named=file.named and not file.companion).chunks()

    def _count(self, size: int) -> None:
        self.bytes_read += size


class _CountedFile(io.FileIO):
    """A file, or standard input, that reports how many bytes were read and knows the name that the user gave it."""

    def __init__(self, path: str, count: Callable[[int], None]) -> None:
        super().__init__(os.dup(0) if path == STDIN else path, "rb")
        self.name = path
        self._count_read = count

    def read(self, size: int | None = -1, /) -> Any:
        data = super().read(-1 if size is None else size)
        self._count_read(len(data or b""))
        return data


def _find(arguments: Sequence[str], report: Report) -> list[InputFile]:
    from edgeseq.folder import read_files

    _check_presence(arguments)
    found: dict[str, InputFile] = {}
    for path in arguments:
        if path == STDIN:
            found.setdefault(STDIN, InputFile(path, True, 0, True))
        elif Path(path).is_dir():
            for inner in read_files(path, on_error=report):
                _add(found, inner, named=False)
        else:
            companion = len(arguments) > 1 and Path(path).suffix.lower() in COMPANIONS
            _add(found, path, named=True, companion=companion)
    return list(found.values())


def _check_presence(arguments: Sequence[str]) -> None:
    for path in arguments:
        if path != STDIN and not Path(path).exists():
            raise UsageError(f"{path}: no such file or folder")


def _add(found: dict[str, InputFile], path: str, *, named: bool, companion: bool = False) -> None:
    status = Path(path).stat()
    regular = stat.S_ISREG(status.st_mode)
    new = InputFile(path, named, status.st_size if regular else 0, not regular, companion)
    known = found.setdefault(os.path.realpath(path), new)
    if named and not known.named:
        found[os.path.realpath(path)] = replace(known, named=True, companion=companion)
