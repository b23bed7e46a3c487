"""One file that grows the way a basecaller lets it grow."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Literal

Style = Literal["append", "members", "rename", "plain"]
STYLES: tuple[Style, ...] = ("append", "members", "rename", "plain")
LEVEL = 1
_GZIP = 16 + zlib.MAX_WBITS


class GrowingFile:
    """Takes records; each `flush` makes those so far visible on the disk, in one of the ways that occur.

    append    one gzip stream; a flush ends a block of it, the file ends in the middle of the stream until `close`
    members   a gzip member for each flush
    rename    as ``append``, under a hidden name until `close`
    plain     no compression
    """

    def __init__(self, path: Path, style: Style) -> None:
        """Makes the file and its folder. Raises OSError."""
        self.path = path
        self.records = 0
        self._style = style
        self._pending: list[bytes] = []
        self._now = path.with_name(f".{path.name}.part") if style == "rename" else path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._now.open("wb", buffering=0)
        self._stream = self._new_stream()

    def write(self, record: bytes) -> None:
        """Takes a record; it stays in memory until `flush`."""
        self._pending.append(record)
        self.records += 1

    def flush(self) -> None:
        """Brings all records to the disk. Raises OSError."""
        if not self._pending:
            return
        data = b"".join(self._pending)
        self._pending.clear()
        if self._style == "plain":
            self._put(data)
        elif self._style == "members":
            self._put(self._stream.compress(data) + self._stream.flush())
            self._stream = self._new_stream()
        else:
            self._put(self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH))

    def close(self) -> None:
        """Completes the file and gives it its name. Raises OSError."""
        self.flush()
        if self._style in ("append", "rename"):
            self._put(self._stream.flush())
        self._file.close()
        if self._now != self.path:
            self._now.rename(self.path)

    def abandon(self) -> None:
        """Leaves the file as it is, as a sequencer does that loses its power."""
        self._file.close()

    @staticmethod
    def _new_stream() -> zlib._Compress:
        return zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)

    def _put(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
