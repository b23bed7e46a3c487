"""The genomes that the peers of a panel get as their reference, by label."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from export.genomes import BACKGROUND, OTHER, Genome, load
from export.labels import text
from export.panel import checked_classes

LINE = 10_000
"""Bases on a line of FASTA."""

Genomes = Mapping[str, Sequence[Genome]]


def panel_genomes(data: Path, labels: Sequence[str]) -> dict[str, list[Genome]]:
    """Every genome of the labels that an alignment confirms; under ``other`` all background and other viruses."""
    classes, _ = checked_classes(data, lambda *_: None)
    genomes = {label: classes.get(label, []) for label in labels if label != OTHER}
    outside = [genome for label, some in classes.items() if label not in labels for genome in some]
    background = [genome for files in BACKGROUND.values() for genome in load(data, OTHER, files)]
    return {**genomes, OTHER: background + outside}


def digest(genomes: Genomes, *settings: object) -> str:
    """Twelve hex digits that change with any base, label or setting."""
    total = hashlib.sha256(repr(settings).encode())
    for label, some in genomes.items():
        for genome in some:
            total.update(f"{label} {len(genome)} ".encode() + genome.codes.tobytes())
    return total.hexdigest()[:12]


def write_fasta(path: Path, genomes: Genomes, name: Callable[[str, int], str]) -> None:
    """All genomes in one file; ``name`` makes a record's name of its label and its number among that label's."""
    with path.open("w") as file:
        for label, some in genomes.items():
            for number, genome in enumerate(some):
                sequence = text(genome.codes)
                file.write(f">{name(label, number)}\n")
                for at in range(0, len(sequence), LINE):
                    file.write(sequence[at : at + LINE] + "\n")
