"""Two embedding models, read by read: the cosine between their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.scorer import Scorer
from quantize.budget import Budget
from quantize.judge import calls
from quantize.pairs import Calls
from quantize.resample import REPEATS, drawn_sums
from quantize.sample import Sample, SampleError
from quantize.verdict import Size, Verdict, decide

ORTHOGONAL = 1.0
"""What one read more may cost at worst: a vector that has nothing to do with the float model's."""


class VectorTrial:
    """A trial of embedding models."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample

    def listen(self, scorer: Scorer) -> Calls:
        """The vector of each read."""
        return calls(scorer, self._sample)

    def verdicts(
        self, before: Calls, after: Calls, budgets: Sequence[Budget], *, confidence: float, seed: int
    ) -> tuple[Verdict, ...]:
        """``cosine``: 1 minus the mean cosine. Raises SampleError where no read gives a vector."""
        loss = 1 - cosines(before.values, after.values)
        known = ~np.isnan(loss)
        if not known.any():
            raise SampleError(f"{self._sample.path}: no read gives a vector")
        return tuple(
            mean_verdict(
                budget, loss[known], self._sample.source[known], ORTHOGONAL, confidence, (seed, number), reference=1.0
            )
            for number, budget in enumerate(budgets)
        )

    def breakdown(self, before: Calls, after: Calls, reference: Scorer, candidate: Scorer, seed: int) -> dict[str, Any]:
        """The smallest cosines: what the mean does not show."""
        del reference, candidate, seed  # everything is in what they said
        found = cosines(before.values, after.values)
        shares = (0.0, 0.01, 0.05, 0.5)
        low = np.nanquantile(found, shares)
        return {
            "lengths": [],
            "classes": [],
            "strands": {},
            "cosines": {
                f"{share:.0%} of reads are below": float(each) for share, each in zip(shares, low, strict=True)
            },
        }


def cosines(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float64]:
    """Each row's cosine with the other's, NaN for rows of NaN. Two vectors of zeros are alike, one alone is not."""
    a, b = before.astype(np.float64), after.astype(np.float64)
    lengths = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    same = np.all(a == b, axis=1)
    found = np.divide((a * b).sum(axis=1), lengths, out=np.zeros(len(a)), where=lengths > 0)
    result: NDArray[np.float64] = np.where(np.isnan(a[:, 0]), np.nan, np.where(same, 1.0, np.minimum(found, 1.0)))
    return result


def mean_verdict(
    budget: Budget,
    loss: NDArray[np.float64],
    source: NDArray[np.str_],
    worst: float,
    confidence: float,
    seed: tuple[int, int],
    *,
    reference: float = 0.0,
) -> Verdict:
    """The verdict about the mean of a loss of each read, with a bootstrap over reads and over files; one more read,
    that loses ``worst``, is part of every pool."""
    rng = np.random.default_rng(seed)
    total, mean = len(loss), float(loss.mean())
    values = np.stack([loss, np.ones(total)], axis=1)
    upper, lower, spread = 0.0, mean, 0.0
    for group in (np.arange(total), source):
        if group is source and len(np.unique(source)) < 2:
            continue
        lost, count = drawn_sums(group, values, rng).T
        padded = (lost + worst * rng.poisson(1.0, REPEATS)) / (count + 1)
        upper = max(upper, float(np.quantile(padded, confidence)))
        lower = min(lower, float(np.quantile(lost / count, 1 - confidence)))
        spread = max(spread, float(np.quantile(lost / count, confidence)) - mean)
    size = Size(total, len(np.unique(source)))
    after = reference - mean if reference else mean
    return decide(budget.metric, budget.limit, size, confidence, reference, after, mean, lower, upper, spread)
