"""Whether a compressed model stays inside its budgets: WITHIN, OVER or UNDECIDABLE, with the n that would decide.

The drop is a difference on the same reads, so that what both models get wrong cancels. Its bound comes from a paired
bootstrap, over reads and, where there are several files, over files as well; the worse of the two counts. A sample in
which nothing went wrong does not show that nothing can: one more read, the most harmful that could have been drawn, is
part of every pool that is drawn from. With no change among n reads the bound at 95 % is then 3 / n, as by the rule of
three.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from quantize.budget import Budget
from quantize.pairs import Pairs, correlation, mean_auroc, rank_correlation
from quantize.resample import REPEATS, drawn_sums

Outcome = Literal["WITHIN", "OVER", "UNDECIDABLE"]

SCORE_REPEATS = 400
CLASS_READS = 20
"""Classes with fewer reads than this are not judged on their own."""
WORST_CLASS = 0.05
"""Share of a class's right calls that may be lost when no budget is larger."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One budget: the figure of both models, the drop, its one-sided bounds at ``confidence``, and what follows.

    ``needed`` is the number of reads that would decide, for UNDECIDABLE; None where no number would.
    """

    metric: str
    limit: float
    outcome: Outcome
    reference: float
    candidate: float
    drop: float
    lower: float
    upper: float
    reads: int
    files: int
    confidence: float
    needed: int | None = None
    unit: str = "reads"
    """What ``reads`` and ``needed`` count."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        text = (
            f"{self.outcome}: {self.metric} {self.reference:.4f} → {self.candidate:.4f}, drop {self.drop:.4f} "
            f"({self.lower:.4f} to {self.upper:.4f} at {self.confidence:.4g} one-sided), budget {self.limit:g}, "
            f"{self.reads} {self.unit} of {self.files} files"
        )
        if self.outcome == "UNDECIDABLE" and self.needed:
            text += f"; about {self.needed} {self.unit} would decide"
        elif self.outcome == "UNDECIDABLE":
            text += f"; no number of {self.unit} would decide" if self.reads else f"; there are no {self.unit}"
        return text


@dataclass(frozen=True, slots=True)
class Size:
    """What a figure was measured on: so many reads (or what ``unit`` says) of so many files."""

    count: int
    files: int
    unit: str = "reads"

    @classmethod
    def of(cls, pairs: Pairs) -> Size:
        """The size of a sample of reads."""
        return cls(len(pairs), len(np.unique(pairs.source)))


def judge(pairs: Pairs, budgets: Sequence[Budget], *, confidence: float = 0.95, seed: int = 1) -> tuple[Verdict, ...]:
    """A verdict for each budget, and one named ``class LABEL`` for every class that provably loses more than it may."""
    measures: dict[str, Callable[[Pairs, Budget, float, np.random.Generator], Verdict]] = {
        "mcc": _mcc,
        "flips": _flips,
        "auroc": _auroc,
        "spearman": _spearman,
    }
    verdicts = [
        measures[budget.metric](pairs, budget, confidence, np.random.default_rng((seed, number)))
        for number, budget in enumerate(budgets)
    ]
    if pairs.labels and budgets and budgets[0].metric != "spearman":
        verdicts += _classes(pairs, budgets, confidence)
    return tuple(verdicts)


def together(verdicts: Sequence[Verdict]) -> Outcome:
    """OVER if any is, else UNDECIDABLE if any is, else WITHIN."""
    outcomes = {verdict.outcome for verdict in verdicts}
    if "OVER" in outcomes:
        return "OVER"
    return "UNDECIDABLE" if "UNDECIDABLE" in outcomes or not outcomes else "WITHIN"


def _mcc(pairs: Pairs, budget: Budget, confidence: float, rng: np.random.Generator) -> Verdict:
    cells = _Cells.of(pairs)
    before, after = cells.figures(cells.counts.sum(0)[None].astype(np.float64))
    drop = float(before[0] - after[0])
    harmful = cells.most_harmful()
    draws = [cells.by_reads(rng)]
    if cells.counts.shape[0] > 1:
        draws.append(cells.by_files(rng))
    extra = rng.poisson(1.0, REPEATS)[:, None] * harmful
    plain = [np.subtract(*cells.figures(drawn)) for drawn in draws]
    padded = [np.subtract(*cells.figures(drawn + extra)) for drawn in draws]
    upper = max(float(np.quantile(each, confidence)) for each in padded)
    spread = max(max(float(np.quantile(each, confidence)) for each in plain) - drop, 0.0)
    lower = min(float(np.quantile(each, 1 - confidence)) for each in plain)
    return decide(
        "mcc", budget.limit, Size.of(pairs), confidence, float(before[0]), float(after[0]), drop, lower, upper, spread
    )


def _flips(pairs: Pairs, budget: Budget, confidence: float, rng: np.random.Generator) -> Verdict:
    return share_verdict("flips", budget.limit, pairs.flipped, (pairs.source,), Size.of(pairs), confidence, rng)


def share_verdict(
    metric: str,
    limit: float,
    hits: NDArray[np.bool_],
    clusters: Sequence[NDArray[Any]],
    size: Size,
    confidence: float,
    rng: np.random.Generator,
) -> Verdict:
    """The verdict about a share of ``hits``: exact binomial bounds (Clopper and Pearson 1934), and a bootstrap over
    each grouping in ``clusters``, whose members are no independent witnesses; the worse bound counts."""
    count, total = int(hits.sum()), len(hits)
    share = count / total
    upper = float(beta.ppf(confidence, count + 1, total - count)) if count < total else 1.0
    lower = float(beta.ppf(1 - confidence, count, total - count + 1)) if count else 0.0
    spread = 0.0
    for cluster in clusters:
        if len(np.unique(cluster)) < 2:
            continue
        flips, sizes = drawn_sums(cluster, np.stack([hits, np.ones(total)], axis=1), rng).T
        plain = flips / sizes
        padded = (flips + rng.poisson(1.0, REPEATS)) / (sizes + 1)
        upper = max(upper, float(np.quantile(padded, confidence)))
        spread = max(spread, float(np.quantile(plain, confidence)) - share)
        lower = min(lower, float(np.quantile(plain, 1 - confidence)))
    spread = max(spread, math.sqrt(share * (1 - share) / total) * 1.645)
    return decide(metric, limit, size, confidence, 0.0, share, share, lower, upper, spread)


def _auroc(pairs: Pairs, budget: Budget, confidence: float, rng: np.random.Generator) -> Verdict:
    return _scored(
        "auroc",
        pairs,
        budget,
        confidence,
        rng,
        lambda chosen: (mean_auroc(pairs, pairs.reference, chosen), mean_auroc(pairs, pairs.candidate, chosen)),
    )


def _spearman(pairs: Pairs, budget: Budget, confidence: float, rng: np.random.Generator) -> Verdict:
    truth = pairs.truth.astype(np.float64)

    def figures(chosen: NDArray[np.int64]) -> tuple[float, float]:
        before, after = (
            rank_correlation(truth[chosen], np.nan_to_num(each.values[chosen, 0]))
            for each in (pairs.reference, pairs.candidate)
        )
        return before, after

    return _scored("spearman", pairs, budget, confidence, rng, figures)


def _scored(
    metric: str,
    pairs: Pairs,
    budget: Budget,
    confidence: float,
    rng: np.random.Generator,
    figures: Callable[[NDArray[np.int64]], tuple[float, float]],
) -> Verdict:
    """The verdict of a figure that has to be computed anew for each draw of reads."""
    total = len(pairs)
    before, after = figures(np.arange(total))
    drops = [before - after for before, after in (figures(rng.integers(0, total, total)) for _ in range(SCORE_REPEATS))]
    upper, lower = (float(np.quantile(drops, share)) for share in (confidence, 1 - confidence))
    files, place = np.unique(pairs.source, return_inverse=True)
    if len(files) > 1:
        members = [np.flatnonzero(place == number) for number in range(len(files))]
        by_file = []
        for _ in range(SCORE_REPEATS):
            chosen = np.concatenate([members[one] for one in rng.integers(0, len(files), len(files))])
            first, second = figures(chosen)
            by_file.append(first - second)
        upper = max(upper, float(np.quantile(by_file, confidence)))
        lower = min(lower, float(np.quantile(by_file, 1 - confidence)))
    spread = max(upper - (before - after), 0.0)
    upper += 3 / total
    size = Size.of(pairs)
    return decide(metric, budget.limit, size, confidence, before, after, before - after, lower, upper, spread)


def decide(
    metric: str,
    limit: float,
    size: Size,
    confidence: float,
    reference: float,
    candidate: float,
    drop: float,
    lower: float,
    upper: float,
    spread: float,
) -> Verdict:
    """The verdict that follows from bounds; ``spread`` is the part of the upper one that shrinks with the square root
    of the size, what is left of it shrinks with the size itself."""
    outcome: Outcome = "WITHIN" if upper <= limit else "OVER" if lower > limit else "UNDECIDABLE"
    needed = None
    if outcome == "UNDECIDABLE":
        needed = _needed(size.count, abs(limit - drop), spread, max(upper - drop - spread, 0.0))
    return Verdict(
        metric,
        limit,
        outcome,
        reference,
        candidate,
        drop,
        lower,
        upper,
        size.count,
        size.files,
        confidence,
        needed,
        size.unit,
    )


def _needed(reads: int, room: float, spread: float, unseen: float) -> int | None:
    """The number of reads at which spread (∝ 1/√n) and what a sample cannot show (∝ 1/n) fit into nine tenths of
    ``room``."""
    if room <= 0:
        return None
    for step in range(1, 400):
        more = 1.05**step
        if spread / math.sqrt(more) + unseen / more <= 0.9 * room:
            unit: int = 10 ** max(0, math.floor(math.log10(reads * more)) - 1)
            return math.ceil(reads * more / unit) * unit
    return None


def _classes(pairs: Pairs, budgets: Sequence[Budget], confidence: float) -> list[Verdict]:
    """`lost_classes` of right calls."""
    lost, source = {}, {}
    for place, label in enumerate(pairs.labels):
        truth, before, after = pairs.having(place)
        right = truth & before
        lost[label], source[label] = ~after[right], pairs.source[right]
    return lost_classes(lost, source, budgets, confidence, "reads")


def lost_classes(
    lost: Mapping[str, NDArray[np.bool_]],
    source: Mapping[str, NDArray[Any]],
    budgets: Sequence[Budget],
    confidence: float,
    unit: str,
) -> list[Verdict]:
    """OVER for every class of `CLASS_READS` calls or more that provably loses more of them than it may, beyond chance
    among all classes. Class → whether each of its calls was lost, and the file of each."""
    limit = max([WORST_CLASS, *(5 * budget.limit for budget in budgets)])
    present = {label: gone for label, gone in lost.items() if len(gone) >= CLASS_READS}
    found = []
    for label, gone in present.items():
        total, count = len(gone), int(gone.sum())
        error = (1 - confidence) / len(present)
        lower = float(beta.ppf(error, count, total - count + 1)) if count else 0.0
        if lower <= limit:
            continue
        upper = float(beta.ppf(1 - error, count + 1, total - count)) if count < total else 1.0
        share, files = count / total, len(np.unique(source[label]))
        found.append(
            Verdict(
                f"class {label}",
                limit,
                "OVER",
                1.0,
                1 - share,
                share,
                lower,
                upper,
                total,
                files,
                confidence,
                unit=unit,
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class _Cells:
    """How often each (truth, float call, compressed call) occurs in each file: int64 (files, cells). Everything that
    an MCC needs, so that a draw is one multinomial and not a walk over reads."""

    counts: NDArray[np.int64]
    truth: NDArray[np.int64]
    before: NDArray[np.int64]
    after: NDArray[np.int64]
    size: int

    @classmethod
    def of(cls, pairs: Pairs) -> _Cells:
        codes = pairs.codes()
        size = len(pairs.labels) + 1
        everywhere = [np.arange(size - 1)] * 2 + [np.full(size - 1, size - 1)]  # a lost call of every class
        key = np.ravel_multi_index([np.concatenate(both) for both in zip(codes, everywhere, strict=True)], (size,) * 3)
        kinds, cell = np.unique(key, return_inverse=True)
        file = np.unique(pairs.source, return_inverse=True)[1]
        counts = np.zeros((int(file.max()) + 1, len(kinds)), np.int64)
        np.add.at(counts, (file, cell[: len(pairs)]), 1)
        truth, before, after = np.unravel_index(kinds, (size,) * 3)
        return cls(counts, truth, before, after, size)

    def figures(self, counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """MCC of both models for each row of cell counts."""
        results = []
        for called in (self.before, self.after):
            flat = np.zeros((len(self.truth), self.size * self.size))
            flat[np.arange(len(self.truth)), self.truth * self.size + called] = 1
            results.append(correlation((counts @ flat).reshape(-1, self.size, self.size)))
        return results[0], results[1]

    def most_harmful(self) -> NDArray[np.float64]:
        """The one cell, as counts, whose further read would lower the candidate's MCC most."""
        whole = self.counts.sum(0).astype(np.float64)
        before, after = self.figures(whole + np.eye(len(whole)))
        present = np.isin(self.truth, self.truth[whole > 0])
        lost = (self.truth == self.before) & (self.truth != self.after) & present
        place = int(np.where(lost, before - after, -np.inf).argmax())
        chosen: NDArray[np.float64] = np.eye(len(whole))[place]
        return chosen

    def by_reads(self, rng: np.random.Generator) -> NDArray[np.float64]:
        whole = self.counts.sum(0)
        return rng.multinomial(int(whole.sum()), whole / whole.sum(), REPEATS).astype(np.float64)

    def by_files(self, rng: np.random.Generator) -> NDArray[np.float64]:
        files = len(self.counts)
        weights = rng.multinomial(files, np.full(files, 1 / files), REPEATS)
        return (weights @ self.counts).astype(np.float64)
