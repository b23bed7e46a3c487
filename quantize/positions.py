"""Two models that score every base, side by side: which of the float model's best positions the other one keeps.

For a label that is not the background, *k* is the number of its true sites or, where no truth is given, of the
positions that the float model scores at a threshold or higher. The top *k* of a model are the *k* positions that it
scores highest, of all sequences together. ``topk`` is the share of the float model's top *k* that the compressed model
does not have among its own. Scores that are equal count against it: compressed graphs give few different ones.

``flips`` is the share of changed calls among the positions that either model calls something else than background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.aggregate import Values
from edgeseq.decide import threshold as call_threshold
from edgeseq.manifest import Task
from edgeseq.scorer import Scorer
from quantize.budget import Budget
from quantize.resample import REPEATS, weights
from quantize.sample import Sample
from quantize.sites import Sites
from quantize.verdict import Size, Verdict, decide, lost_classes, share_verdict

BLOCK = 50_000
"""Longer sequences count as several: what lies so many bases apart is rounded independently."""
MANY = 100_000
"""With more positions than this near the top, a tenth of the draws has to do: their spread is small then."""
SILENT = -1
"""The call where there is no score."""


@dataclass(frozen=True, slots=True)
class Best:
    """One label: the positions that may be among the best of either model, with the scores of both.

    ``group`` and ``file`` number the stretch of sequence and the file of each; ``of_group`` holds how many of the *k*
    sites each group has.
    """

    before: NDArray[np.float32]
    after: NDArray[np.float32]
    group: NDArray[np.int64]
    of_group: NDArray[np.float64]

    @property
    def k(self) -> int:
        """The number of sites."""
        return int(self.of_group.sum())

    @classmethod
    def of(
        cls, before: NDArray[np.float32], after: NDArray[np.float32], group: NDArray[np.int64], sites: NDArray[np.int64]
    ) -> Best:
        """From the scores of all positions; ``sites`` are the positions that count for *k*."""
        of_group = np.bincount(group[sites], minlength=int(group.max()) + 1).astype(np.float64)
        pool = min(len(before), 3 * len(sites) + 100)
        kept = np.zeros(len(before), np.bool_)
        for scores in (before, after):
            kept[np.argpartition(-scores, pool - 1)[:pool]] = True
        return cls(before[kept], after[kept], group[kept], of_group)

    def lost(self) -> float:
        """How many of the float model's top *k* the other does not have; a part of one where groups tie."""
        return float(self._lost(np.ones((1, len(self.of_group))))[0])

    def drawn(self, weight: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sites lost and sites in all, for each draw of groups (draws × groups)."""
        return self._lost(weight), weight @ self.of_group

    def _lost(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        orders = [np.argsort(-self.before, kind="stable"), np.lexsort((self.before, -self.after))]
        found = np.empty(len(weight))
        for number, drawn in enumerate(weight):
            often = drawn[self.group]
            k = float(drawn @ self.of_group)
            shares = []
            for order in orders:
                ahead = np.cumsum(often[order]) - often[order]
                share = np.empty(len(often))
                share[order] = np.clip(k - ahead, 0.0, often[order])
                shares.append(share)
            found[number] = shares[0].sum() - np.minimum(*shares).sum()
        return found


class PositionTrial:
    """A trial of models for token classification. What a model says is float32 of (positions, labels), NaN where there
    is no score, for all bases of all reads in order."""

    def __init__(self, sample: Sample, task: Task, sites: Sites | None, background: str, threshold: float) -> None:
        self._sample = sample
        self._task = task
        self._background = background or task.background
        self._threshold = threshold
        lengths = np.array([len(read) for read in sample.reads], np.int64)
        blocks = np.maximum(1, -(-lengths // BLOCK))
        first = np.cumsum(blocks) - blocks
        within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        self._group: NDArray[np.int64] = np.repeat(first, lengths) + within // BLOCK
        self._file = np.repeat(np.unique(sample.source, return_inverse=True)[1], lengths)
        self._sites = None if sites is None else sites.positions(sample, task.labels)

    def listen(self, scorer: Scorer) -> Values:
        """Every score. Raises UsageError for a model of another kind."""
        parts = [stretch.values for stretch in scorer.tracks(iter(self._sample.reads))]
        return np.concatenate(parts)

    def background(self, before: Values) -> str:
        """The label that is not looked for: the manifest's or the user's, else the one that the float model calls at
        more than half of the positions; empty where there is none."""
        if self._background or self._task.activation == "sigmoid":
            return self._background
        call = self._calls(before)
        counts = np.bincount(call[call != SILENT], minlength=len(self._task.labels))
        most = int(counts.argmax())
        return self._task.labels[most] if 2 * counts[most] > counts.sum() else ""

    def verdicts(
        self, before: Values, after: Values, budgets: Sequence[Budget], *, confidence: float, seed: int
    ) -> tuple[Verdict, ...]:
        """For ``topk`` a verdict of each label but the background: each has to stay inside of the budget. And one named
        ``class LABEL`` for every label of which provably too many positions fall below the threshold: a top *k* stays
        the same where all scores of a label sink."""
        found: list[Verdict] = []
        background = self.background(before)
        for number, budget in enumerate(budgets):
            rng = np.random.default_rng((seed, number))
            if budget.metric == "flips":
                found.append(self._flips(before, after, background, budget, confidence, rng))
                continue
            wanted = [label for label in self._task.labels if label != background]
            found += [self._topk(before, after, label, budget, confidence, rng) for label in wanted]
        return (*found, *self._classes(before, after, background, budgets, confidence))

    def breakdown(
        self, before: Values, after: Values, reference: Scorer, candidate: Scorer, seed: int
    ) -> dict[str, Any]:
        """Each label's positions: sites, those kept, and how many true sites both models have among their best."""
        del reference, candidate, seed  # everything is in what they said
        background = self.background(before)
        rows = []
        for place, label in enumerate(self._task.labels):
            if label == background:
                continue
            sites = self._chosen(before, place)
            row: dict[str, Any] = {"class": label, "positions in the top": len(sites)}
            if len(sites):
                ours, theirs = (self._top(each[:, place], len(sites)) for each in (before, after))
                row["kept"] = len(np.intersect1d(ours, theirs))
                if self._sites is not None:
                    row["true sites in the top before"] = len(np.intersect1d(ours, sites))
                    row["true sites in the top after"] = len(np.intersect1d(theirs, sites))
            rows.append(row)
        return {
            "lengths": [],
            "classes": rows,
            "strands": {},
            "topk": {
                "background": background,
                "k": "true sites" if self._sites is not None else f"positions scored {self._threshold:g} or more",
            },
        }

    def _chosen(self, before: Values, place: int) -> NDArray[np.int64]:
        """The positions that count for *k* of a label."""
        if self._sites is not None:
            return self._sites[place]
        return np.flatnonzero(before[:, place] >= self._threshold)  # nothing is more than NaN

    def _topk(
        self, before: Values, after: Values, label: str, budget: Budget, confidence: float, rng: np.random.Generator
    ) -> Verdict:
        place = self._task.labels.index(label)
        sites = self._chosen(before, place)
        name = f"topk {label}"
        files = len(np.unique(self._file))
        if not len(sites):
            return Verdict(
                name, budget.limit, "UNDECIDABLE", 1, 1, 0, 0, 1, 0, files, confidence, None, f"sites of {label}"
            )
        scores = [np.where(np.isnan(each[:, place]), -np.inf, each[:, place]) for each in (before, after)]
        return topk_verdict(name, budget.limit, scores[0], scores[1], (self._group, self._file), sites, confidence, rng)

    def _classes(
        self, before: Values, after: Values, background: str, budgets: Sequence[Budget], confidence: float
    ) -> list[Verdict]:
        lost, source = {}, {}
        for place, label in enumerate(self._task.labels):
            if label != background:
                called = np.flatnonzero(before[:, place] >= self._threshold)
                lost[label] = ~(after[called, place] >= self._threshold)
                source[label] = self._file[called]
        return lost_classes(lost, source, budgets, confidence, "sites")

    def _flips(
        self,
        before: Values,
        after: Values,
        background: str,
        budget: Budget,
        confidence: float,
        rng: np.random.Generator,
    ) -> Verdict:
        calls = [self._calls(each) for each in (before, after)]
        nothing = 0 if self._task.activation == "sigmoid" else -2
        if background:
            place = self._task.labels.index(background)
            nothing = 1 << place if self._task.activation == "sigmoid" else place
        kept = (calls[0] != SILENT) & ((calls[0] != nothing) | (calls[1] != nothing))
        size = Size(int(kept.sum()), len(np.unique(self._file)), "positions")
        if not size.count:
            return Verdict(
                "flips", budget.limit, "UNDECIDABLE", 0, 0, 0, 0, 1, 0, size.files, confidence, None, size.unit
            )
        changed = calls[0][kept] != calls[1][kept]
        clusters = (self._group[kept], self._file[kept])
        return share_verdict("flips", budget.limit, changed, clusters, size, confidence, rng)

    def _calls(self, values: Values) -> NDArray[np.int64]:
        """The best label of each position; where several may hold, all that reach their thresholds, as bits."""
        silent = np.isnan(values[:, 0])
        if self._task.activation == "sigmoid":
            limits = np.array([call_threshold(label, self._task) or 0.5 for label in self._task.labels], np.float32)
            held = (values >= limits).astype(np.int64) << np.arange(values.shape[1])
            return np.where(silent, SILENT, held.sum(axis=1))
        best: NDArray[np.int64] = np.where(np.isnan(values), -np.inf, values).argmax(axis=1)
        return np.where(silent, SILENT, best)

    @staticmethod
    def _top(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        known = np.where(np.isnan(scores), -np.inf, scores)
        return np.argsort(-known, kind="stable")[:k]


def topk_verdict(
    name: str,
    limit: float,
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    clusters: tuple[NDArray[np.int64], NDArray[np.int64]],
    sites: NDArray[np.int64],
    confidence: float,
    rng: np.random.Generator,
) -> Verdict:
    """The verdict about one label.

    ``clusters`` number the stretch of sequence, and the file, of each position. The bounds are the worse of exact
    binomial ones over the *k* sites and of a bootstrap over stretches and over files, in each draw of which the top *k*
    of both models are found anew, and one more site is lost.
    """
    best = [Best.of(before, after, cluster, sites) for cluster in clusters]
    k, lost = best[0].k, best[0].lost()
    share = lost / k
    whole = np.arange(k) < round(lost)
    size = Size(k, len(np.unique(clusters[1])), "sites")
    exact = share_verdict(name, limit, whole, (), size, confidence, rng)
    upper, lower, spread = exact.upper, exact.lower, 0.0
    for each in best:
        if len(each.of_group) < 2:
            continue
        repeats = REPEATS if len(each.before) <= MANY else REPEATS // 10
        found = [each.drawn(lot) for lot in weights(len(each.of_group), rng, repeats)]
        gone, drawn = (np.concatenate(part) for part in zip(*found, strict=True))
        plain = gone / np.maximum(drawn, 1)
        worse = gone + rng.poisson(1.0, len(gone))
        padded = worse / np.maximum(drawn + 1, worse)
        upper = max(upper, float(np.quantile(padded, confidence)))
        lower = min(lower, float(np.quantile(plain, 1 - confidence)))
        spread = max(spread, float(np.quantile(plain, confidence)) - share)
    spread = max(spread, (share * (1 - share) / k) ** 0.5 * 1.645)
    return decide(name, limit, size, confidence, 1.0, 1 - share, share, lower, upper, spread)
