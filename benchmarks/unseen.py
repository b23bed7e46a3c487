"""Simulated reads of what a panel has not seen: the lineages that its training left out, and background."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeseq.bundle import Bundle
from edgeseq.read import Read
from export.genomes import BACKGROUND, OTHER, Genome
from export.lineages import LINEAGES
from export.panel import Panel, prepare
from export.simulate import PAD, ErrorProfile, Sources
from export.simulate import reads as simulated
from export.sketches import identities, sketch

ERRORS = 0.05
SHORTEST, LONGEST = 400, 1500
LEAST = 200
"""Bases of the shortest simulated read: records of some background are shorter than `SHORTEST`."""
OUTSIDE = "outside"
PROFILE = ErrorProfile(adapter=0.0, unknown=0.0)
_LETTERS = np.frombuffer(b"ACGTN", np.uint8)


@dataclass(frozen=True, slots=True)
class Reads:
    """All reads and the ``origin`` of each: a lineage, a control, ``other`` (background) or ``outside``.

    ``controls`` maps the names of controls to their labels; ``nearest`` holds, of each lineage, the median over its
    genomes of the estimated identity with the nearest genome that stayed in training.
    """

    reads: Sequence[Read]
    origin: NDArray[np.str_]
    controls: Mapping[str, str]
    nearest: Mapping[str, float]

    def of(self, origin: str) -> NDArray[np.bool_]:
        return np.asarray(self.origin == origin)


def held_out_panel(bundle: Bundle, data: Path) -> tuple[Panel, dict[str, str]]:
    """The data that a bundle was trained on, made again, and its held-out lineages with their expected labels.

    Ends the program where the bundle's report names no lineages, or where ``data`` gives other records than those.
    """
    report = bundle.report.get("data", {})
    held = report.get("hold_out") or {}
    if not held:
        raise SystemExit(f"{bundle.path}: nothing was held out of its training")
    plan = bundle.manifest.provenance["plan"]
    assert isinstance(plan, dict)
    panel = prepare(data, hold_out=tuple(held), seed=int(plan["seed"]), progress=lambda *_: None)
    again = json.loads(json.dumps(panel.report))
    for part in ("hold_out", "classes", "dropped"):
        if again[part] != report[part]:
            raise SystemExit(f"{bundle.path}: {data} does not give the data that it was trained on ({part} differ)")
    return panel, {name: LINEAGES[name].expected for name in held}


def simulate(panel: Panel, lineages: Mapping[str, str], each: int, background: int, seed: int) -> Reads:
    """``each`` reads of every lineage and control, and ``background`` of held-out records.

    Background comes in equal parts from bacteria, archaea, eukarya, organelles, and animals and plants; inside a part
    and inside a lineage, records weigh by length. Viruses outside the panel are ``each`` reads more.
    """
    random = np.random.default_rng(seed)
    remaining = {split.label: [*split.train, *split.tuned, *split.held] for split in panel.splits}
    controls = {f"{label} (known)": label for label in dict.fromkeys(lineages.values())}
    sources: dict[str, list[tuple[Sequence[Genome], int]]] = {
        **{name: [(panel.taken[name], each)] for name in lineages},
        **{name: [(remaining[label], each)] for name, label in controls.items()},
        OUTSIDE: [(panel.outside.held, each)],
        OTHER: [(some, background // len(BACKGROUND)) for some in _kinds(panel.background.held)],
    }
    reads: list[Read] = []
    origin: list[str] = []
    for name, parts in sources.items():
        for genomes, count in parts:
            for sequence in _sequences(random, genomes, count):
                reads.append(Read(str(len(reads)), sequence, source=name, record=len(reads)))
                origin.append(name)
    nearest = {name: _nearest(panel.taken[name], remaining[label]) for name, label in lineages.items()}
    return Reads(reads, np.array(origin), controls, nearest)


def _kinds(genomes: Sequence[Genome]) -> list[list[Genome]]:
    """The records of each kind of background that has any."""
    kinds = [[genome for genome in genomes if genome.group in files] for files in BACKGROUND.values()]
    return [some for some in kinds if some]


def _sequences(random: np.random.Generator, genomes: Sequence[Genome], count: int) -> list[bytes]:
    """``count`` reads of `LEAST` bases or more; none where there are no genomes."""
    whole = [genome for genome in genomes if len(genome) >= 1.2 * LEAST]
    found: list[bytes] = []
    if not whole:
        return found
    source = Sources.of([genome.codes for genome in whole])
    chance = source.lengths / source.lengths.sum()
    while len(found) < count:
        records = random.choice(len(whole), 1000, p=chance)
        lengths = random.integers(SHORTEST, LONGEST + 1, 1000)
        rates = np.full(1000, ERRORS, np.float32)
        for row in simulated(random, source, records, lengths, LONGEST + 200, PROFILE, rates=rates):
            codes = row[row != PAD]
            if len(codes) >= LEAST:
                found.append(_LETTERS[codes].tobytes())
    return found[:count]


def _nearest(genomes: Sequence[Genome], others: Sequence[Genome]) -> float:
    """Median over the genomes of the highest identity with any other, from shared 15-mers."""
    likeness = identities([sketch(genome.codes) for genome in genomes], [sketch(genome.codes) for genome in others])
    return float(np.median(likeness.max(axis=1).toarray()))
