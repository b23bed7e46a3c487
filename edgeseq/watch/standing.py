"""How a run stands, for those outside of the daemon's process: the status file, the journal, and whether it lives."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeseq.watch.journal_reader import JournalReader
from edgeseq.watch.live import HEARTBEAT, STATUS
from edgeseq.watch.pidfile import holder
from edgeseq.watch.snapshot import FORMAT

LATE = 3 * HEARTBEAT
"""Seconds after which the status file of a daemon that lives should have been written again."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a run."""

    told: dict[str, Any] | None
    """The newest status file; None where there is none of a format that is known."""
    age: float
    """Seconds since it was written."""
    process: int | None
    """The daemon's process; None where none works in the folder."""
    stored: int
    """Reads in the journal now."""

    @property
    def trouble(self) -> str:
        """What somebody has to look at, or nothing."""
        if self.process is None and (self.told is None or self.told["state"] != "ended"):
            return "the daemon is not running and did not end in good order; start it again with the same command"
        if self.process is not None and self.told is not None and self.age > LATE:
            return f"process {self.process} lives, but has not written its status for {duration(self.age)}"
        if self.process is not None and self.told is not None and self.told["state"] in ("trouble", "stalled"):
            return str(self.told["why"])
        return ""

    @property
    def sentence(self) -> str:
        """Who works, and how old the numbers are."""
        if self.told is None:
            age = "no status file yet"
        else:
            age = f"as of {duration(self.age)} ago"
        if self.process is not None:
            state = self.told["state"] if self.told is not None else "starting"
            return f"{state}, {age}; process {self.process}"
        ended = self.told is not None and self.told["state"] == "ended"
        return f"{'ended in good order' if ended else 'not running'}, {age}"


def standing(out: Path) -> Standing:
    """How the run in an output folder stands. Raises JournalError where there is no journal."""
    reader = JournalReader(out)
    try:
        stored = reader.count()
    finally:
        reader.close()
    told = _told(out / STATUS)
    age = max(0.0, time.time() - float(told["time"])) if told is not None else 0.0
    return Standing(told, age, holder(out), stored)


def duration(seconds: float) -> str:
    """``12 s``, ``5 min``, ``3.5 h``, ``2.0 days``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def _told(path: Path) -> dict[str, Any] | None:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and told.get("format") == FORMAT else None
