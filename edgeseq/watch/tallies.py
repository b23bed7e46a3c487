"""Counts of calls by barcode and label, kept up to date as reads are scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from edgeseq.prediction import UNCLASSIFIED
from edgeseq.watch.load import SKIPPED

NO_BARCODE = "unclassified"
"""Where reads without a barcode are counted, as basecallers name the folder."""

UNTESTED = ("short", "empty", "n", SKIPPED)
"""Reasons of reads that the model never saw: they say nothing about what is in a sample."""


@dataclass(slots=True)
class Sample:
    """One barcode: reads by label, bases, and reads by the reason why they were not called."""

    reads: int = 0
    bases: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def tested(self) -> int:
        """Reads that could have been called: neither too short, nor empty, nor full of N, nor skipped."""
        return self.reads - sum(self.reasons[reason] for reason in UNTESTED)


class Tallies:
    """All samples of a run."""

    def __init__(self) -> None:
        self.samples: dict[str, Sample] = {}

    def add(self, barcode: str, label: str, reason: str, reads: int, bases: int) -> None:
        """Counts reads of one kind."""
        sample = self.samples.setdefault(barcode or NO_BARCODE, Sample())
        sample.reads += reads
        sample.bases += bases
        sample.labels[label or UNCLASSIFIED] += reads
        if reason:
            sample.reasons[reason] += reads

    def whole(self) -> Sample:
        """All barcodes as one."""
        return merged(self.samples.values())

    def __iter__(self) -> Iterator[tuple[str, Sample]]:
        """Barcodes in the order of their names."""
        return iter(sorted(self.samples.items()))


def merged(samples: Iterable[Sample]) -> Sample:
    """Several samples as one."""
    found = Sample()
    for sample in samples:
        found.reads += sample.reads
        found.bases += sample.bases
        found.labels.update(sample.labels)
        found.reasons.update(sample.reasons)
    return found
