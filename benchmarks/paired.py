"""Matthews correlations of calls of the same sequences, with bootstrap intervals.

What is drawn are groups of sequences that resemble each other, all their sequences at once; a sequence that resembles
no other is a group of its own. A sequence is one of eight cells (truth, first call, second call), and all that a draw
changes are the counts of these cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.measure import wilson
from quantize.pairs import correlation

DRAWS = 2000
Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and the ends of its 95 % percentile interval."""

    value: float
    low: float
    high: float

    @property
    def differs(self) -> bool:
        """Whether 0 is outside of the interval."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class Draws:
    """Labels of the sequences (0 or 1), the group of each, and how often each draw has each group."""

    truth: Codes
    group: Codes
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, truth: Codes, group: Codes, *, seed: int = 0) -> Draws:
        """The same draws for every figure. ``group`` may hold any numbers."""
        names, which = np.unique(group, return_inverse=True)
        odds = np.full(len(names), 1 / len(names))
        drawn = np.random.default_rng(seed).multinomial(len(names), odds, DRAWS)
        return cls(truth, which.astype(np.int64), np.concatenate((np.ones((1, len(names))), drawn)))

    def score(self, called: Codes) -> Estimate:
        """The MCC of calls."""
        return _of(correlation(self._cells(called, called).sum(axis=3)))

    def change(self, reference: Codes, candidate: Codes) -> Estimate:
        """The MCC of ``candidate`` minus that of ``reference``."""
        cells = self._cells(reference, candidate)
        return _of(correlation(cells.sum(axis=2)) - correlation(cells.sum(axis=3)))

    def flips(self, reference: Codes, candidate: Codes) -> Estimate:
        """The share of sequences whose call changed; its interval is at least Wilson's, which knows no groups but does
        not take no change among few for none among many."""
        cells = self._cells(reference, candidate)
        found = _of((cells[:, :, 0, 1] + cells[:, :, 1, 0]).sum(axis=1) / cells.sum(axis=(1, 2, 3)))
        _, low, high = wilson(int((reference != candidate).sum()), len(reference))
        return Estimate(found.value, min(found.low, low), max(found.high, high))

    def _cells(self, first: Codes, second: Codes) -> NDArray[np.float64]:
        """Counts of (draw, truth, first call, second call); the first draw is the sample."""
        counts = np.zeros((self.weights.shape[1], 8))
        np.add.at(counts, (self.group, 4 * self.truth + 2 * first + second), 1)
        cells: NDArray[np.float64] = (self.weights @ counts).reshape(-1, 2, 2, 2)
        return cells


def _of(values: NDArray[np.float64]) -> Estimate:
    """The first value is that of the sample, the others are those of the draws."""
    low, high = np.quantile(values[1:], (0.025, 0.975))
    return Estimate(float(values[0]), float(low), float(high))
