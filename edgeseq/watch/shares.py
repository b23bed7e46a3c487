"""Corrected compositions, kept until a sample has changed enough to be worth the work."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from edgeseq.prediction import UNCLASSIFIED
from edgeseq.summary import wilson_interval
from edgeseq.watch.composition import Confusion, Share, composition, rank
from edgeseq.watch.tallies import UNTESTED, Sample

GROWTH = 1.05
"""A composition is worked out again once the reads have grown by this factor …"""
STALE = 30.0
"""… or after so many seconds, where there are new ones."""
BUDGET = 0.1
"""Seconds of a processor's time that are spent at once; what is left over is done next time."""


@dataclass(frozen=True, slots=True)
class Composition:
    """The shares of the classes, the largest first, at so many reads. ``corrected`` for what the model mixes up."""

    reads: int
    shares: tuple[Share, ...]
    corrected: bool
    made: float = 0.0


class Shares:
    """Compositions by name of the sample."""

    def __init__(self, confusion: Confusion | None, labels: tuple[str, ...]) -> None:
        self._confusion = confusion
        self._labels = labels
        self._known: dict[str, Composition] = {}

    def update(self, samples: Iterable[tuple[str, Sample]], *, budget: float = BUDGET) -> dict[str, Composition]:
        """The compositions of all samples that have one; those named first come first where time is short."""
        began = time.thread_time()
        waiting = [(name, sample) for name, sample in samples if sample.tested]
        waiting.sort(key=lambda one: self._known[one[0]].made if one[0] in self._known else 0.0)
        for name, sample in waiting:
            if time.thread_time() - began > budget:
                break
            now = time.monotonic()
            known = self._known.get(name)
            if known is None or self._outdated(known, sample, now):
                self._known[name] = self._work_out(sample, now)
        return self._known.copy()

    def _outdated(self, known: Composition, sample: Sample, now: float) -> bool:
        if sample.tested == known.reads:
            return False
        return sample.tested >= known.reads * GROWTH or now - known.made >= STALE

    def _work_out(self, sample: Sample, now: float) -> Composition:
        counts = tested(sample)
        if self._confusion is not None and counts.total():
            return Composition(sample.tested, tuple(rank(composition(counts, self._confusion))), True, now)
        total = counts.total()
        shares = [
            Share(label, counts[label], counts[label] / max(1, total), *wilson_interval(counts[label], total))
            for label in self._labels
        ]
        return Composition(sample.tested, tuple(rank(shares)), False, now)


def tested(sample: Sample) -> Counter[str]:
    """Reads by what they were called, of those that the model saw."""
    counts = Counter(sample.labels)
    counts[UNCLASSIFIED] -= sum(sample.reasons[reason] for reason in UNTESTED)
    return +counts
