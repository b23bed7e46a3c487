"""Writes due records into growing files, against the clock."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeseq.replay.growing import GrowingFile, Style
from edgeseq.replay.timeline import Due

_SENTINELS = ("sequencing_summary", "final_summary", "output_hash", "report_")
"""What a run folder gets when all reads are written, in this order."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How files are written. Times are of the run, but ``flush`` is of the clock: what a reader has to wait for."""

    style: Style = "append"
    speed: float = 1.0
    """Seconds of the run in a second."""
    flush: float = 1.0
    rotate_reads: int = 4000
    """Reads after which a file ends and the next one begins."""
    rotate_seconds: float = 3600.0
    """Seconds of the run after which a file ends."""


@dataclass(slots=True)
class Written:
    """What was written so far, and how far behind the clock that is."""

    reads: int = 0
    bases: int = 0
    files: int = 0
    late: float = 0.0
    """The longest time, in seconds, that a record was written after it was due: this machine is too slow for more."""


@dataclass(slots=True)
class _Open:
    file: GrowingFile
    number: int
    began: float


@dataclass(slots=True)
class Player:
    """Plays a timeline into a folder, once."""

    folder: Path
    manner: Manner = field(default_factory=Manner)
    written: Written = field(default_factory=Written)
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    file: Callable[[Path, Style], GrowingFile] = GrowingFile
    _open: dict[str, _Open] = field(default_factory=dict)
    _flushed: float = 0.0

    def play(self, dues: Iterable[Due], progress: Callable[[Written], None] = lambda _: None) -> Written:
        """Writes all records when they are due; files are complete at the end. Raises OSError.

        Stopped in the middle (by an exception), files stay as they are: cut, as those of a sequencer without power.
        """
        began = self._flushed = self.clock()
        try:
            for due in dues:
                at = began + due.seconds / self.manner.speed
                self._wait_until(at, progress)
                self.written.late = max(self.written.late, self.clock() - at)
                self._write(due)
            for each in self._open.values():
                each.file.close()
            self._open.clear()
        finally:
            for each in self._open.values():
                each.file.abandon()
        progress(self.written)
        return self.written

    def _wait_until(self, at: float, progress: Callable[[Written], None]) -> None:
        while True:
            now = self.clock()
            next_flush = self._flushed + self.manner.flush
            if now >= next_flush:
                for each in self._open.values():
                    each.file.flush()
                self._flushed = now
                progress(self.written)
            elif at > now:
                self.pause(min(at, next_flush) - now)
            else:
                return

    def _write(self, due: Due) -> None:
        current = self._open.get(due.stem)
        if current is not None and self._is_full(current, due.seconds):
            current.file.close()
        if current is None or self._is_full(current, due.seconds):
            number = 0 if current is None else current.number + 1
            current = self._open[due.stem] = _Open(self._begin(due, number), number, due.seconds)
            self.written.files += 1
        current.file.write(due.record)
        self.written.reads += 1
        self.written.bases += due.bases

    def _is_full(self, current: _Open, seconds: float) -> bool:
        manner = self.manner
        return current.file.records >= manner.rotate_reads or seconds - current.began >= manner.rotate_seconds

    def _begin(self, due: Due, number: int) -> GrowingFile:
        kind = "fastq" if due.record.startswith(b"@") else "fasta"
        suffix = kind if self.manner.style == "plain" else f"{kind}.gz"
        return self.file(self.folder / f"{due.stem}_{number}.{suffix}", self.manner.style)


def copy_sentinels(folders: Sequence[Path], target: Path) -> int:
    """Copies what a sequencer writes at the end of a run (summaries, reports) to where it was; how many files."""
    copied = 0
    for folder in folders:
        for name in _SENTINELS:
            for path in sorted(folder.rglob(f"{name}*")) if folder.is_dir() else ():
                if path.is_file():
                    place = target / path.relative_to(folder)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, place)
                    copied += 1
    return copied
