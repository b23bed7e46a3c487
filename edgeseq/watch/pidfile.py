"""One daemon for each output folder: the file that says which process it is."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from edgeseq.errors import UsageError

NAME = "watch.pid"


class PidFile:
    """Held by this process as long as it lives, however it ends; the file holds its number."""

    def __init__(self, folder: Path) -> None:
        """Raises UsageError where another process holds it, or the folder cannot be written."""
        self.path = folder / NAME
        try:
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UsageError(f"{folder}: cannot be written: {error.strerror or error}") from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            other = os.read(self._handle, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(self._handle)
            raise UsageError(f"{folder}: another edgeseq watch writes here, process {other}") from error
        except OSError:
            pass  # a network share without locks: the journal is safe all the same
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Leaves the folder to others."""
        os.ftruncate(self._handle, 0)
        os.close(self._handle)


def holder(folder: Path) -> int | None:
    """The process that works in a folder; None where there is none."""
    try:
        with (folder / NAME).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = file.read(32).strip()
                return int(text) if text.isdigit() else None
    except OSError:
        pass
    return None
