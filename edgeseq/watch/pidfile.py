"""One daemon for each output folder: the file that says which process it is."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from edgeseq.errors import UsageError

NAME = "watch.pid"
PATIENCE = 1.0
"""Seconds for which the file may be held by somebody who only asks who holds it."""


class PidFile:
    """Held by this process as long as it lives, however it ends; the file holds its number."""

    def __init__(self, folder: Path) -> None:
        """Raises UsageError where another process holds it, or the folder cannot be written."""
        self.path = folder / NAME
        try:
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UsageError(f"{folder}: cannot be written: {error.strerror or error}") from error
        until = time.monotonic() + PATIENCE
        while not self._locked():
            if time.monotonic() > until:
                other = os.pread(self._handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
                os.close(self._handle)
                raise UsageError(f"{folder}: another edgeseq watch writes here, process {other}")
            time.sleep(PATIENCE / 20)
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def _locked(self) -> bool:
        """Whether the file is this process's now."""
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True  # a network share without locks: the journal is safe all the same
        return True

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
