"""The panel's training and held-out sources: classes, clusters, split, and batches of simulated windows.

Records of a class are clustered at the loosest identity that gives enough clusters, and whole clusters are held out,
never windows. Background is held out by record, and whole species and viruses are held out besides. What is held out is
split once more by cluster: temperature and thresholds are fitted on one part, figures are reported on the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from export.genomes import OTHER, Genome
from export.simulate import PAD, ErrorProfile, Sources, reads
from export.sketches import clusters, sketch

Side = Literal["train", "tuned", "held"]
IDENTITIES = (0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.9995)
MINIMUM_CLUSTERS = 20
HELD_SHARE = 0.10
"""Share of a class's clusters that is held out."""
LARGEST_HELD = 0.05
"""No held-out cluster has more than this share of its class's records: whole major lineages stay in training."""
HELD_IDENTITY = 0.90
"""Held-out background records at least this alike are on the same side of fitting and reporting."""
HELD_BACKGROUND = ("Truepera", "mumps", "hav", "human_nontata_promoters_test", "NC_0252", "NC_0135")
"""Background sources that training never sees, by file or record name; fitting of abstention depends on them."""


@dataclass(frozen=True, slots=True)
class Split:
    """One label's records in training (with the sampling weight of each), ``tuned`` for temperature and thresholds, and
    ``held`` for reported figures."""

    label: str
    train: Sequence[Genome]
    train_weights: NDArray[np.float64]
    tuned: Sequence[Genome]
    held: Sequence[Genome]
    identity: float
    """Clusters were made at this identity; 1.0 where records were split one by one."""
    clusters: int


@dataclass(frozen=True, slots=True)
class Mixture:
    """What a batch of windows is made of, as shares of its rows."""

    virus: float = 0.5
    background: float = 0.22
    outside: float = 0.08
    """Viruses outside the panel."""
    reversed: float = 0.08
    """Panel genomes read backwards without complement: composition and repeats without homology."""
    shuffled: float = 0.06
    """Panel genomes with their 1 to 8 b pieces shuffled."""
    random: float = 0.06
    """Random sequence of random composition, low-complexity repeats among it."""


def _cluster_weights(
    cluster: NDArray[np.int64], lengths: NDArray[np.int64], *, segmented: bool = False
) -> NDArray[np.float64]:
    """Sampling weights: clusters by the square root of their size and by their longest record, records in a cluster by
    length.

    Clusters of a segmented virus are segments, and a library holds about as many reads of the short as of the long:
    their weights are drawn together by another square root.
    """
    totals = np.bincount(cluster, weights=lengths)
    counts = np.bincount(cluster)
    longest = np.zeros(len(counts))
    np.maximum.at(longest, cluster, lengths)
    share = np.sqrt(counts) * longest
    if segmented:
        share = np.sqrt(share)
    weights = share[cluster] * lengths / totals[cluster]
    return np.asarray(weights / weights.sum(), np.float64)


def split_class(label: str, genomes: list[Genome], rng: np.random.Generator, *, segmented: bool = False) -> Split:
    """Holds out about `HELD_SHARE` of the clusters of a class, at least two and none of them a major lineage; every
    second of them is for fitting.

    Raises ValueError for fewer than three records.
    """
    if len(genomes) < 3:
        raise ValueError(f"{label}: {len(genomes)} records are too few to train, fit and report on")
    largest = max(LARGEST_HELD * len(genomes), 1)
    sketches = [sketch(genome.codes) for genome in genomes]
    for identity in IDENTITIES:
        cluster = clusters(sketches, identity)
        sizes = np.bincount(cluster)
        enough = len(sizes) >= MINIMUM_CLUSTERS and np.count_nonzero(sizes <= largest) >= 2
        if enough and sizes.max() <= 0.92 * len(genomes):
            break
    else:
        identity, cluster = 1.0, np.arange(len(genomes))
        sizes = np.ones(len(genomes), np.int64)
    wanted = max(2, round(HELD_SHARE * len(sizes)))
    held = [int(number) for number in rng.permutation(len(sizes)) if sizes[number] <= largest][:wanted]
    keep = ~np.isin(cluster, held)
    lengths = np.array([len(genome) for genome in genomes], np.int64)
    relabelled = np.unique(cluster[keep], return_inverse=True)[1]
    return Split(
        label=label,
        train=[genome for genome, kept in zip(genomes, keep, strict=True) if kept],
        train_weights=_cluster_weights(relabelled, lengths[keep], segmented=segmented),
        tuned=[genome for genome, number in zip(genomes, cluster, strict=True) if number in held[1::2]],
        held=[genome for genome, number in zip(genomes, cluster, strict=True) if number in held[::2]],
        identity=identity,
        clusters=len(sizes),
    )


def split_background(genomes: list[Genome], rng: np.random.Generator) -> Split:
    """Holds out named sources and every eighth record of 20 kb or less; weights balance the files. Of what is held out,
    records that are alike stay on one side."""
    held: list[Genome] = []
    train: list[Genome] = []
    for genome in genomes:
        named = any(genome.group.startswith(name) or genome.name.startswith(name) for name in HELD_BACKGROUND)
        named = named or any(name in genome.name for name in HELD_BACKGROUND)
        (held if named or (len(genome) <= 20_000 and rng.random() < 0.12) else train).append(genome)
    groups: dict[str, float] = {}
    for genome in train:
        groups[genome.group] = groups.get(genome.group, 0.0) + len(genome)
    share = {group: min(size, 3e6) ** 0.5 for group, size in groups.items()}
    weights = np.array([share[genome.group] * len(genome) / groups[genome.group] for genome in train])
    tuned, reported = _halves(held, rng)
    return Split(OTHER, train, weights / weights.sum(), tuned, reported, 1.0, len(genomes))


def _halves(genomes: list[Genome], rng: np.random.Generator) -> tuple[list[Genome], list[Genome]]:
    """Two parts of about as many bases, similar records together."""
    if not genomes:
        return [], []
    cluster = clusters([sketch(genome.codes) for genome in genomes], HELD_IDENTITY)
    bases = np.bincount(cluster, weights=[len(genome) for genome in genomes])
    side = np.zeros(len(bases), np.int64)
    totals = np.zeros(2)
    for number in rng.permutation(len(bases)):
        side[number] = int(totals[1] < totals[0])
        totals[side[number]] += bases[number]
    halves: tuple[list[Genome], list[Genome]] = ([], [])
    for genome, number in zip(genomes, cluster, strict=True):
        halves[side[number]].append(genome)
    return halves


@dataclass(slots=True)
class Sampler:
    """Batches of simulated windows with labels, from one side of the splits.

    ``labels`` is the panel's order with ``other`` last. A window is uint8 (width,) of base codes padded with `PAD`.
    """

    labels: tuple[str, ...]
    classes: dict[str, tuple[Sources, NDArray[np.float64]]]
    background: tuple[Sources, NDArray[np.float64]]
    outside: tuple[Sources, NDArray[np.float64]]
    class_weights: NDArray[np.float64]
    profile: ErrorProfile = field(default_factory=ErrorProfile)
    mixture: Mixture = field(default_factory=Mixture)
    shortest: float = 0.55
    """Smallest share of a row that its source sequence is drawn to fill."""

    def _rows(
        self,
        rng: np.random.Generator,
        sources: tuple[Sources, NDArray[np.float64]],
        lengths: NDArray[np.int64],
        width: int,
        rates: NDArray[np.float32] | None = None,
    ) -> NDArray[np.uint8]:
        records = rng.choice(len(sources[1]), len(lengths), p=sources[1])
        return reads(rng, sources[0], records, lengths, width, self.profile, rates=rates)

    def lengths(self, rng: np.random.Generator, count: int, width: int) -> NDArray[np.int64]:
        """Window lengths that a row of ``width`` holds: most fill it, some do not."""
        low = max(130 if self.shortest < 0.5 else 150, int(width * self.shortest))
        return np.where(rng.random(count) < 0.35, width, rng.integers(low, width + 1, count)).astype(np.int64)

    def batch(self, rng: np.random.Generator, rows: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Windows uint8 (rows × width) and label indices int64 (rows,), unordered classes, all kinds of background."""
        shares = self.mixture
        kinds = np.array(
            [shares.virus, shares.background, shares.outside, shares.reversed, shares.shuffled, shares.random]
        )
        counts = rng.multinomial(rows, kinds / kinds.sum())
        other = len(self.labels) - 1
        windows: list[NDArray[np.uint8]] = []
        targets: list[NDArray[np.int64]] = []
        for index, count in enumerate(rng.multinomial(counts[0], self.class_weights)):
            if count:
                lengths = self.lengths(rng, int(count), width)
                windows.append(self._rows(rng, self.classes[self.labels[index]], lengths, width))
                targets.append(np.full(count, index, np.int64))
        for count, sources in ((counts[1], self.background), (counts[2], self.outside)):
            if count:
                windows.append(self._rows(rng, sources, self.lengths(rng, int(count), width), width))
                targets.append(np.full(count, other, np.int64))
        for count, decoy in ((counts[3], self._reversed), (counts[4], self._shuffled), (counts[5], self._random)):
            if count:
                windows.append(decoy(rng, int(count), width))
                targets.append(np.full(count, other, np.int64))
        return np.concatenate(windows), np.concatenate(targets)

    def _panel_rows(self, rng: np.random.Generator, count: int, width: int) -> NDArray[np.uint8]:
        """Windows of panel classes, all classes alike."""
        parts = []
        for index, some in enumerate(rng.multinomial(count, np.full(len(self.labels) - 1, 1 / (len(self.labels) - 1)))):
            if some:
                sources = self.classes[self.labels[index]]
                parts.append(self._rows(rng, sources, self.lengths(rng, int(some), width), width))
        return np.concatenate(parts)

    def _reversed(self, rng: np.random.Generator, count: int, width: int) -> NDArray[np.uint8]:
        rows = self._panel_rows(rng, count, width)
        known = np.count_nonzero(rows != PAD, axis=1)[:, None]
        place = np.arange(width)[None, :]
        return np.take_along_axis(rows, np.where(place < known, known - 1 - place, place), axis=1)

    def _shuffled(self, rng: np.random.Generator, count: int, width: int) -> NDArray[np.uint8]:
        rows = self._panel_rows(rng, count, width)
        piece = int(rng.integers(1, 9))
        whole = width // piece * piece
        pieces = rows[:, :whole].reshape(count, -1, piece)
        full = np.count_nonzero(rows != PAD, axis=1) // piece
        place = np.arange(pieces.shape[1])[None, :]
        order = np.argsort(np.where(place < full[:, None], rng.random(pieces.shape[:2]), 1.0 + place), axis=1)
        rows[:, :whole] = np.take_along_axis(pieces, order[:, :, None], axis=1).reshape(count, whole)
        return rows

    def _random(self, rng: np.random.Generator, count: int, width: int) -> NDArray[np.uint8]:
        composition = rng.dirichlet(np.full(4, 3.0), count)
        edges = np.cumsum(composition, axis=1)[:, None, :3]
        rows = (rng.random((count, width))[:, :, None] > edges).sum(2).astype(np.uint8)
        for row in np.flatnonzero(rng.random(count) < 0.25):
            unit = rows[row, : rng.integers(1, 30)]
            repeat = np.resize(unit, width)
            noise = rng.random(width) < 0.08
            repeat[noise] = rng.integers(0, 4, int(noise.sum()), np.uint8)
            rows[row] = repeat
        lengths = self.lengths(rng, count, width)
        rows[np.arange(width)[None, :] >= lengths[:, None]] = PAD
        return rows


def sources_of(split: Split, side: Side) -> tuple[Sources, NDArray[np.float64]]:
    """Concatenated records of one side, with sampling weights (held-out records weigh by length).

    Raises ValueError where the side has no records.
    """
    records = list({"train": split.train, "tuned": split.tuned, "held": split.held}[side])
    if not records:
        raise ValueError(f"{split.label}: no records on side '{side}'; more or more varied records are needed")
    if side == "train":
        return Sources.of([genome.codes for genome in records]), split.train_weights
    lengths = np.array([len(genome) for genome in records], np.float64)
    return Sources.of([genome.codes for genome in records]), lengths / lengths.sum()
