"""The closing table: what a run has seen."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from edgeseq.bundle import Bundle
from edgeseq.prediction import UNCLASSIFIED
from edgeseq.predictions import Predictions
from edgeseq.tracks import Stretch

Z = 1.959963984540054
"""Two-sided 95 % point of the normal distribution."""


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927); from 0 to 1 where there were no trials."""
    if not trials:
        return 0.0, 1.0
    share = successes / trials
    centre = share + Z * Z / (2 * trials)
    spread = Z * math.sqrt(share * (1 - share) / trials + Z * Z / (4 * trials * trials))
    whole = 1 + Z * Z / trials
    return max(0.0, (centre - spread) / whole), min(1.0, (centre + spread) / whole)


class Summary:
    """Counts reads, bases, calls and reasons. ``began`` is when it was made."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.reads = 0
        self.bases = 0
        self.scored_bases = 0
        self.chimeras = 0
        self.labels: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()

    def add(self, predictions: Predictions) -> None:
        """Counts predictions."""
        decisions = predictions.decisions
        self.reads += len(predictions)
        self.bases += len(predictions.chunk.letters)
        self.labels.update(decisions.labels)
        self.reasons.update([reason for reason in decisions.reasons if reason])
        self.chimeras += len(decisions.segments)

    def add_stretch(self, stretch: Stretch) -> None:
        """Counts a stretch of a track, and its read where it is the last one."""
        self.reads += stretch.last
        self.bases += len(stretch.values)
        self.scored_bases += int((~np.isnan(stretch.values[:, 0])).sum())
        self.reasons["empty"] += not stretch.length

    def lines(self, bundle: Bundle, damaged: Sequence[str] = ()) -> Iterator[str]:
        """The table as lines of text; shares of reads with their 95 % intervals."""
        seconds = max(time.perf_counter() - self.began, 1e-9)
        manifest = bundle.manifest
        width = max([len(label) for label in manifest.task.labels] + [16]) + 2
        yield f"{'reads':<{width}}{self.reads:>12,}"
        yield f"{'bases':<{width}}{self.bases:>12,}"
        for label in (*manifest.task.labels, UNCLASSIFIED):
            if count := self.labels[label]:
                yield self._share(label, count, width)
        if manifest.task.kind == "token-classification":
            yield f"{'bases with scores':<{width}}{self.scored_bases:>12,}"
        for reason, count in (+self.reasons).most_common():
            yield self._share(f"  {_REASONS.get(reason, reason)}", count, width)
        if self.chimeras:
            yield self._share("class changes", self.chimeras, width)
        if damaged:
            yield f"{'damaged files':<{width}}{len(damaged):>12,}   {', '.join(damaged[:3])}{' …' * (len(damaged) > 3)}"
        speed = f"{_rate(self.bases / seconds)}b/s, {self.reads / seconds:,.0f} reads/s"
        yield f"{'time':<{width}}{seconds:>10.1f} s   {speed}"
        yield f"{'bundle':<{width}}{manifest.name:>12}   version {manifest.version}, sha256 {bundle.sha256[:12]}"

    def _share(self, name: str, count: int, width: int) -> str:
        low, high = wilson_interval(count, self.reads)
        return f"{name:<{width}}{count:>12,}{count / self.reads:>9.2%}   ({low:.2%} – {high:.2%})"


_REASONS = {"score": "not sure enough", "short": "too short", "n": "too many N", "empty": "no bases"}


def _rate(value: float) -> str:
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.2f} {prefix}"
    return f"{value:.0f} "
