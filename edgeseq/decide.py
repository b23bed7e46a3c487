"""From scores to decisions, by the manifest alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeseq.manifest import Task
from edgeseq.prediction import UNCLASSIFIED, Decision, Scores, Segment
from edgeseq.segments import segments

EMPTY = Decision(UNCLASSIFIED, 0.0, "", "empty")
"""For a read with nothing to score."""


def decide(scores: Sequence[Scores], lengths: Sequence[int], task: Task) -> list[Decision]:
    """One decision for each read, of so many bases. Pure: the same scores give the same decision, in any company.

    Classes: the most probable label, or ``unclassified`` for the first of these reasons that holds: ``empty`` (nothing
    to score), ``short`` and ``n`` (the read is outside what the model is for), ``score`` (the label's probability is
    below its threshold). Regression: no label; the score is the (first) value. Embedding: neither.
    """
    if task.kind == "sequence-classification":
        return _classify(scores, lengths, task)
    if task.kind == "regression":
        return [Decision("", float(one.probabilities[0]), "") if len(one.windows) else EMPTY for one in scores]
    return [Decision("", 0.0, "") if len(one.windows) else EMPTY for one in scores]


def threshold(label: str, task: Task) -> float:
    """The lowest probability at which ``label`` is still a call."""
    return task.abstention.thresholds.get(label, task.abstention.minimum_score)


def _classify(scores: Sequence[Scores], lengths: Sequence[int], task: Task) -> list[Decision]:
    rule = task.abstention
    limits = [(label, threshold(label, task)) for label in task.labels]
    favourites = iter(_favourites(scores))
    decisions = []
    for one, length in zip(scores, lengths, strict=True):
        windows = len(one.windows)
        if not windows:
            decisions.append(EMPTY)
            continue
        best, score = next(favourites)
        candidate, limit = limits[best]
        reason = ""
        if length < rule.minimum_length:
            reason = "short"
        elif one.n_fraction > rule.maximum_n_fraction:
            reason = "n"
        elif score < limit:
            reason = "score"
        parts: tuple[Segment, ...] = segments(one, task) if windows > 1 else ()
        decisions.append(Decision(UNCLASSIFIED if reason else candidate, score, candidate, reason, parts))
    return decisions


def _favourites(scores: Sequence[Scores]) -> list[tuple[int, float]]:
    """Number and probability of the most probable label, for each read that has scores."""
    rows = [one.probabilities for one in scores if len(one.windows)]
    if not rows:
        return []
    table = np.concatenate(rows).reshape(len(rows), -1)
    best = table.argmax(axis=1)
    return list(zip(best.tolist(), table[np.arange(len(rows)), best].tolist(), strict=True))
