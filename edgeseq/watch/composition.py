"""What a sample is made of: counts of calls, corrected for how often the model calls one class another.

Reads of true class *i* are called *j* with probability C[i, j], known from the bundle's own held-out evidence. The
shares that make the observed calls most likely are found by expectation–maximisation (Dempster et al. 1977), which
keeps them from 0 to 1; their intervals come from a parametric bootstrap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shares = NDArray[np.float64]

ROUNDS = 200
REPEATS = 200
PRIOR_COUNT = 0.5
"""Added to every cell of a confusion matrix: what was never seen in some hundred reads is still possible."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often reads of each class are called what: probabilities (labels × called), each row sums to 1.

    ``called`` are ``labels`` and, last, ``unclassified``.
    """

    labels: tuple[str, ...]
    called: tuple[str, ...]
    rates: Shares

    @classmethod
    def of(cls, counts: Mapping[str, Any]) -> Confusion | None:
        """The matrix of a report's ``confusion`` entry; None where it is not one (an older bundle has none)."""
        try:
            labels, called = tuple(map(str, counts["labels"])), tuple(map(str, counts["called"]))
            table = np.array(counts["counts"], np.float64)
        except (KeyError, TypeError, ValueError):
            return None
        if table.shape != (len(labels), len(called)) or called[: len(labels)] != labels or (table < 0).any():
            return None
        table = table + PRIOR_COUNT / len(called)
        return cls(labels, called, table / table.sum(axis=1, keepdims=True))

    def false_rate(self, label: str, background: str) -> float:
        """How often a read of the background class is called ``label``."""
        return float(self.rates[self.labels.index(background), self.called.index(label)])

    def sensitivity(self, label: str) -> float:
        """How often a read of ``label`` is called so."""
        return float(self.rates[self.labels.index(label), self.called.index(label)])


@dataclass(frozen=True, slots=True)
class Share:
    """The corrected share of one class among the reads, with its 95 % interval, and how many were called so."""

    label: str
    called: int
    share: float
    low: float
    high: float


def composition(counts: Mapping[str, int], confusion: Confusion, *, seed: int = 0) -> list[Share]:
    """The corrected share of each label; none for a sample without reads.

    ``counts`` are reads by what they were called. Calls that the matrix does not know are left out.
    """
    seen = np.array([counts.get(name, 0) for name in confusion.called], np.float64)
    total = int(seen.sum())
    if not total:
        return []
    shares = corrected(seen[None], confusion.rates)[0]
    rng = np.random.default_rng(seed)
    again = rng.multinomial(total, shares @ confusion.rates, REPEATS).astype(np.float64)
    low, high = np.quantile(corrected(again, confusion.rates), [0.025, 0.975], axis=0)
    return [
        Share(
            label, int(seen[at]), float(shares[at]), float(min(low[at], shares[at])), float(max(high[at], shares[at]))
        )
        for at, label in enumerate(confusion.labels)
    ]


def corrected(seen: Shares, rates: Shares) -> Shares:
    """The most likely shares (samples × labels) behind counts of calls (samples × called)."""
    shares = np.full((len(seen), len(rates)), 1 / len(rates))
    share_seen = seen / seen.sum(axis=1, keepdims=True)
    for _ in range(ROUNDS):
        expected = shares @ rates
        shares = shares * ((share_seen / np.maximum(expected, 1e-300)) @ rates.T)
    found: Shares = shares / shares.sum(axis=1, keepdims=True)
    return found


def rank(shares: Sequence[Share]) -> list[Share]:
    """Shares, the largest first."""
    return sorted(shares, key=lambda one: -one.share)
