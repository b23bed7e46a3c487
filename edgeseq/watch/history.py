"""Counts of calls over time, in a bounded number of stretches: when the run outgrows them, neighbours are merged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from edgeseq.prediction import UNCLASSIFIED
from edgeseq.watch.journal_reader import JournalReader
from edgeseq.watch.tallies import NO_BARCODE, Tallies

STRETCHES = 96
FINEST = 10.0
"""Seconds of a stretch at first."""
SHOWN = 8
"""Labels that are told apart; the others are added up."""
REST = "…"


class History:
    """Reads by barcode, label and stretch of time. Stretch 0 begins at ``start``, seconds since 1970."""

    def __init__(self, start: float, *, stretches: int = STRETCHES, finest: float = FINEST) -> None:
        self.start = start
        self.seconds = finest
        self._stretches = stretches
        self._length = 0
        self._counts: dict[str, dict[str, list[int]]] = {}

    def __len__(self) -> int:
        """How many stretches have begun."""
        return self._length

    def add(self, barcode: str, label: str, reads: int, when: float) -> None:
        """Counts reads. A time before the start, of a clock that jumped, is the start."""
        at = max(0, int((when - self.start) // self.seconds))
        while at >= self._stretches:
            self._coarsen()
            at //= 2
        self._length = max(self._length, at + 1)
        row = self._counts.setdefault(barcode or NO_BARCODE, {}).setdefault(label or UNCLASSIFIED, [])
        row.extend([0] * (at + 1 - len(row)))
        row[at] += reads

    def table(self, barcode: str | None = None) -> dict[str, list[int]]:
        """Label → reads in each stretch, of one barcode or of all."""
        if barcode is not None:
            rows = self._counts.get(barcode, {})
            return {label: self._whole(row) for label, row in rows.items()}
        found: dict[str, list[int]] = {}
        for rows in self._counts.values():
            for label, row in rows.items():
                total = found.setdefault(label, [0] * self._length)
                for at, count in enumerate(row):
                    total[at] += count
        return found

    def told(self) -> dict[str, Any]:
        """All of it for JSON: of each barcode the most frequent labels, the others together."""
        return {
            "start": self.start,
            "seconds": self.seconds,
            "length": self._length,
            "run": leading(self.table()),
            "barcodes": {barcode: leading(self.table(barcode)) for barcode in sorted(self._counts)},
        }

    def _whole(self, row: Sequence[int]) -> list[int]:
        return [*row, *[0] * (self._length - len(row))]

    def _coarsen(self) -> None:
        self.seconds *= 2
        self._length = (self._length + 1) // 2
        for rows in self._counts.values():
            for label, row in rows.items():
                rows[label] = [sum(row[at : at + 2]) for at in range(0, len(row), 2)]


def restored(reader: JournalReader, now: float, *, stretches: int = STRETCHES) -> tuple[History, Tallies, list[str]]:
    """The history and the counts of what the journal holds, and barcodes in the order in which they turned up.

    One pass over the journal, made by SQLite.
    """
    first, last = reader.span() or (now, now)
    history, tallies = History(first, stretches=stretches), Tallies()
    while (last - first) // history.seconds >= stretches:
        history.seconds *= 2
    met: dict[str, int] = {}
    for group in reader.timeline(first, history.seconds):
        barcode = group.barcode or NO_BARCODE
        when = min(first + group.step * history.seconds, max(first, last))
        history.add(barcode, group.label, group.reads, when)
        tallies.add(barcode, group.label, group.reason, group.reads, group.bases)
        met[barcode] = min(group.first, met.get(barcode, group.first))
    return history, tallies, sorted(met, key=lambda barcode: met[barcode])


def leading(table: Mapping[str, list[int]]) -> dict[str, list[int]]:
    """The most frequent labels, and the others as one."""
    totals = Counter({label: sum(row) for label, row in table.items()})
    leading = [label for label, _ in totals.most_common(SHOWN)]
    found = {label: table[label] for label in leading}
    others = [row for label, row in table.items() if label not in found]
    if others:
        found[REST] = [sum(column) for column in zip(*others, strict=True)]
    return found
