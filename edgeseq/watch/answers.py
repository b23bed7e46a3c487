"""The question that the daemon asks of every sample and class, and the latest answers.

Each answer is valid at any time (see `edgeseq.watch.evidence`), and all of them together: the stated error rates are
shared between the classes and the barcodes that are expected (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from edgeseq.manifest import Task
from edgeseq.watch.composition import Confusion
from edgeseq.watch.evidence import Answer, Bounds, Evidence, weigh
from edgeseq.watch.tallies import Sample, Tallies


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked, and how often the answers may be wrong."""

    alpha: float = 0.01
    """How often any class is called detected in any barcode, at any time, where there is only background."""
    beta: float = 0.05
    """How often a class is ruled out, at any time, in a barcode where its share is ``least`` or more."""
    least: float = 0.01
    """The smallest share of a barcode's reads that must not be missed."""
    background: float | None = None
    """Share of reads called a class where it is absent. None: from the bundle's own evidence, at its upper bound."""
    barcodes: int = 96
    """How many barcodes are expected. Reads of further ones are counted, but nothing is said of them."""
    control: str = ""
    """A barcode that holds a negative control, if there is one."""
    classes: tuple[str, ...] = ()
    """Classes that are asked about. None: every label but the background."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """A class that was not detected in a barcode before, and is now."""

    barcode: str
    label: str
    evidence: Evidence


@dataclass(slots=True)
class _Latest:
    reads: int
    hits: int
    control: tuple[int, int] | None
    evidence: Evidence


@dataclass(slots=True)
class Answers:
    """The answers for all samples. What was detected stays detected: that is what the error rate is about."""

    task: Task
    questions: Questions
    confusion: Confusion | None = None
    _latest: dict[tuple[str, str], _Latest] = field(default_factory=dict)
    _detected: dict[tuple[str, str], Evidence] = field(default_factory=dict)
    _order: list[str] = field(default_factory=list)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that are asked about."""
        return self.questions.classes or tuple(label for label in self.task.labels if label != self.task.background)

    def bounds(self, label: str) -> Bounds:
        """The question for one class in one barcode, error rates shared out."""
        questions = self.questions
        share = max(1, len(self.classes)) * max(1, questions.barcodes)
        background = self.background(label)
        least = max(questions.least, 2 * background)
        return Bounds(background, min(0.999, least), questions.alpha / share, questions.beta)

    def background(self, label: str) -> float:
        """The share of reads that are called ``label`` where it is absent, at the upper end of what is known."""
        if self.questions.background is not None:
            return self.questions.background
        known = self.confusion is not None and self.task.background in self.confusion.labels
        if known and self.confusion is not None and label in self.confusion.called:
            return self.confusion.false_rate(label, self.task.background)
        return 0.001

    def restore(self, detected: Mapping[tuple[str, str], None]) -> None:
        """Takes over what an earlier run of the daemon had detected, so that it is not news again."""
        nothing = Evidence(Answer.DETECTED, False, 0, 0, 0.0, 1.0, 0.0, 0.0)
        self._detected.update(dict.fromkeys(detected, nothing))

    def update(self, tallies: Tallies) -> list[Crossing]:
        """Asks again where there are new reads, and gives what is detected now for the first time."""
        found = []
        control = tallies.samples.get(self.questions.control) if self.questions.control else None
        for barcode, sample in tallies:
            if not self._expected(barcode):
                continue
            for label in self.classes:
                evidence = self._ask(barcode, label, sample, control)
                key = barcode, label
                detected = evidence.answer is Answer.DETECTED and barcode != self.questions.control
                if detected and key not in self._detected:
                    self._detected[key] = evidence
                    found.append(Crossing(barcode, label, evidence))
                elif key in self._detected and self._detected[key].reads == 0:
                    self._detected[key] = evidence
        return found

    def __iter__(self) -> Iterator[tuple[str, str, Evidence]]:
        """Barcode, class and evidence, as of the last update; a class once detected says so."""
        for (barcode, label), latest in sorted(self._latest.items()):
            evidence = latest.evidence
            if (barcode, label) in self._detected and evidence.answer is not Answer.DETECTED:
                evidence = self._detected[barcode, label]
            yield barcode, label, evidence

    def untested(self) -> Sequence[str]:
        """Barcodes beyond the number expected: nothing is said of them."""
        return self._order[self.questions.barcodes :]

    def _expected(self, barcode: str) -> bool:
        if barcode not in self._order:
            self._order.append(barcode)
        return barcode in self._order[: self.questions.barcodes]

    def _ask(self, barcode: str, label: str, sample: Sample, control: Sample | None) -> Evidence:
        hits, reads = sample.labels[label], sample.tested
        compared = None
        if control is not None and barcode != self.questions.control:
            compared = control.labels[label], control.tested
        latest = self._latest.get((barcode, label))
        if latest is None or (latest.reads, latest.hits, latest.control) != (reads, hits, compared):
            evidence = weigh(hits, reads, self.bounds(label), control=compared)
            latest = self._latest[barcode, label] = _Latest(reads, hits, compared, evidence)
        return latest.evidence
