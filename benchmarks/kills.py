"""`edgeseq watch` is killed again and again while real reads are written: its rows beside those of one clean run.

    python benchmarks/kills.py [--kills 50] [--seconds 200] [--style append] [--data ../shared/data]

The files of ``data/run_folder`` and ``data/reads`` are laid out as a run with three barcodes and replayed in so many
seconds while SIGKILL ends the daemon at random moments, after which it is started again. At the end ``edgeseq results``
is compared with ``edgeseq score`` over the files that were written, row by row, to the byte. Exits with 1 unless they
are the same.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from edgeseq.replay.growing import STYLES
from edgeseq.replay.player import Manner, Player
from edgeseq.replay.timeline import Due, timeline

DATA = Path(__file__).resolve().parents[2] / "shared/data"
EDGESEQ = [sys.executable, "-m", "edgeseq"]


def three_barcodes(data: Path) -> Iterator[Due]:
    """The real reads, file after file in turns, each file in one of three barcodes."""
    folders = [data / "run_folder", data / "reads"]
    places: dict[str, str] = {}
    for due in timeline(folders, lambda error: print(error, file=sys.stderr), rate=1.0):
        place = places.setdefault(due.stem, f"fastq_pass/barcode{len(places) % 3 + 1:02d}/{len(places)}")
        yield replace(due, stem=place)


def rows(*arguments: str | Path) -> list[str]:
    """The rows that a command writes to standard output, sorted."""
    done = subprocess.run([*EDGESEQ, *map(str, arguments)], capture_output=True, text=True, check=True)
    return sorted(done.stdout.splitlines()[1:])


def main() -> None:
    """Kills, and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=200.0, help="How long the reads are written.")
    parser.add_argument("--style", choices=STYLES, default="append")
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    chance = random.Random(5)
    bases = sum(due.bases for due in three_barcodes(options.data))
    with tempfile.TemporaryDirectory() as name:
        run, out = Path(name) / "run", Path(name) / "out"
        run.mkdir()
        manner = Manner(options.style, speed=bases / options.seconds, flush=0.3, rotate_reads=1000, rotate_seconds=1e12)
        writer = threading.Thread(target=Player(run, manner).play, args=(three_barcodes(options.data),))
        writer.start()
        watch = [*EDGESEQ, "watch", str(run), "--out", str(out), "--until-idle", "5"]
        kills = 0
        while kills < options.kills:
            daemon = subprocess.Popen(watch, stderr=subprocess.DEVNULL)
            try:
                daemon.wait(chance.uniform(0.5, 2 * options.seconds / options.kills))
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
                kills += 1
        writer.join()
        subprocess.run(watch, stderr=subprocess.DEVNULL, check=True)
        clean, found = rows("score", run), rows("results", out)
    distinct = len(set(found))
    print(f"{kills} kills; rows: {len(clean):,} of one clean run, {len(found):,} of the daemon, {distinct:,} distinct")
    same = clean == found
    print(f"the same to the byte: {'yes' if same else 'NO'}")
    for row in [*sorted(set(clean) - set(found))[:3], *sorted(set(found) - set(clean))[:3]]:
        print(row)
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
