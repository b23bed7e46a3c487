"""What a sequencer does to a folder, for tests: files that grow in random steps, as made-up reads."""

from __future__ import annotations

import gzip
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RUN = "0123456789abcdef0123456789abcdef01234567"


def records(count: int, *, first: int = 0, seed: int = 1, length: int = 300) -> list[bytes]:
    """FASTQ records with unique ids, the headers of a live basecaller and random bases."""
    chance = random.Random(seed)
    found = []
    for number in range(first, first + count):
        bases = "".join(chance.choices("ACGT", k=chance.randint(length // 2, length)))
        name = (
            f"{number:08x}-0000-4000-8000-{number:012x} runid={RUN} ch={number % 512} start_time=2026-01-01T00:00:00Z"
        )
        found.append(f"@{name}\n{bases}\n+\n{'5' * len(bases)}\n".encode())
    return found


def names(reads: Sequence[bytes]) -> list[str]:
    """The ids of records."""
    return [read[1:].split(b" ", 1)[0].decode() for read in reads]


@dataclass(frozen=True, slots=True)
class Job:
    """A file to be written."""

    path: Path
    data: bytes


class Sequencer(threading.Thread):
    """Writes files in random steps, several at a time, until all are complete."""

    def __init__(self, jobs: Sequence[Job], *, steps: int = 15, pause: float = 0.02, seed: int = 1) -> None:
        super().__init__(daemon=True)
        self._jobs = list(jobs)
        self._steps = steps
        self._pause = pause
        self._chance = random.Random(seed)

    def run(self) -> None:
        written = dict.fromkeys(self._jobs, 0)
        while written:
            job = self._chance.choice(list(written))
            end = written[job] + self._chance.randint(1, max(2, 2 * len(job.data) // self._steps))
            job.path.parent.mkdir(parents=True, exist_ok=True)
            with job.path.open("ab") as file:
                file.write(job.data[written[job] : end])
            written[job] = end
            if end >= len(job.data):
                del written[job]
            time.sleep(self._pause)


def run_folder(root: Path, reads: Sequence[bytes], *, files: int = 6, compressed: bool = True) -> list[Job]:
    """The files of a run with three barcodes that hold these reads."""
    jobs = []
    for number in range(files):
        part = b"".join(reads[number::files])
        barcode = f"barcode{number % 3 + 1:02d}"
        name = f"FAA00000_pass_{barcode}_01234567_{number}.fastq{'.gz' if compressed else ''}"
        jobs.append(Job(root / "fastq_pass" / barcode / name, gzip.compress(part) if compressed else part))
    return jobs
