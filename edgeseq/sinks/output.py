"""Where rows of text go: standard output, or a file that gets its name only when it is complete."""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path

from edgeseq.errors import SinkError, UsageError

PARTIAL = ".partial"
"""Ends the name of every file that is not complete yet."""
BUFFER = 1 << 16


class Output:
    """Takes whole rows and never leaves half of one behind.

    With a path, rows go to ``PATH.partial`` in the same folder, which `commit` renames to ``PATH``. Without one they go
    to standard output. Every error of the operating system becomes a SinkError, but for a reader that went away: that
    stays a BrokenPipeError.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = Path(path) if path is not None else None
        self.name = str(path) if path is not None else "standard output"
        self._rows: list[bytes] = []
        self._size = 0
        self._written = 0
        self._open = True
        if self.path is None:
            sys.stdout.flush()
            self._handle = os.dup(sys.stdout.fileno())
        else:
            self._handle = _create(self.partial)
        self._base = os.lseek(self._handle, 0, os.SEEK_CUR) if self._is_file() else 0

    @property
    def partial(self) -> Path:
        """The name of the file while it is written."""
        if self.path is None:
            raise UsageError("standard output has no name")
        return self.path.with_name(self.path.name + PARTIAL)

    def write(self, rows: bytes) -> None:
        """Takes one or more whole rows; they may wait in memory until `flush`."""
        self._rows.append(rows)
        self._size += len(rows)
        if self._size >= BUFFER:
            self.flush()

    def flush(self) -> None:
        """Hands all rows to the operating system. Raises SinkError, BrokenPipeError."""
        data = b"".join(self._rows)
        self._rows.clear()
        self._size = 0
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            self._cut(data[: len(data) - len(rest)])
            raise SinkError(_sentence(self.name, error)) from error
        self._written += len(data)

    def commit(self) -> None:
        """Flushes, and gives the file its name. Raises SinkError, BrokenPipeError."""
        self.flush()
        try:
            if self.path is not None:
                os.fsync(self._handle)
            self._close()
            if self.path is not None:
                self.partial.replace(self.path)
        except OSError as error:
            raise SinkError(_sentence(self.name, error)) from error

    def abandon(self, *, keep: bool = False) -> None:
        """Ends without the name, unless `commit` gave it. ``keep`` leaves the whole rows so far in the partial file."""
        if not self._open:
            return
        if keep:
            with suppress(SinkError, BrokenPipeError):
                self.flush()
        self._close()
        if self.path is not None and not keep:
            self.partial.unlink(missing_ok=True)

    def _close(self) -> None:
        self._open = False
        os.close(self._handle)

    def _is_file(self) -> bool:
        return stat.S_ISREG(os.fstat(self._handle).st_mode)

    def _cut(self, accepted: bytes) -> None:
        """Takes back the part of a row that did get into a file."""
        if self._is_file():
            with suppress(OSError):
                os.ftruncate(self._handle, self._base + self._written + accepted.rfind(b"\n") + 1)


def _create(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise UsageError(_sentence(str(path), error)) from error


def _sentence(name: str, error: OSError) -> str:
    problem = error.strerror or str(error)
    advice = "; free space or choose another place" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return f"{name}: cannot be written: {problem}{advice}"
