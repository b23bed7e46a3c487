"""`edgeseq watch` beside a sequencer: how long a read waits for its row, and what memory a long run takes.

    python benchmarks/watch.py [--rate 205] [--minutes 2] [--barcodes 3] [--style append] [--data ../shared/data]

Real reads, each time under a new id, are written into growing files at ``--rate`` kilobases a second for ``--minutes``
while the daemon follows in a process of its own. MinION's ceiling is 205 kb/s; a run of six hours at an average of
70 kb/s in ten minutes is ``--rate 2520 --minutes 10``.

latency   from the flush that made a read visible on the disk to the transaction that stored its row
memory    resident memory of the daemon, after a tenth of the time and later
Exits with 1 where a read has no row, or has two.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.workload import verified_reads
from edgeseq.read import Read
from edgeseq.replay.growing import STYLES, GrowingFile, Style
from edgeseq.replay.player import Manner, Player, Written
from edgeseq.replay.timeline import Due
from edgeseq.watch.journal_reader import JournalReader

DATA = Path(__file__).resolve().parents[2] / "shared/data"
RUN = "0123456789abcdef0123456789abcdef01234567"
SAMPLE = 1.0
"""Seconds between looks at the daemon's memory."""


def dues(reads: Sequence[Read], rate: float, seconds: float, barcodes: int) -> Iterator[Due]:
    """Reads in random order under new ids, at so many bases a second, for so many seconds."""
    chance = random.Random(1)
    bases = 0
    number = 0
    while bases < rate * seconds:
        read = chance.choice(reads)
        barcode = f"barcode{number % barcodes + 1:02d}"
        head = f"@{number:08x}-0000-4000-8000-{number:012x} runid={RUN} ch={number % 512}".encode()
        quality = read.quality or b"5" * len(read)
        record = b"%b\n%b\n+\n%b\n" % (head, read.sequence, quality)
        bases += len(read)
        number += 1
        yield Due(bases / rate, f"fastq_pass/{barcode}/FAA00000_pass_{barcode}_01234567", record, len(read))


class Visible(GrowingFile):
    """A growing file that knows when each of its reads became visible."""

    times: dict[str, float]

    def write(self, record: bytes) -> None:
        super().write(record)
        self._waiting.append(record[1:37].decode())

    def flush(self) -> None:
        super().flush()
        now = time.time()
        for name in self._waiting:
            self.times[name] = now
        self._waiting.clear()

    def __init__(self, path: Path, style: Style) -> None:
        self._waiting: list[str] = []
        super().__init__(path, style)


def memory(process: subprocess.Popen[bytes], found: list[tuple[float, int]], began: float) -> None:
    """Resident bytes of a process, again and again until it ends."""
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        lines = [line for line in status.read_text().splitlines() if line.startswith("VmRSS")]
        if lines:
            found.append((time.monotonic() - began, int(lines[0].split()[1]) * 1024))
        time.sleep(SAMPLE)


def main() -> None:
    """Latency, memory, and that every read has one row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=205.0, help="Kilobases a second.")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--barcodes", type=int, default=3)
    parser.add_argument("--style", choices=STYLES, default="append")
    parser.add_argument("--flush", type=float, default=0.5, help="Seconds between flushes of the writer.")
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    reads, _ = verified_reads(options.data)
    rate, seconds = 1000 * options.rate, 60 * options.minutes
    with tempfile.TemporaryDirectory() as name:
        run, out = Path(name) / "run", Path(name) / "out"
        run.mkdir()
        argv = [sys.executable, "-m", "edgeseq", "watch", str(run), "--out", str(out), "--until-idle", "5"]
        daemon = subprocess.Popen(argv, stderr=subprocess.PIPE)
        time.sleep(3)
        resident: list[tuple[float, int]] = []
        began = time.monotonic()
        watcher = threading.Thread(target=memory, args=(daemon, resident, began))
        watcher.start()
        Visible.times = {}
        player = Player(run, Manner(options.style, flush=options.flush), file=Visible)
        written = player.play(dues(reads, rate, seconds, options.barcodes))
        wrote = time.monotonic() - began
        _, said = daemon.communicate()
        watcher.join()
        report(options, written, wrote, out, resident)
        if daemon.returncode:
            print(said.decode(), file=sys.stderr)
            sys.exit(1)


def report(
    options: argparse.Namespace, written: Written, wrote: float, out: Path, resident: Sequence[tuple[float, int]]
) -> None:
    """Prints what was seen. Exits with 1 where rows are missing or double."""
    rows = list(JournalReader(out).rows())
    waits = np.array([row[15] - Visible.times[row[0]] for row in rows])
    policies = Counter(row[13] for row in rows)
    print(
        f"{written.reads:,} reads, {written.bases / 1e6:,.1f} Mb in {wrote:.0f} s ({written.bases / wrote / 1e3:,.0f} "
        f"kb/s of {options.rate:,.0f} asked), {options.barcodes} barcodes, style {options.style}"
    )
    middle, late, worst = np.quantile(waits, [0.5, 0.99, 1.0])
    print(f"flush to row: median {middle:.2f} s, p99 {late:.2f} s, longest {worst:.2f} s, {len(waits):,} reads")
    steady = np.array([size for at, size in resident if wrote / 10 <= at <= wrote]) / 1e6
    if len(steady):
        first, last = steady[: max(1, len(steady) // 10)].mean(), steady[-max(1, len(steady) // 10) :].mean()
        print(
            f"resident: {first:.0f} MB after a tenth of the time, {last:.0f} MB at the end (ratio {last / first:.3f}), "
            f"peak {max(size for _, size in resident) / 1e6:.0f} MB"
        )
    print("policies: " + ", ".join(f"{name} {count:,}" for name, count in sorted(policies.items())))
    once = len(rows) == len({row[0] for row in rows}) == written.reads
    print(f"every read has one row: {'yes' if once else 'NO'}")
    if not once:
        sys.exit(1)


if __name__ == "__main__":
    main()
