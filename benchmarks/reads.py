"""Speed of `edgeseq.open_reads` beside `pysam.FastxFile` on the same files, in one run, alternating, by processor time.

    python benchmarks/reads.py [FILE.fastq ...] [--megabases 80] [--rounds 3]

Without a file it makes reads up: 4 kb and 400 b long, plain and gzip. Both readers hand every read to Python as id,
sequence and quality. Prints, per file, the best round of each in megabases per second and microseconds per read, and
the ratio of speeds.
"""

from __future__ import annotations

import argparse
import gzip
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pysam

from edgeseq import open_reads


def with_edgeseq(path: Path) -> tuple[int, int]:
    """Reads and bases of a file."""
    reads = bases = 0
    for read in open_reads(path):
        reads += 1
        bases += len(read.sequence)
    return reads, bases


def with_pysam(path: Path) -> tuple[int, int]:
    """Reads and bases of a file, its id, sequence and quality taken as Python strings."""
    reads = bases = 0
    with pysam.FastxFile(str(path)) as file:
        for record in file:
            sequence = record.sequence or ""
            if record.name is not None and record.quality is not None:
                reads += 1
            bases += len(sequence)
    return reads, bases


def best(read: Callable[[Path], tuple[int, int]], path: Path, seconds: float) -> tuple[float, int, int]:
    """The shorter of ``seconds`` and the processor time of one pass over the file; its reads and bases."""
    start = time.process_time()
    reads, bases = read(path)
    return min(seconds, time.process_time() - start), reads, bases


def make(folder: Path, length: int, bases: int, rng: random.Random) -> list[Path]:
    """A plain FASTQ file and its gzip copy, with reads of one length and headers as MinKNOW writes them."""
    plain = folder / f"{length}b.fastq"
    pool = bytes(rng.choices(b"ACGT", k=1 << 20))
    scores = bytes(rng.choices(range(35, 75), k=1 << 20))
    with plain.open("wb") as file:
        for number in range(bases // length):
            at = rng.randrange(len(pool) - length)
            header = f"@{rng.getrandbits(128):032x} runid={1:040x} read={number} ch={number % 512} barcode=barcode01"
            file.write(b"%b\n%b\n+\n%b\n" % (header.encode(), pool[at : at + length], scores[at : at + length]))
    zipped = plain.with_suffix(".fastq.gz")
    zipped.write_bytes(gzip.compress(plain.read_bytes()[: bases // 2], 1))
    return [plain, _whole_records(zipped)]


def _whole_records(path: Path) -> Path:
    lines = gzip.decompress(path.read_bytes()).split(b"\n")
    path.write_bytes(gzip.compress(b"\n".join(lines[: (len(lines) - 1) // 4 * 4]) + b"\n", 6))
    return path


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--megabases", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rng = random.Random(1)
        bases = options.megabases * 1_000_000
        files = options.files or [
            *make(Path(folder), 4000, bases, rng),
            *make(Path(folder), 400, bases, rng),
        ]
        columns = f"{'edgeseq Mb/s':>13} {'us/read':>8} {'pysam Mb/s':>11} {'us/read':>8} {'ratio':>6}"
        print(f"{'file':<44} {'reads':>7} {columns}")
        for path in files:
            ours = theirs = float("inf")
            for _ in range(options.rounds):
                ours, reads, total = best(with_edgeseq, path, ours)
                theirs, *counted = best(with_pysam, path, theirs)
                assert counted == [reads, total], "the two readers disagree"
            print(
                f"{path.name:<44} {reads:>7} {total / ours / 1e6:>13.0f} {ours / reads * 1e6:>8.2f} "
                f"{total / theirs / 1e6:>11.0f} {theirs / reads * 1e6:>8.2f} {theirs / ours:>6.2f}"
            )


if __name__ == "__main__":
    main()
