"""The outbreak panel's data: which records train it, which are held out, and why others are left out.

`prepare` loads the genomes, checks labels by alignment, takes whole lineages out on request, drops genomes that are too
close to the test reads, keeps the classes that still have enough near-full-length genomes and splits all by cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from export.dataset import Sampler, Side, Split, sources_of, split_background, split_class
from export.genomes import (
    BACKGROUND,
    CLASSES,
    FULL_LENGTH,
    MINIMUM_GENOMES,
    OTHER,
    Genome,
    full_length,
    load,
    near_full_genomes,
)
from export.labels import check
from export.leakage import Consensus, References, consensus, drop_close, representatives, test_reads
from export.lineages import LINEAGES, take_out
from export.simulate import ErrorProfile

Progress = Callable[[str, int, int], None]

DIVERSE = {"influenza-a": 2.5, "influenza-b": 2.0, "enterovirus": 3.0, "mpox": 1.5, "dengue": 1.5, "norovirus": 1.5}
"""Share of training windows relative to a class of little diversity."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Everything that training and evaluation draw from; ``report`` says what was left out and why (JSON-able)."""

    splits: tuple[Split, ...]
    background: Split
    outside: Split
    taken: dict[str, list[Genome]]
    report: dict[str, Any]

    @property
    def labels(self) -> tuple[str, ...]:
        return (*(split.label for split in self.splits), OTHER)

    def sampler(self, side: Side, profile: ErrorProfile | None = None) -> Sampler:
        """Simulated windows of one side: ``train``; ``tuned`` (what temperature and thresholds are fitted on) and
        ``held`` (what is reported), where every class weighs the same."""
        weights = np.array([DIVERSE.get(split.label, 1.0) if side == "train" else 1.0 for split in self.splits])
        return Sampler(
            labels=self.labels,
            classes={split.label: sources_of(split, side) for split in self.splits},
            background=sources_of(self.background, side),
            outside=sources_of(self.outside, side),
            class_weights=weights / weights.sum(),
            profile=profile or ErrorProfile(),
        )


def checked_classes(data: Path, progress: Progress) -> tuple[dict[str, list[Genome]], list[dict[str, Any]]]:
    """The classes' records whose label an alignment confirms, and the refused ones with the reason."""
    classes = {label: load(data, label, files) for label, files in CLASSES.items()}
    classes = {label: genomes for label, genomes in classes.items() if genomes}
    kept: dict[str, list[Genome]] = {label: [] for label in classes}
    refused = []
    for checked in check(classes, lambda done, total: progress("checking labels by alignment", done, total)):
        if checked.verdict == "kept":
            kept[checked.genome.label].append(checked.genome)
        else:
            refused.append(
                {
                    "label": checked.genome.label,
                    "record": checked.genome.name,
                    "verdict": checked.verdict,
                    "found": checked.found,
                    "matches": checked.matches,
                    "share of own class": checked.share,
                }
            )
    return kept, refused


def _without_test_reads(
    classes: dict[str, list[Genome]], folders: Iterable[Path], progress: Progress
) -> tuple[dict[str, list[Genome]], list[dict[str, Any]]]:
    """The classes without the genomes that are too close to a consensus of the test reads of any file."""
    references = References.of([genome for genomes in classes.values() for genome in representatives(genomes)])
    files = [reads for folder in folders for reads in test_reads(folder).values()]
    found: list[Consensus] = []
    for done, sequences in enumerate(files, start=1):
        found += consensus(sequences, references)
        progress("building consensuses of the test reads", done, len(files))
    kept, dropped = {}, []
    for done, (label, genomes) in enumerate(classes.items(), start=1):
        kept[label], drop = drop_close(
            label, genomes, found, partial(near_full_genomes, label, floor=full_length(label, genomes))
        )
        progress("dropping genomes close to the test reads", done, len(classes))
        if drop.close:
            dropped.append(
                {
                    "label": label,
                    "before": drop.before,
                    "after": drop.after,
                    "dropped from identity": drop.identity,
                    "at least 0.99 identical": drop.close,
                }
            )
    return kept, dropped


def prepare(
    data: Path, *, hold_out: Iterable[str] = (), reads: Iterable[Path] = (), seed: int = 1, progress: Progress
) -> Panel:
    """The panel's data. ``reads`` are folders of test reads whose near-identical genomes must not train.

    Raises ValueError for an unknown lineage name.
    """
    hold_out = tuple(hold_out)
    unknown = [name for name in hold_out if name not in LINEAGES]
    if unknown:
        raise ValueError(f"unknown lineages {', '.join(unknown)}; known: {', '.join(LINEAGES)}")
    classes, refused = checked_classes(data, progress)
    classes, taken = take_out(data, classes, hold_out)
    counts = {label: near_full_genomes(label, genomes) for label, genomes in classes.items()}
    reads = tuple(reads)
    dropped: list[dict[str, Any]] = []
    if reads:
        classes, dropped = _without_test_reads(classes, reads, progress)
    rng = np.random.default_rng(seed)
    splits, outside = [], []
    for label, genomes in classes.items():
        if counts[label] >= MINIMUM_GENOMES or label in {LINEAGES[name].expected for name in taken}:
            splits.append(split_class(label, genomes, rng, segmented=label in FULL_LENGTH))
        else:
            outside += genomes
    background = [genome for files in BACKGROUND.values() for genome in load(data, OTHER, files)]
    panel = Panel(
        splits=tuple(splits),
        background=split_background(background, rng),
        outside=split_background(outside, rng),
        taken=taken,
        report={"near_full_genomes": counts, "refused": refused, "dropped": dropped},
    )
    panel.report["classes"] = [
        {
            "label": split.label,
            "train": len(split.train),
            "calibration": len(split.tuned),
            "held_out": len(split.held),
            "clusters": split.clusters,
            "cluster_identity": split.identity,
        }
        for split in splits
    ]
    panel.report["hold_out"] = {
        name: {"expected": LINEAGES[name].expected, "records": [f"{g.group}|{g.name}" for g in genomes]}
        for name, genomes in taken.items()
    }
    return panel
