"""Whole lineages that can be left out of training, to measure what a model says of relatives it has never seen."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.genomes import Genome, load
from export.sketches import clusters, identities, sketch

CLOSE = 0.88
"""Records at least this identical to a held-out one go with it, whatever their names say."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """``expected`` is the panel label of the nearest relatives that stay in training.

    Records of the class whose ``group|name`` matches ``pattern`` are the lineage; with ``files`` it is those files'
    records, which are in no class. ``minor`` takes all but the largest cluster at 0.90 identity instead, where names do
    not tell types apart.
    """

    name: str
    expected: str
    pattern: str = ""
    files: tuple[str, ...] = ()
    minor: bool = False


LINEAGES = {
    lineage.name: lineage
    for lineage in (
        Lineage("ebola-sudan", "ebola-zaire", files=("ebola-sudan",)),
        Lineage("ebola-bundibugyo", "ebola-zaire", files=("ebola-bundibugyo",)),
        Lineage("dengue-4", "dengue", r"^dengue4\||denv4|DENV4"),
        Lineage("enterovirus-d68", "enterovirus", r"(?i)d68"),
        Lineage("influenza-a-h5-ha", "influenza-a", r"(?i)iav-h5/ha|h5n1[^|]*/ha/"),
        Lineage("influenza-a-h3-ha", "influenza-a", r"(?i)h3n2[/_]ha"),
        Lineage("adenovirus-minor-types", "adenovirus", minor=True),
        Lineage("norovirus-gi", "norovirus", r"\|GI\|"),
        Lineage("rsv-b", "rsv", r"^rsv-b\|"),
    )
}


def _selected(lineage: Lineage, genomes: list[Genome]) -> np.ndarray:
    if lineage.minor:
        cluster = clusters([sketch(genome.codes) for genome in genomes], 0.90)
        return np.asarray(cluster != np.bincount(cluster).argmax())
    return np.array([bool(re.search(lineage.pattern, f"{genome.group}|{genome.name}")) for genome in genomes])


def take_out(
    data: Path, classes: dict[str, list[Genome]], names: Iterable[str]
) -> tuple[dict[str, list[Genome]], dict[str, list[Genome]]]:
    """The classes without the named lineages, and the records of each lineage.

    Records of the class that are `CLOSE` to the lineage leave training as well but are not counted as its records.
    """
    remaining = dict(classes)
    taken: dict[str, list[Genome]] = {}
    for name in names:
        lineage = LINEAGES[name]
        if lineage.files:
            taken[name] = load(data, lineage.expected, lineage.files)
            continue
        genomes = remaining[lineage.expected]
        chosen = _selected(lineage, genomes)
        taken[name] = [genome for genome, out in zip(genomes, chosen, strict=True) if out]
        rest = [genome for genome, out in zip(genomes, chosen, strict=True) if not out]
        if lineage.minor:
            remaining[lineage.expected] = rest
            continue
        likeness = identities([sketch(g.codes) for g in rest], [sketch(g.codes) for g in taken[name]])
        nearest = likeness.max(axis=1).toarray().ravel() if likeness.nnz else np.zeros(len(rest))
        remaining[lineage.expected] = [genome for genome, near in zip(rest, nearest, strict=True) if near < CLOSE]
    return remaining, taken
