"""Figures of merit of calls against truth, with intervals: the same for simulated and for real reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.prediction import UNCLASSIFIED
from export.genomes import OTHER

LENGTH_BINS = (200, 300, 500, 1000, 2000, 5000, 1_000_000)


@dataclass(frozen=True, slots=True)
class Calls:
    """Parallel arrays (reads,): true and called label, winning probability, length in bases, source."""

    truth: NDArray[np.str_]
    label: NDArray[np.str_]
    score: NDArray[np.float64]
    length: NDArray[np.int64]
    source: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.truth)

    def where(self, chosen: NDArray[np.bool_]) -> Calls:
        return Calls(
            self.truth[chosen], self.label[chosen], self.score[chosen], self.length[chosen], self.source[chosen]
        )


def calls_of(rows: Sequence[tuple[str, str, float, int, str]]) -> Calls:
    """Calls from (truth, label, score, length, source) rows."""
    truth, label, score, length, source = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    return Calls(
        np.array(truth, dtype=np.str_),
        np.array(label, dtype=np.str_),
        np.array(score, float),
        np.array(length, np.int64),
        np.array(source, dtype=np.str_),
    )


def mcc(truth: NDArray[np.str_], label: NDArray[np.str_]) -> float:
    """Multiclass Matthews correlation (Gorodkin 2004); 0 where undefined."""
    names, codes = np.unique(np.concatenate([truth, label]), return_inverse=True)
    confusion = np.zeros((len(names), len(names)))
    np.add.at(confusion, (codes[: len(truth)], codes[len(truth) :]), 1)
    total, right = confusion.sum(), np.trace(confusion)
    true, called = confusion.sum(1), confusion.sum(0)
    bottom = np.sqrt((total**2 - (called**2).sum()) * (total**2 - (true**2).sum()))
    return float((right * total - (true * called).sum()) / bottom) if bottom else 0.0


def mcc_interval(calls: Calls, *, repeats: int = 300, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the MCC over reads."""
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(repeats):
        chosen = rng.integers(0, len(calls), len(calls))
        values.append(mcc(calls.truth[chosen], calls.label[chosen]))
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def wilson(hits: int, total: int) -> tuple[float, float, float]:
    """Share and its 95 % Wilson interval; (0, 0, 1) without observations."""
    if total == 0:
        return 0.0, 0.0, 1.0
    z = 1.959964
    share = hits / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * np.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return share, float(max(0.0, centre - half)), float(min(1.0, centre + half))


def right(calls: Calls) -> NDArray[np.bool_]:
    """Right answers; for background, both ``other`` and ``unclassified`` are."""
    return np.asarray((calls.truth == calls.label) | ((calls.truth == OTHER) & (calls.label == UNCLASSIFIED)))


def summary(calls: Calls) -> dict[str, Any]:
    """MCC over called reads with interval, coverage of virus reads, false virus calls on background; counts with
    all."""
    background = calls.truth == OTHER
    called = calls.where((calls.label != UNCLASSIFIED) | background)
    merged = Calls(
        called.truth,
        np.where((called.truth == OTHER) & (called.label == UNCLASSIFIED), OTHER, called.label),
        called.score,
        called.length,
        called.source,
    )
    false = int(np.count_nonzero(background & (calls.label != OTHER) & (calls.label != UNCLASSIFIED)))
    covered = int(np.count_nonzero(~background & (calls.label != UNCLASSIFIED)))
    hits = int(np.count_nonzero(~background & (calls.label == calls.truth)))
    viruses = int(np.count_nonzero(~background))
    return {
        "reads": len(calls),
        "mcc": mcc(merged.truth, merged.label),
        "mcc_95": mcc_interval(merged),
        "virus_called": wilson(covered, viruses),
        "virus_right": wilson(hits, viruses),
        "background_called_virus": wilson(false, int(background.sum())),
    }


def by(calls: Calls, keys: NDArray[np.str_]) -> list[dict[str, Any]]:
    """Per distinct key: reads, share right with interval, share unclassified."""
    rows = []
    for key in np.unique(keys):
        part = calls.where(keys == key)
        share, low, high = wilson(int(right(part).sum()), len(part))
        rows.append(
            {
                "key": str(key),
                "reads": len(part),
                "right": share,
                "right_95": (low, high),
                "unclassified": float(np.mean(part.label == UNCLASSIFIED)),
            }
        )
    return rows


def length_bins(calls: Calls) -> NDArray[np.str_]:
    """The name of each read's length bin."""
    names = [f"{low:>5}–{high - 1}" if high < 1_000_000 else f"{low:>5}+" for low, high in pairwise(LENGTH_BINS)]
    place = np.clip(np.searchsorted(LENGTH_BINS, calls.length, side="right") - 1, 0, len(names) - 1)
    return np.array(names)[place]


def per_class(calls: Calls) -> list[dict[str, Any]]:
    """Sensitivity and precision of every label among all reads, with intervals."""
    rows = []
    for label in sorted(set(calls.truth.tolist()) | set(calls.label.tolist()) - {UNCLASSIFIED}):
        true, called = calls.truth == label, calls.label == label
        rows.append(
            {
                "label": str(label),
                "reads": int(true.sum()),
                "sensitivity": wilson(int((true & called).sum()), int(true.sum())),
                "precision": wilson(int((true & called).sum()), int(called.sum())),
                "unclassified": wilson(int((true & (calls.label == UNCLASSIFIED)).sum()), int(true.sum())),
            }
        )
    return rows


def confusion(calls: Calls, labels: Sequence[str]) -> dict[str, Any]:
    """How often reads of each label were called what: ``counts`` (true labels × ``called``), whole numbers.

    ``called`` are the labels and, last, ``unclassified``.
    """
    called = (*labels, UNCLASSIFIED)
    rows = [calls.label[calls.truth == label] for label in labels]
    counts = [[int(np.count_nonzero(row == name)) for name in called] for row in rows]
    return {"labels": list(labels), "called": list(called), "counts": counts}


def predictive_value(sensitivity: float, false_rate: float, prevalence: float) -> float:
    """Share of positive calls that are right at a prevalence."""
    true = sensitivity * prevalence
    false = false_rate * (1 - prevalence)
    return true / (true + false) if true + false else 0.0


def calibration(probability: NDArray[np.float32], truth: NDArray[np.int64], bins: int = 15) -> dict[str, float]:
    """Expected calibration error (equal-width bins of the winning probability), Brier score and log loss."""
    top = probability.max(1)
    hit = probability.argmax(1) == truth
    place = np.minimum((top * bins).astype(int), bins - 1)
    ece = sum(
        abs(float(hit[place == b].mean()) - float(top[place == b].mean())) * float(np.mean(place == b))
        for b in range(bins)
        if np.any(place == b)
    )
    onehot = np.eye(probability.shape[1], dtype=np.float32)[truth]
    brier = float(((probability - onehot) ** 2).sum(1).mean())
    own = np.maximum(probability[np.arange(len(truth)), truth], 1e-9)
    return {"ece": ece, "brier": brier, "log_loss": float(-np.log(own).mean())}
