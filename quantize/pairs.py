"""The same reads through two models: what each said, side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeseq.prediction import UNCLASSIFIED

NONE = "none"
"""The call of a read for which no label holds, where several may."""
AND = ";"
"""Between the labels of such a read."""


@dataclass(frozen=True, slots=True)
class Calls:
    """What one model said of each read: ``label`` (or ``unclassified``; where several may hold, all of them with `AND`
    between them, or `NONE`), and ``values``, float32 (reads, values): probabilities, or the numbers of a regression or
    embedding. Reads without a window have NaN."""

    label: NDArray[np.str_]
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pairs:
    """``truth``, calls of the float and of the compressed model, and the file of each read, all (reads,).

    ``multiple``: several labels may hold for a read, and truth and calls name all of them.
    """

    labels: tuple[str, ...]
    background: str
    truth: NDArray[np.str_]
    source: NDArray[np.str_]
    length: NDArray[np.int64]
    reference: Calls
    candidate: Calls
    multiple: bool = False

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def flipped(self) -> NDArray[np.bool_]:
        """Reads whose call changed."""
        changed: NDArray[np.bool_] = self.reference.label != self.candidate.label
        return changed

    def right(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Reads that each model calls as the truth has them."""
        if self.multiple:
            return self.truth == self.reference.label, self.truth == self.candidate.label
        truth, before, after = self.codes()
        return truth == before, truth == after

    def having(self, place: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
        """Reads that have a label by the truth, and by each model's call."""
        if self.multiple:
            truth, before, after = (
                has_label(each, self.labels[place]) for each in (self.truth, self.reference.label, self.candidate.label)
            )
            return truth, before, after
        codes = self.codes()
        return codes[0] == place, codes[1] == place, codes[2] == place

    def codes(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Truth and both calls as numbers: a label's place, and behind the last for ``unclassified``.

        An unclassified read of the background counts as background: saying nothing of it is right.
        """
        names = (*self.labels, UNCLASSIFIED)
        place = {name: number for number, name in enumerate(names)}
        truth, *calls = (
            np.array([place[name] for name in each.tolist()], np.int64)
            for each in (self.truth, self.reference.label, self.candidate.label)
        )
        if self.background:
            silent = truth == place[self.background]
            calls = [np.where(silent & (each == place[UNCLASSIFIED]), truth, each) for each in calls]
        return truth, calls[0], calls[1]


def has_label(names: NDArray[np.str_], label: str) -> NDArray[np.bool_]:
    """Which of several names, joined by `AND`, are or hold a label."""
    return np.array([label in name.split(AND) for name in names.tolist()], np.bool_)


def correlation(confusion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Multiclass Matthews correlation (Gorodkin 2004) of confusion counts (…, true, called); 0 where undefined."""
    total = confusion.sum((-2, -1))
    right = np.trace(confusion, axis1=-2, axis2=-1)
    true, called = confusion.sum(-1), confusion.sum(-2)
    top = right * total - (true * called).sum(-1)
    bottom = np.sqrt((total**2 - (called**2).sum(-1)) * (total**2 - (true**2).sum(-1)))
    result: NDArray[np.float64] = np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
    return result


def ranking(positive: NDArray[np.bool_], score: NDArray[np.floating]) -> float:
    """Area under the ROC curve, ties counted half; 0.5 where one side is empty."""
    from scipy.stats import rankdata

    ahead, behind = int(positive.sum()), int((~positive).sum())
    if not ahead or not behind:
        return 0.5
    ranks = rankdata(score)
    return float((ranks[positive].sum() - ahead * (ahead + 1) / 2) / (ahead * behind))


def mean_auroc(pairs: Pairs, calls: Calls, chosen: NDArray[np.int64]) -> float:
    """Mean of each label's one-against-all area over the labels that the truth of ``chosen`` has; two labels are one
    question."""
    truth = pairs.truth[chosen]
    values = np.nan_to_num(calls.values[chosen], nan=0.0)
    one_question = len(pairs.labels) == 2 and not pairs.multiple
    areas = []
    for place in range(1, 2) if one_question else range(len(pairs.labels)):
        label = pairs.labels[place]
        true = has_label(truth, label) if pairs.multiple else truth == label
        if 0 < np.count_nonzero(true) < len(truth):
            areas.append(ranking(true, values[:, place]))
    return float(np.mean(areas)) if areas else 0.5


def rank_correlation(truth: NDArray[np.floating], values: NDArray[np.floating]) -> float:
    """Spearman's correlation; 0 where one side does not vary."""
    from scipy.stats import rankdata

    a, b = rankdata(truth), rankdata(values)
    a, b = a - a.mean(), b - b.mean()
    bottom = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum() / bottom) if bottom else 0.0
