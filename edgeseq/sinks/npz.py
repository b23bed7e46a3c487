"""Embeddings as a numpy archive."""

from __future__ import annotations

import errno
import io
import os
import tempfile
import zipfile
import zlib
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from edgeseq.aggregate import Values
from edgeseq.errors import SinkError, UsageError
from edgeseq.predictions import Predictions
from edgeseq.sinks.output import PARTIAL

HEADER = 128
"""Bytes before the numbers of a .npy member: enough for two sizes of 20 digits."""
BLOCK = 4096
"""Rows of numbers that are put in place at a time."""
BLOCK_BYTES = 1 << 22
"""The same for ids, in bytes."""
_CRC_AT = 14
"""Where a zip file's entry holds its checksum, after the entry's start."""
_POLYNOMIAL = 0xEDB88320
_DATES = (1980, 1, 1, 0, 0, 0)


class NpzSink:
    """Writes ``path``, which ``numpy.load`` reads, with a row for each read, in order:

    ``embeddings`` float32 (reads × values); NaN for a read without any token. ``read_ids`` text. ``lengths`` int64, in
    bases. With ``per_window`` a row for each window instead, and ``starts`` and ``ends`` (int64) for ``lengths``.

    Numbers go to the disk as they come, so that memory does not grow with the reads and the disk holds them once. The
    file has a partial name until `commit`.
    """

    def __init__(self, path: str | os.PathLike[str], width: int = 0, *, per_window: bool = False) -> None:
        """``width`` is the number of values of a read, where it is known before there is one.

        Raises UsageError where the file cannot be made.
        """
        self.path = Path(path)
        self._partial = self.path.with_name(self.path.name + PARTIAL)
        self._width = width
        self._per_window = per_window
        self._rows = self._longest = self._crc = self._size = 0
        folder = self.path.parent
        try:
            self._file: IO[bytes] = self._partial.open("w+b")
            self._ids: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed at the end
            self._numbers: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED)
        self._entry = zipfile.ZipInfo("embeddings.npy", _DATES)
        self._member = self._zip.open(self._entry, "w", force_zip64=True)
        self._begin = self._file.tell()
        self._member.write(bytes(HEADER))

    def write(self, predictions: Predictions) -> None:
        """Takes predictions. Raises SinkError."""
        scores = predictions.scores
        ids = predictions.chunk.ids()
        if self._per_window:
            ids = [name for name, count in zip(ids, scores.counts.tolist(), strict=True) for _ in range(count)]
            self._add(ids, np.stack([scores.starts, scores.ends], axis=1), scores.windows)
            return
        values = scores.probabilities
        silent = scores.counts == 0
        if silent.all():
            values = np.full((len(silent), self._width), np.nan, np.float32)
        elif silent.any():
            values = np.where(silent[:, None], np.float32(np.nan), values)
        self._add(ids, predictions.chunk.lengths[:, None], values)

    def flush(self) -> None:
        """Nothing: the file is read once it is complete."""

    def commit(self) -> None:
        """Completes the file. Raises SinkError."""
        try:
            self._complete()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._close()
            self._partial.replace(self.path)
        except OSError as error:
            raise self._failed(error) from error

    def abandon(self, *, keep: bool = False) -> None:  # noqa: ARG002  # an archive without an end is of no use
        self._partial.unlink(missing_ok=True)
        with suppress(OSError):
            self._member.close()
        with suppress(OSError):
            self._zip.close()
        self._close()

    def _add(self, ids: list[str], numbers: NDArray[np.int64], values: Values) -> None:
        """Takes one row for each id; ``values`` without columns stand for rows of NaN, however wide rows turn out."""
        if not ids:
            return
        try:
            if values.shape[1] and not self._width:
                self._width = values.shape[1]
                for _ in range(self._rows):
                    self._put(np.full(self._width, np.nan, np.float32))
            self._put(values)
            self._ids.write("".join([f"{name}\n" for name in ids]).encode("utf-8", "surrogateescape"))
            self._numbers.write(numbers.astype("<i8").tobytes())
        except OSError as error:
            raise self._failed(error) from error
        self._rows += len(ids)
        self._longest = max(self._longest, *map(len, ids))

    def _put(self, values: Values) -> None:
        data = np.ascontiguousarray(values, "<f4").tobytes()
        self._member.write(data)
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)

    def _complete(self) -> None:
        """Puts the header before the embeddings, and everything else behind them."""
        header = _header("<f4", (self._rows, self._width))
        self._member.close()
        end = self._file.tell()
        self._entry.CRC = joined_crc(zlib.crc32(header), self._crc, self._size)
        self._file.seek(self._begin)
        self._file.write(header)
        self._file.seek(self._entry.header_offset + _CRC_AT)
        self._file.write(self._entry.CRC.to_bytes(4, "little"))
        self._file.seek(end)
        self._write_ids()
        names = ("starts", "ends") if self._per_window else ("lengths",)
        for column, name in enumerate(names):
            self._numbers.seek(0)
            with self._new_member(name) as member:
                member.write(_header("<i8", (self._rows,)))
                while block := self._numbers.read(8 * len(names) * BLOCK):
                    member.write(np.frombuffer(block, "<i8").reshape(-1, len(names))[:, column].tobytes())
        self._zip.close()

    def _write_ids(self) -> None:
        """The ids as text of one width: each character takes four bytes, so this member is compressed."""
        kind = np.dtype(f"<U{max(self._longest, 1)}")
        self._ids.seek(0)
        text = io.TextIOWrapper(self._ids, "utf-8", "surrogateescape", newline="\n")
        with self._new_member("read_ids") as member:
            member.write(_header(kind.str, (self._rows,)))
            while block := list(islice(text, max(1, BLOCK_BYTES // kind.itemsize))):
                member.write(np.array([line[:-1] for line in block], kind).tobytes())
        text.detach()

    def _new_member(self, name: str) -> IO[bytes]:
        entry = zipfile.ZipInfo(f"{name}.npy", _DATES)
        entry.compress_type = zipfile.ZIP_DEFLATED
        return self._zip.open(entry, "w", force_zip64=True)

    def _close(self) -> None:
        for file in (self._ids, self._numbers, self._file):
            with suppress(OSError):
                file.close()

    def _failed(self, error: OSError) -> SinkError:
        advice = "; free space or choose another place" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return SinkError(f"{self.path}: cannot be written: {error.strerror or error}{advice}")


def joined_crc(first: int, second: int, size: int) -> int:
    """The CRC-32 of two parts, one after the other, from theirs; ``size`` is that of the second in bytes.

    Each byte behind the first part multiplies its checksum by x^8, modulo the polynomial of the CRC.
    """
    shift, power = 1 << 31, 1 << 23
    while size:
        if size & 1:
            shift = _product(shift, power)
        power = _product(power, power)
        size >>= 1
    return _product(shift, first) ^ second


def _product(a: int, b: int) -> int:
    """The product of two polynomials over GF(2), modulo that of CRC-32; the highest bit is the coefficient of x^0."""
    found = 0
    for place in range(31, -1, -1):
        if a >> place & 1:
            found ^= b
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return found


def _header(kind: str, shape: tuple[int, ...]) -> bytes:
    """`HEADER` bytes, by which ``numpy.load`` knows what the numbers after them are (format 1.0 of .npy)."""
    text = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    magic = b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little")
    return magic + text.ljust(HEADER - 11).encode() + b"\n"
