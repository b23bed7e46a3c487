"""Reads of lineages that no tool has seen: a panel trained without them beside Kraken2 and minimap2 without them.

    python -m export train-panel --data ../shared/data --hold-out dengue-4 … -o HOLDOUT.edgeseq --work FOLDER
    python benchmarks/divergence.py --bundle HOLDOUT.edgeseq --data ../shared/data [--kmers 35 25] [--plot FILE.png]

Every held-out lineage of the bundle's report gives simulated reads (5 % errors, 400 to 1500 b, both strands), and so do
background organisms that no tool has seen. A read is found if it gets the label of the lineage's nearest relatives.
Each tool runs at the setting that finds most while at most 0.1 % of the background is called a virus: edgeseq by its
score, minimap2 by matching bases, Kraken2 by --confidence and --minimum-hit-groups, whatever pair of them is best. One
half of the background chooses the setting; the false calls shown are those on the other half.

Kraken2 and minimap2 know all that trained the panel, and the held-out clusters of its classes besides, which the panel
has not seen. Reads of these remaining genomes are the controls.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import kraken, minimap
from benchmarks.operating_point import (
    Chosen,
    Labels,
    Setting,
    candidate_points,
    choose,
    judge,
    paired_difference,
    thresholds,
)
from benchmarks.unseen import Reads, held_out_panel, simulate
from edgeseq import load
from edgeseq.bundle import Bundle, read_bundle
from edgeseq.prediction import UNCLASSIFIED
from export.genomes import OTHER
from export.measure import wilson
from export.panel import Panel

DATA = Path(__file__).resolve().parents[2] / "shared/data"
LIMIT = 0.001
"""Share of background reads that may be called a virus."""
CONFIDENCE = (0.0, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3)
HIT_GROUPS = (1, 2, 3, 4, 6, 8)
KRAKEN_DEFAULT = "confidence 0, hit groups 2"


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool with the setting that it was allowed and the one that it has out of the box, where it has one."""

    name: str
    tuned: Chosen
    default: Chosen | None


def edgeseq_settings(bundle: Path, reads: Reads, threads: int) -> tuple[Setting, list[Setting]]:
    """What the bundle itself decides, and candidates above a score."""
    with load(bundle, threads=threads) as scorer:
        decisions = [prediction.decision for prediction in scorer.score(iter(reads.reads))]
    own = Setting("as packed", np.array([decision.label for decision in decisions]))
    candidate = np.array([decision.candidate for decision in decisions])
    score = np.array([decision.score for decision in decisions])
    return own, thresholds(candidate, score, candidate_points(candidate, score, reads.of(OTHER)), "score")


def kraken_settings(
    work: Path, folder: Path, fasta: Path, panel: Panel, count: int, kmer: int, threads: int
) -> list[Setting]:
    """Every pair of confidence and hit groups."""
    database = kraken.build(work, known(panel), kmer=kmer, threads=threads)
    output = folder / "kraken.tsv"
    return [
        Setting(
            f"confidence {confidence:g}, hit groups {groups}",
            database.classify(fasta, count, output, threads=threads, confidence=confidence, hit_groups=groups),
        )
        for confidence in CONFIDENCE
        for groups in HIT_GROUPS
    ]


def minimap_settings(work: Path, panel: Panel, reads: Reads) -> list[Setting]:
    """The class of the best hit above a number of matching bases."""
    aligner = minimap.aligner(minimap.index(work, known(panel)))
    hits = [minimap.best_hit(aligner, read.sequence.decode()) for read in reads.reads]
    candidate = np.array([label or UNCLASSIFIED for label, _ in hits])
    matches = np.array([matches for _, matches in hits], np.float64)
    points = candidate_points(candidate, matches, reads.of(OTHER))
    return thresholds(candidate, matches, points, "matching bases")


def known(panel: Panel) -> dict[str, list[Any]]:
    """The genomes that the peers may know: all but the held-out lineages and the background that is tested."""
    genomes = {split.label: [*split.train, *split.tuned, *split.held] for split in panel.splits}
    return {**genomes, OTHER: [*panel.background.train, *panel.outside.train]}


def print_settings(tools: Sequence[Tool], reads: Reads) -> None:
    """What each tool runs with, and what it calls of the background and of viruses outside the panel."""
    print("| tool | setting | background called a virus | viruses of no class called one |")
    print("|---|---|--:|--:|")
    for tool in tools:
        for chosen in (tool.tuned, tool.default):
            if chosen is not None:
                outside = reads.of("outside")
                false = int(np.count_nonzero(~np.isin(chosen.setting.labels[outside], (OTHER, UNCLASSIFIED))))
                cells = (percent(chosen.false, chosen.background), percent(false, int(outside.sum())))
                note = " (default)" if chosen is tool.default else ""
                print(f"| {tool.name} | {chosen.setting.name}{note} | {cells[0]} | {cells[1]} |")


def percent(hits: int, total: int) -> str:
    """A share with its Wilson interval."""
    share, low, high = wilson(hits, total)
    return f"{share:.2%} ({low:.2%}–{high:.2%})"


def print_found(tools: Sequence[Tool], reads: Reads, names: Mapping[str, str], *, default: bool = False) -> None:
    """The share of each lineage's reads that got the expected label; who is ahead of the first tool's best peer."""
    print("| lineage | expected | nearest known | " + " | ".join(tool.name for tool in tools) + " | ahead |")
    print("|---|---|--:|" + "--:|" * len(tools) + "---|")
    for name, expected in names.items():
        chosen = reads.of(name)
        right = [_labels(tool, default)[chosen] == expected for tool in tools]
        cells = [percent(int(hits.sum()), len(hits)) for hits in right]
        nearest = reads.nearest.get(name)
        near = "" if nearest is None else f"{nearest:.0%}"
        print(f"| {name} | {expected} | {near} | " + " | ".join(cells) + f" | {ahead(tools, right)} |")


def _labels(tool: Tool, default: bool) -> Labels:
    chosen = tool.default if default and tool.default is not None else tool.tuned
    return chosen.setting.labels


def ahead(tools: Sequence[Tool], right: Sequence[NDArray[np.bool_]]) -> str:
    """Which of the first two tools finds more of the same reads; neither where the interval of the difference has 0."""
    difference, low, high = paired_difference(right[0], right[1])
    if low <= 0 <= high:
        return "neither"
    points = f"{abs(difference) * 100:.0f} points" if abs(difference) >= 0.01 else f"{abs(difference) * 100:.1f} points"
    return f"{tools[0 if difference > 0 else 1].name} by {points}"


def plot(path: Path, tools: Sequence[Tool], reads: Reads, names: Mapping[str, str]) -> None:
    """A picture of the shares with their intervals, one row for each lineage."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 0.5 * len(names) + 1.5), layout="constrained")
    for place, tool in enumerate(tools):
        for row, (name, expected) in enumerate(names.items()):
            right = tool.tuned.setting.labels[reads.of(name)] == expected
            share, low, high = wilson(int(right.sum()), len(right))
            axes.errorbar(
                share,
                row + 0.16 * (place - (len(tools) - 1) / 2),
                xerr=[[share - low], [high - share]],
                fmt="o",
                color=f"C{place}",
                label=tool.name if row == 0 else None,
            )
    axes.set_yticks(range(len(names)), list(names))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.01)
    axes.set_xlabel(f"share of reads found, at most {LIMIT:.1%} of the background called a virus")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=len(tools))
    figure.savefig(path, dpi=130)


def run(bundle: Bundle, options: argparse.Namespace, work: Path, folder: Path) -> None:
    """All tools on the same reads, and the tables."""

    def say(what: str) -> None:
        print(what, file=sys.stderr)

    say("preparing the genomes as the training did ...")
    panel, lineages = held_out_panel(bundle, options.data)
    reads = simulate(panel, lineages, options.reads, options.background, options.seed)
    fasta = folder / "reads.fasta"
    fasta.write_bytes(b"".join(b">%d\n%b\n" % (n, read.sequence) for n, read in enumerate(reads.reads)))
    background, count = reads.of(OTHER), len(reads.reads)
    wanted = {name: (reads.of(name), label) for name, label in lineages.items()}
    say("edgeseq ...")
    own, settings = edgeseq_settings(Path(options.bundle), reads, options.threads)
    tools = [Tool("edgeseq", choose(settings, background, wanted, LIMIT), judge(own, background))]
    for kmer in options.kmers if kraken.available() else ():
        say(f"Kraken2, k = {kmer} ...")
        settings = kraken_settings(work, folder, fasta, panel, count, kmer, options.threads)
        default = next(one for one in settings if one.name == KRAKEN_DEFAULT)
        name = "Kraken2" if kmer == 35 else f"Kraken2, k = {kmer}"
        tools.append(Tool(name, choose(settings, background, wanted, LIMIT), judge(default, background)))
    say("minimap2 ...")
    tools.append(Tool("minimap2", choose(minimap_settings(work, panel, reads), background, wanted, LIMIT), None))
    print_settings(tools, reads)
    print(f"\nHeld-out lineages, {options.reads} reads each:\n")
    print_found(tools, reads, lineages)
    print(f"\nControls, {options.reads} reads each of genomes that stayed:\n")
    print_found(tools, reads, reads.controls)
    print("\nHeld-out lineages, every tool as it comes out of the box (minimap2: as above):\n")
    print_found(tools, reads, lineages, default=True)
    if not kraken.available():
        print("\nLeft out: Kraken2: not installed (Debian: apt-get install kraken2).")
    if options.plot is not None:
        plot(options.plot, tools, reads, lineages)


def main() -> None:
    """The tables, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True, help="A panel that was trained with --hold-out.")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--reads", type=int, default=1000, help="Reads of each lineage.")
    parser.add_argument("--background", type=int, default=40_000, help="Background reads, both halves together.")
    parser.add_argument("--kmers", type=int, nargs="+", default=[35], help="k-mer lengths of Kraken2; its own is 35.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, help="Keeps the database and the index for later runs.")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    bundle = read_bundle(options.bundle)
    with tempfile.TemporaryDirectory(prefix="edgeseq-bench-") as temporary:
        folder = Path(temporary)
        work = options.work or folder
        work.mkdir(parents=True, exist_ok=True)
        run(bundle, options, work, folder)


if __name__ == "__main__":
    main()
