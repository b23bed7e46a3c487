"""How many real reads get the same label when their other strand is read.

    python benchmarks/strands.py [--data ../shared/data] [-m BUNDLE]

Every read of 200 b or more below ``data/reads`` is scored as it is and reverse-complemented.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import edgeseq
from edgeseq.normalise import reverse_complement
from edgeseq.read import Read
from export.measure import wilson

DATA = Path(__file__).resolve().parents[2] / "shared/data"
SHORTEST = 200


def main() -> None:
    """The share of reads, with its 95 % interval."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("-m", "--bundle", help="Default: the embedded panel.")
    options = parser.parse_args()
    reads = [read for read in edgeseq.open_reads(options.data / "reads") if len(read) >= SHORTEST]
    turned = [Read(read.id, reverse_complement(read.sequence)) for read in reads]
    with edgeseq.load(options.bundle) as scorer:
        labels = [[one.decision.label for one in scorer.score(each)] for each in (reads, turned)]
    same = sum(a == b for a, b in zip(*labels, strict=True))
    share, low, high = wilson(same, len(reads))
    print(f"{same:,} of {len(reads):,} reads get the same label on both strands: {share:.2%} ({low:.2%}–{high:.2%})")


if __name__ == "__main__":
    main()
