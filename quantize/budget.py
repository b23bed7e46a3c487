"""Accuracy budgets: how much of which figure a compressed model may lose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeseq.errors import UsageError
from edgeseq.manifest import TaskKind

METRICS: dict[str, tuple[TaskKind, ...]] = {
    "mcc": ("sequence-classification",),
    "flips": ("sequence-classification",),
    "auroc": ("sequence-classification",),
    "spearman": ("regression",),
}
"""Metric → the tasks that have it. ``mcc``, ``auroc`` and ``spearman`` are drops of a figure against the truth;
``flips`` is the share of reads whose call changes, whatever the truth."""


@dataclass(frozen=True, slots=True)
class Budget:
    """``metric`` may get worse by ``limit`` at most."""

    metric: str
    limit: float

    def __str__(self) -> str:
        return f"{self.metric}={self.limit:g}"


def parse_budgets(texts: Sequence[str], kind: TaskKind) -> tuple[Budget, ...]:
    """Budgets from ``metric=limit``. Raises UsageError for an unknown metric, one that the task does not have, one that
    comes twice, a limit outside (0, 1), or none at all."""
    budgets: dict[str, Budget] = {}
    for text in texts:
        metric, equals, number = text.partition("=")
        metric = metric.strip().lower()
        if not equals or metric not in METRICS:
            raise UsageError(f"--budget {text}: write METRIC=LIMIT; metrics are {', '.join(METRICS)}")
        if kind not in METRICS[metric]:
            having = ", ".join(name for name, kinds in METRICS.items() if kind in kinds) or "none"
            raise UsageError(f"--budget {text}: a {kind} model has no {metric}; its metrics: {having}")
        try:
            limit = float(number)
        except ValueError:
            limit = 0.0
        if not 0 < limit < 1:
            raise UsageError(f"--budget {text}: the limit is a number between 0 and 1")
        if metric in budgets:
            raise UsageError(f"--budget {text}: {metric} has a budget already")
        budgets[metric] = Budget(metric, limit)
    if not budgets:
        raise UsageError("a budget is needed, as --budget mcc=0.01: without one, nothing can be proven")
    return tuple(budgets.values())
