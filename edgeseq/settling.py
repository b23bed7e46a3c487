"""Early stopping: when the windows not yet scored can no longer change the call of a read.

A window's log-probabilities lie within [`FLOOR`, 0] (see `edgeseq.aggregate`), which bounds what the rest of a read can
do. A call is settled only when every outcome within those bounds has the same label and the same reason, so calls with
and without early stopping are equal by construction. At least half of a read has to be scored.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeseq.aggregate import FLOOR, Values, probabilities
from edgeseq.decide import threshold
from edgeseq.manifest import Task

MARGIN = 1e-4
"""Nats that a bound keeps clear of the point where the call would change: more than rounding can move it."""


def next_goals(scored: NDArray[np.int64], planned: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many windows of each read to have scored before asking again; ``planned`` at the most."""
    first = np.where(planned > 1, planned // 2 + 1, planned)
    return np.where(scored == 0, first, np.minimum(planned, scored + np.maximum(1, planned // 8)))


def settled(logs: Values, weights: NDArray[np.int64], task: Task) -> bool:
    """Whether the call stands, given log-probabilities (scored × labels) and the lengths of all planned windows.

    The most probable label must be out of reach for every other one, and its probability on one side of its threshold,
    whatever the remaining windows say.
    """
    scored = len(logs)
    if scored == len(weights):
        return True
    if task.kind != "sequence-classification" or not scored:
        return False
    whole = float(weights.sum())
    seen = (logs * weights[:scored, None].astype(np.float64)).sum(axis=0) / whole
    reach = -FLOOR * float(weights[scored:].sum()) / whole
    best = int(seen.argmax())
    others = np.delete(seen, best)
    if len(others) and seen[best] - others.max() <= reach + MARGIN:
        return False
    lowest, highest = seen - reach, seen
    worst_case, best_case = highest.copy(), lowest.copy()
    worst_case[best], best_case[best] = lowest[best] - MARGIN, highest[best] + MARGIN
    limit = threshold(task.labels[best], task)
    return bool(probabilities(worst_case, task)[best] >= limit or probabilities(best_case, task)[best] < limit)
