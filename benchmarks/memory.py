"""Peak memory of `edgeseq score` on few and on many reads, and the time to its first score.

    python benchmarks/memory.py [--reads 20000 400000] [--length 500] [-m BUNDLE] [--threads 2]

Random reads are written to a file and scored in a process of their own. The ratio of the peaks says whether memory
grows with the input. The first score is timed through a pipe that stays open, once after a single read (a slow
sequencer: the wait for company is part of the time) and once while reads keep coming.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import chain
from pathlib import Path
from statistics import median

from benchmarks.process import first_row_seconds, measure
from benchmarks.workload import random_fastq

FLAT = 0.05
MOST = 300e6
"""Bytes of memory that scoring may take."""
FIRST_SCORE = 2.0
"""Seconds from the start of the process within which the first row has to come."""
REPEATS = 5


def main() -> None:
    """The two peaks, their ratio, and the time to the first score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reads", type=int, nargs=2, default=(20_000, 400_000), metavar=("FEW", "MANY"))
    parser.add_argument("--length", type=int, default=500)
    parser.add_argument("-m", "--bundle", help="Default: the embedded panel.")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    command = [sys.executable, "-m", "edgeseq", "score", "--threads", str(options.threads)]
    command += ["-m", options.bundle] if options.bundle else []
    peaks = []
    with tempfile.TemporaryDirectory(prefix="edgeseq-bench-") as folder:
        path = Path(folder, "reads.fastq")
        for count in options.reads:
            with path.open("wb") as file:
                file.writelines(random_fastq(count, options.length))
            run = measure([*command, path, "-o", Path(folder, "calls.tsv")])
            peaks.append(run.peak_bytes)
            speed = count * options.length / run.seconds / 1e6
            print(f"{count:>9,} reads of {options.length} b: peak {run.peak_bytes / 1e6:.1f} MB, {speed:.2f} Mb/s")
    ratio = peaks[1] / peaks[0]
    print(f"ratio of the peaks {ratio:.3f} (flat to {FLAT:.0%}: {_verdict(abs(ratio - 1) <= FLAT)})")
    print(f"below {MOST / 1e6:.0f} MB: {_verdict(max(peaks) < MOST)}")
    one = next(random_fastq(1, options.length))
    for name, chunks in (("one read, then silence", 0), ("reads keep coming", 40)):
        times = [
            first_row_seconds([*command, "-"], chain([one], random_fastq(500 * chunks, options.length)))
            for _ in range(REPEATS)
        ]
        print(
            f"first score, {name}: {median(times):.2f} s ({min(times):.2f}–{max(times):.2f}); "
            f"below {FIRST_SCORE:.0f} s: {_verdict(max(times) < FIRST_SCORE)}"
        )


def _verdict(good: bool) -> str:
    return "yes" if good else "NO"


if __name__ == "__main__":
    main()
