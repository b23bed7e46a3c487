"""Reads of each class in a file of their own, so that reads of a host never have to leave the device."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from edgeseq.errors import SinkError, UsageError
from edgeseq.folder import MARKER
from edgeseq.prediction import UNCLASSIFIED
from edgeseq.predictions import Predictions
from edgeseq.read import Read
from edgeseq.sinks.output import PARTIAL

BUFFER = 1 << 17
"""Bytes of records that wait for compression, for each file."""
LEVEL = 1
LINE = 80
"""Letters in a line of FASTA."""

_TAG = re.compile(rb"[A-Za-z][A-Za-z0-9]:[AifZHB]:")


class SplitSink:
    """Writes ``DIR/LABEL.fastq.gz`` for each label that occurs, and ``unclassified.fastq.gz``.

    Reads without qualities go to ``.fasta.gz``. Records keep their header line, sequence and quality. Files are named
    ``….partial`` until `commit` gives all of them their names; nothing half-written is ever left under a final name.
    Characters of a label that a file name cannot hold are written as ``%XX``. The folder is marked as written by
    edgeseq, so that a later run over a folder around it does not take its files for new reads.
    """

    def __init__(self, folder: str | os.PathLike[str], labels: Iterable[str]) -> None:
        """Makes the folder. Raises UsageError where it cannot be made, or holds files that this sink would write."""
        self.folder = Path(folder)
        self._files: dict[tuple[str, str], _GzipFile] = {}
        self._suffix = ".fastq.gz"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / MARKER).touch()
        except OSError as error:
            raise UsageError(f"{folder}: cannot be used as a folder: {error.strerror}") from error
        for label in (*labels, UNCLASSIFIED):
            for suffix in (".fastq.gz", ".fasta.gz"):
                if self._path(label, suffix).exists():
                    raise UsageError(f"{self._path(label, suffix)} exists already; name an empty folder")

    def write(self, predictions: Predictions) -> None:
        for prediction in predictions:
            self.put(prediction.read, prediction.decision.label)

    def put(self, read: Read, label: str) -> None:
        """Takes one read that was called ``label``. Raises SinkError."""
        if read.sequence:
            self._suffix = ".fastq.gz" if read.quality else ".fasta.gz"
        key = (label, self._suffix)
        file = self._files.get(key)
        if file is None:
            file = self._files[key] = _GzipFile(self._path(*key))
        file.write(record_of(read, self._suffix))

    def flush(self) -> None:
        """Nothing: these files are for later."""

    def commit(self) -> None:
        for file in self._files.values():
            file.close()
        for file in self._files.values():
            file.rename()

    def abandon(self, *, keep: bool = False) -> None:  # noqa: ARG002  # a cut file of reads is of no use
        for file in self._files.values():
            file.remove()

    def _path(self, label: str, suffix: str) -> Path:
        return self.folder / (quote(label, safe=" +,@=") + suffix)


class _GzipFile:
    """One gzip file under a partial name."""

    def __init__(self, path: Path) -> None:
        from isal import igzip

        self._path = path
        self._partial = path.with_name(path.name + PARTIAL)
        self._records: list[bytes] = []
        self._size = 0
        try:
            self._raw = self._partial.open("wb")
        except OSError as error:
            raise self._failed(error) from error
        opener: Any = igzip.IGzipFile
        self._file: BinaryIO = opener(filename="", fileobj=self._raw, mode="wb", compresslevel=LEVEL, mtime=0)

    def write(self, record: bytes) -> None:
        self._records.append(record)
        self._size += len(record)
        if self._size >= BUFFER:
            self._compress()

    def close(self) -> None:
        self._compress()
        try:
            self._file.close()
            self._raw.flush()
            os.fsync(self._raw.fileno())
            self._raw.close()
        except OSError as error:
            raise self._failed(error) from error

    def rename(self) -> None:
        try:
            self._partial.replace(self._path)
        except OSError as error:
            raise self._failed(error) from error

    def remove(self) -> None:
        self._partial.unlink(missing_ok=True)
        try:
            self._file.close()
            self._raw.close()
        except OSError:
            return  # the file is gone in any case

    def _compress(self) -> None:
        data = b"".join(self._records)
        self._records.clear()
        self._size = 0
        try:
            self._file.write(data)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> SinkError:
        return SinkError(f"{self._path}: cannot be written: {error.strerror or error}")


def record_of(read: Read, suffix: str) -> bytes:
    """The read as a record, with the header line it came with."""
    name = header_line(read)
    if suffix == ".fastq.gz":
        return b"@%b\n%b\n+\n%b\n" % (name, read.sequence, read.quality)
    lines = [read.sequence[start : start + LINE] for start in range(0, len(read.sequence), LINE)]
    return b">%b\n%b\n" % (name, b"\n".join(lines))


def header_line(read: Read) -> bytes:
    """The header line that the read came with, without its first character: SAM tags follow a tab, all else a space."""
    name = read.id.encode("utf-8", "surrogateescape")
    if not read.description:
        return name
    return name + (b"\t" if _TAG.match(read.description) else b" ") + read.description
