"""From scores to decisions, by the manifest alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeseq.manifest import Task
from edgeseq.prediction import UNCLASSIFIED, Segment
from edgeseq.predictions import DecisionColumns, ScoreColumns
from edgeseq.segments import segments

REASONS = ("", "empty", "short", "n", "score")
"""Why a read is not called; the first that holds counts."""


def decide(scores: ScoreColumns, lengths: NDArray[np.int64], task: Task) -> DecisionColumns:
    """One decision for each read, of so many bases. Pure: the same scores give the same decision, in any company.

    Classes: the most probable label, or ``unclassified`` for the first of these reasons that holds: ``empty`` (nothing
    to score), ``short`` and ``n`` (the read is outside what the model is for), ``score`` (the label's probability is
    below its threshold). Regression: no label; the score is the (first) value. Causal language models: no label; the
    score is the mean log-likelihood of a token. Embedding: neither.
    """
    if task.kind == "sequence-classification":
        return _classify(scores, lengths, task)
    values = np.zeros(len(scores))
    if task.kind in ("regression", "causal-lm") and scores.probabilities.size:
        values = np.where(scores.counts > 0, scores.probabilities[:, 0], 0.0)
    labels = ["" if windows else UNCLASSIFIED for windows in scores.counts.tolist()]
    reasons = ["" if windows else "empty" for windows in scores.counts.tolist()]
    return DecisionColumns(labels, values.tolist(), [""] * len(scores), reasons)


def threshold(label: str, task: Task) -> float:
    """The lowest probability at which ``label`` is still a call."""
    return task.abstention.thresholds.get(label, task.abstention.minimum_score)


def _classify(scores: ScoreColumns, lengths: NDArray[np.int64], task: Task) -> DecisionColumns:
    rule = task.abstention
    empty = scores.counts == 0
    best = np.zeros(len(scores), np.intp)
    top = np.zeros(len(scores))
    if not empty.all():
        best = scores.probabilities.argmax(axis=1)
        top = scores.probabilities[np.arange(len(scores)), best].astype(np.float64)
        top[empty] = 0.0
    limits = np.array([threshold(label, task) for label in task.labels])
    holds = [empty, lengths < rule.minimum_length, scores.n_fractions > rule.maximum_n_fraction, top < limits[best]]
    reasons = [REASONS[code] for code in np.select(holds, range(1, len(REASONS)), 0).tolist()]
    candidates = [task.labels[label] for label in best.tolist()]
    for place in np.flatnonzero(empty).tolist():
        candidates[place] = ""
    labels = [UNCLASSIFIED if reason else label for reason, label in zip(reasons, candidates, strict=True)]
    return DecisionColumns(labels, top.tolist(), candidates, reasons, _segments(scores, task))


def _segments(scores: ScoreColumns, task: Task) -> dict[int, tuple[Segment, ...]]:
    """The segments of the reads that have any."""
    if len(scores.windows) < 2:
        return {}
    favourites = scores.windows.argmax(axis=1)
    owners = np.repeat(np.arange(len(scores)), scores.counts)
    changes = (favourites[1:] != favourites[:-1]) & (owners[1:] == owners[:-1])
    found = {read: segments(scores[read], task) for read in np.unique(owners[1:][changes]).tolist()}
    return {read: parts for read, parts in found.items() if parts}
