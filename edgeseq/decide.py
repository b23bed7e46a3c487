"""From scores to a decision, by the manifest alone."""

from __future__ import annotations

from edgeseq.manifest import Task
from edgeseq.prediction import UNCLASSIFIED, Decision, Scores
from edgeseq.segments import segments


def decide(scores: Scores, task: Task, length: int) -> Decision:
    """The decision for a read of ``length`` bases. Pure: the same scores give the same decision.

    Classes: the most probable label, or ``unclassified`` for the first of these reasons that holds: ``empty`` (nothing
    to score), ``short`` and ``n`` (the read is outside what the model is for), ``score`` (the label's probability is
    below its threshold). Regression: no label; the score is the (first) value. Embedding: neither.
    """
    if not len(scores.windows):
        return Decision(UNCLASSIFIED, 0.0, "", "empty")
    if task.kind != "sequence-classification":
        return Decision("", float(scores.probabilities[0]) if task.kind == "regression" else 0.0, "")
    best = int(scores.probabilities.argmax())
    score = float(scores.probabilities[best])
    candidate = task.labels[best]
    reason = _reason(score, candidate, task, length, scores.n_fraction)
    parts = segments(scores, task) if len(scores.windows) > 1 else ()
    return Decision(UNCLASSIFIED if reason else candidate, score, candidate, reason, parts)


def threshold(label: str, task: Task) -> float:
    """The lowest probability at which ``label`` is still a call."""
    return task.abstention.thresholds.get(label, task.abstention.minimum_score)


def _reason(score: float, candidate: str, task: Task, length: int, n_fraction: float) -> str:
    rule = task.abstention
    if length < rule.minimum_length:
        return "short"
    if n_fraction > rule.maximum_n_fraction:
        return "n"
    return "score" if score < threshold(candidate, task) else ""
