"""Accuracy budgets: how much of which figure a compressed model may lose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeseq.errors import UsageError
from edgeseq.manifest import Activation, TaskKind

METRICS: dict[str, tuple[TaskKind, ...]] = {
    "mcc": ("sequence-classification",),
    "flips": ("sequence-classification", "token-classification"),
    "auroc": ("sequence-classification",),
    "spearman": ("regression", "masked-lm", "causal-lm"),
    "topk": ("token-classification",),
    "cosine": ("embedding",),
    "nats": ("masked-lm", "causal-lm"),
}
"""Metric → the tasks that have it. ``mcc``, ``auroc`` and, for regression, ``spearman`` are drops of a figure against
the truth. For all others the float model is the reference, and no truth is needed."""
TRUTHFUL = ("mcc", "auroc")
"""Metrics of classification that need labels."""
EXCLUSIVE = ("mcc",)
"""Metrics for which a read has one label: not for ``sigmoid``, where several may hold."""


@dataclass(frozen=True, slots=True)
class Budget:
    """``metric`` may get worse by ``limit`` at most."""

    metric: str
    limit: float

    def __str__(self) -> str:
        return f"{self.metric}={self.limit:g}"


def parse_budgets(texts: Sequence[str], kind: TaskKind, activation: Activation = "softmax") -> tuple[Budget, ...]:
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
        if metric in EXCLUSIVE and activation == "sigmoid":
            raise UsageError(
                f"--budget {text}: several labels of this model may hold for one read (sigmoid), and {metric} takes "
                "one; its metrics: flips, auroc"
            )
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
        example = next(name for name, kinds in METRICS.items() if kind in kinds)
        raise UsageError(f"a budget is needed, as --budget {example}=0.01: without one, nothing can be proven")
    return tuple(budgets.values())
