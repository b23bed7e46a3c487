"""``edgeseq demo``: the embedded reads through the embedded panel."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from importlib import resources

import click

from edgeseq.commands import options
from edgeseq.errors import UsageError
from edgeseq.interrupts import Interrupts

READS = "demo_reads.fastq.gz"

_NEXT = """
Next:
  edgeseq score READS -o calls.tsv              your own reads: a file, a folder or -
  edgeseq score READS -o calls.tsv --split DIR  and each class in a file of its own
  edgeseq bench                                 how fast this machine is
  edgeseq inspect                               what the panel knows, and how well
"""
_EXAMPLES = """Example:

\b
  edgeseq demo
"""


@click.command("demo", short_help="Score embedded simulated reads and say what to do next.", epilog=_EXAMPLES)
@options.threads
def command(threads: int | None) -> None:
    """Score simulated nanopore reads that come with edgeseq, and compare the calls with the truth.

    The reads are simulated from public genomes, with the errors of a sequencer; the header of each says what it is
    (truth=LABEL).
    """
    reads = resources.files("edgeseq") / READS
    if not reads.is_file():
        raise UsageError("this build of edgeseq has no demo reads")
    from edgeseq.reads import open_reads
    from edgeseq.scorer import load

    calls: defaultdict[str, Counter[str]] = defaultdict(Counter)
    bases = 0
    with Interrupts(), load(threads=threads) as scorer, resources.as_file(reads) as file:
        began = time.perf_counter()
        for prediction in scorer.score(open_reads(file)):
            calls[prediction.read.header.tags.get("truth", "?")][prediction.decision.label] += 1
            bases += len(prediction.read.sequence)
        seconds = time.perf_counter() - began
        name = f"{scorer.manifest.name} {scorer.manifest.version}"
    for line in table(calls):
        click.echo(line)
    count = sum(counts.total() for counts in calls.values())
    click.echo(f"\n{count:,} simulated reads ({bases / 1e6:.2f} Mb) in {seconds:.1f} s with {name}")
    click.echo(_NEXT.rstrip("\n"))


def table(calls: dict[str, Counter[str]]) -> list[str]:
    """Lines: for each true class its reads, those called right, not called and called something else."""
    width = max(map(len, calls), default=0) + 2
    lines = [f"{'truth':<{width}}{'reads':>7}{'right':>7}{'not called':>12}  called something else"]
    for truth in sorted(calls, key=lambda label: (label == "other", label)):
        counts = calls[truth]
        wrong = [(label, count) for label, count in counts.most_common() if label not in (truth, "unclassified")]
        others = ", ".join(f"{label} {count}" for label, count in wrong) or "–"
        lines.append(f"{truth:<{width}}{counts.total():>7}{counts[truth]:>7}{counts['unclassified']:>12}  {others}")
    return lines
