"""Room on the disk: what the daemon may use of it, and whether there is any left.

Results are never deleted. Where there is no room, the daemon says so, waits, and goes on once there is some; the files
of the sequencer are its buffer.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edgeseq.watch.journal import NAME

ROW = 512
"""Bytes for which each row is taken: 300 to 400 in the journal, its index included."""
PAGES = 2 * 4096
"""Bytes that a row may change: a page of the table and one of its index, each of which goes through the log."""
LEFT, SHARE = 200_000_000, 100
"""What is left to others unless told: so many bytes, or one part in so many of a small file system."""
SPARE = 4 << 20
"""Bytes for what else a transaction may need."""


@dataclass(frozen=True, slots=True)
class Disk:
    """Bounds on the use of the disk."""

    max_bytes: int | None = None
    """The most that the output folder may hold; nothing bounds it where this is absent."""
    min_free: int | None = None
    """Bytes that are left to others on the file system of the output folder; where this is absent, a hundredth of it,
    200 MB at the most."""
    events: int = 10_000
    """Events that the journal keeps besides detections and changes of settings; older ones are forgotten."""


@dataclass(slots=True)
class Room:
    """The room in the output folder. ``disk`` may be set anew at any time; ``journal`` lies in it, or below it."""

    folder: Path
    disk: Disk
    journal: Path | None = None

    def problem(self, rows: int) -> str:
        """Why so many rows more cannot be stored; nothing if they can."""
        need = self.need(rows)
        if self.disk.max_bytes is not None and (used := self.used()) + need > self.disk.max_bytes:
            allowed = f"the {readable(self.disk.max_bytes)} that disk.max_bytes allows"
            return (
                f"holds {readable(used)} of {allowed}; raise that and reload, or go on in another output folder; "
                "nothing is lost meanwhile"
            )
        try:
            free, kept_back = self.free(), self.kept_back()
        except OSError as error:
            return f"cannot be looked at: {error.strerror or error}; scoring goes on once it is back"
        if free - need < kept_back:
            kept = f"disk.min_free keeps {readable(kept_back)} for others"
            return f"has {readable(free)} left, and {kept}; make room on the disk; scoring goes on by itself"
        return ""

    def need(self, rows: int) -> int:
        """The most bytes by which the folder grows while so many rows are stored."""
        try:
            journal = (self.journal or self.folder / NAME).stat().st_size
        except OSError:
            journal = 0
        grown = rows * ROW
        return grown + min(rows * PAGES, journal + grown) + SPARE

    def used(self) -> int:
        """Bytes of all files below the folder."""
        total = 0
        for root, _, names in os.walk(self.folder):
            for name in names:
                try:
                    total += os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118  # once for each transaction
                except OSError:
                    continue
        return total

    def kept_back(self) -> int:
        """Bytes of the file system that are left to others."""
        if self.disk.min_free is not None:
            return self.disk.min_free
        status = os.statvfs(self.folder)
        return min(LEFT, status.f_blocks * status.f_frsize // SHARE)

    def free(self) -> int:
        """Bytes that this process may still write on the file system."""
        status = os.statvfs(self.folder)
        return status.f_bavail * status.f_frsize


def readable(count: float) -> str:
    """A number of bytes, for people."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
