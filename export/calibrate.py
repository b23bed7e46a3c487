"""Temperature and abstention of the panel, fitted on simulated reads of held-out clusters, never on test reads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import nn

from edgeseq.manifest import Abstention
from edgeseq.prediction import Prediction
from edgeseq.read import Read
from export.dataset import Mixture, Sampler
from export.genomes import OTHER
from export.simulate import PAD

FALSE_VIRUS = 0.0015
"""Share of held-out background reads that may be called a virus: half of what the panel is allowed on real ones."""
LETTERS = np.frombuffer(b"ACGTN", np.uint8)
MINIMUM_LENGTH = 200
MAXIMUM_N = 0.2


def held_windows(
    net: nn.Module, sampler: Sampler, rng: np.random.Generator, windows: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits float32 (windows × labels) and labels of simulated held-out windows of 256, 512 and 1024 b."""
    logits, targets = [], []
    with torch.no_grad():
        for width in (256, 512, 1024):
            for _ in range(max(1, windows // 3 // 256)):
                rows, truth = sampler.batch(rng, 256, width)
                logits.append(net(torch.from_numpy(rows)).numpy())
                targets.append(truth)
    return np.concatenate(logits), np.concatenate(targets)


def temperature(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """The divisor of the logits that minimises log loss, within [0.5, 5]."""

    def loss(value: float) -> float:
        scaled = logits.astype(np.float64) / value
        scaled -= scaled.max(1, keepdims=True)
        chosen = scaled[np.arange(len(targets)), targets]
        return float((np.log(np.exp(scaled).sum(1)) - chosen).mean())

    return round(float(minimize_scalar(loss, bounds=(0.5, 5.0), method="bounded").x), 4)


KINDS = {
    "virus": Mixture(1, 0, 0, 0, 0, 0),
    "background": Mixture(0, 1, 0, 0, 0, 0),
    "outside": Mixture(0, 0, 1, 0, 0, 0),
    "decoy": Mixture(0, 0, 0, 1, 1, 1),
}
"""Held-out reads by what they are made of: panel classes, organisms, viruses of no class, sequence without homology."""


def held_reads(
    sampler: Sampler, rng: np.random.Generator, kind: str, count: int, longest: int = 4096
) -> Iterator[Read]:
    """``count`` simulated reads of one kind, 200 b to ``longest``; ``source`` is ``label|kind``."""
    sampler = replace(sampler, mixture=KINDS[kind])
    number = 0
    while True:
        width = int(2 ** rng.uniform(8, np.log2(longest))) // 16 * 16
        rows, truth = sampler.batch(rng, max(8, 60_000 // width), width)
        for row, label in zip(rows, truth, strict=True):
            codes = row[row != PAD]
            if len(codes) >= MINIMUM_LENGTH:
                source = f"{sampler.labels[label]}|{kind}"
                yield Read(f"{kind}_{number}", LETTERS[codes].tobytes(), source=source, record=number)
                number += 1
                if number == count:
                    return


def thresholds(predictions: list[Prediction], labels: tuple[str, ...]) -> Abstention:
    """Lowest scores at which viruses are called, so that at most `FALSE_VIRUS` of the background reads are.

    One threshold for all labels, raised for a label that alone takes more than a quarter of the budget. ``other`` needs
    no score.
    """
    background = [p for p in predictions if p.read.source.split("|")[0] == OTHER]
    candidates = np.array([p.decision.candidate for p in background])
    scores = np.array([p.decision.score for p in background])
    virus = candidates != OTHER
    allowed = int(FALSE_VIRUS * len(background))
    common = _cut(scores[virus], allowed)
    own = {OTHER: 0.0}
    for label in labels[:-1]:
        mine = _cut(scores[candidates == label], max(1, allowed // 4))
        if mine > common:
            own[label] = _up(mine)
    return Abstention(
        minimum_score=_up(common), thresholds=own, minimum_length=MINIMUM_LENGTH, maximum_n_fraction=MAXIMUM_N
    )


def _up(threshold: float) -> float:
    """The threshold to four digits, never lower."""
    return math.ceil(threshold * 1e4) / 1e4


def _cut(scores: NDArray[np.float64], allowed: int) -> float:
    """The lowest threshold, at least 0.5 and at most 0.999, that at most ``allowed`` scores reach."""
    if len(scores) <= allowed:
        return 0.5
    return float(np.clip(np.nextafter(np.sort(scores)[::-1][allowed], 1.0), 0.5, 0.999))
