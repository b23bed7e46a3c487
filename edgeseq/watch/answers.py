"""The question that the daemon asks of every sample and class, and the latest answers.

Each answer is valid at any time (see `edgeseq.watch.evidence`), and all of them together: the stated error rates are
shared between the classes and the barcodes that are expected (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from edgeseq.manifest import Task
from edgeseq.watch.composition import Confusion
from edgeseq.watch.evidence import Answer, Bounds, Evidence, exceeds, upper, weigh
from edgeseq.watch.tallies import Tallies


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


_Counts = tuple[int, int, "tuple[int, int] | None"]
"""Hits and reads, and the same of the control."""


@dataclass(slots=True)
class Answers:
    """The answers for all samples. What was detected stays detected: that is what the error rate is about.

    `update` is cheap, and only tells what crosses; whoever iterates pays for the intervals. One thread may update while
    another iterates.
    """

    task: Task
    questions: Questions
    confusion: Confusion | None = None
    floors: Mapping[str, float] = field(default_factory=dict)
    """Label → the background rate of another bundle that scored some of the reads: the largest one holds."""
    _counts: dict[tuple[str, str], _Counts] = field(default_factory=dict)
    _detected: dict[tuple[str, str], None] = field(default_factory=dict)
    _order: dict[str, int] = field(default_factory=dict)
    _bounds: dict[str, Bounds] = field(default_factory=dict)
    _ceilings: dict[str, tuple[_Counts, float]] = field(default_factory=dict)
    """Label → counts of the control, and the share of its reads that may be called so."""
    _weighed: dict[tuple[str, str], tuple[_Counts, Evidence]] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that are asked about."""
        return self.questions.classes or tuple(label for label in self.task.labels if label != self.task.background)

    def bounds(self, label: str) -> Bounds:
        """The question for one class in one barcode, error rates shared out."""
        if label not in self._bounds:
            questions = self.questions
            share = max(1, len(self.classes)) * max(1, questions.barcodes)
            background = self.background(label)
            least = max(questions.least, 2 * background)
            self._bounds[label] = Bounds(background, min(0.999, least), questions.alpha / share, questions.beta)
        return self._bounds[label]

    def background(self, label: str) -> float:
        """The share of reads that are called ``label`` where it is absent, at the upper end of what is known."""
        if self.questions.background is not None:
            return self.questions.background
        return max(self.own_background(label), self.floors.get(label, 0.0))

    def own_background(self, label: str) -> float:
        """The same for the reads that this bundle scores."""
        known = self.confusion is not None and self.task.background in self.confusion.labels
        if known and self.confusion is not None and label in self.confusion.called:
            return self.confusion.false_rate(label, self.task.background)
        return 0.001

    def restore(self, detected: Iterable[tuple[str, str]]) -> None:
        """Takes over what an earlier run of the daemon had detected, so that it is not news again."""
        self._detected.update(dict.fromkeys(detected))

    def update(self, tallies: Tallies, barcodes: Iterable[str] | None = None) -> list[Crossing]:
        """Asks again of all barcodes, or of those named, and gives what is detected now for the first time."""
        found = []
        control = tallies.samples.get(self.questions.control) if self.questions.control else None
        for barcode in sorted(tallies.samples if barcodes is None else set(barcodes) & tallies.samples.keys()):
            if not self.expected(barcode):
                continue
            sample = tallies.samples[barcode]
            is_control = barcode == self.questions.control
            for label in self.classes:
                compared = (control.labels[label], control.tested) if control is not None and not is_control else None
                counts = self._counts[barcode, label] = (sample.labels[label], sample.tested, compared)
                if is_control or (barcode, label) in self._detected or not self._crosses(label, counts):
                    continue
                self._detected[barcode, label] = None
                evidence = weigh(*counts[:2], self.bounds(label), control=compared)
                found.append(Crossing(barcode, label, replace(evidence, answer=Answer.DETECTED)))
        return found

    def __iter__(self) -> Iterator[tuple[str, str, Evidence]]:
        """Barcode, class and evidence, as of the last update; a class once detected says so."""
        for (barcode, label), counts in sorted(self._counts.copy().items()):
            known = self._weighed.get((barcode, label))
            if known is None or known[0] != counts:
                hits, reads, control = counts
                known = self._weighed[barcode, label] = counts, weigh(hits, reads, self.bounds(label), control=control)
            evidence = known[1]
            if (barcode, label) in self._detected and evidence.answer is not Answer.DETECTED:
                evidence = replace(evidence, answer=Answer.DETECTED, ruled_out=False)
            yield barcode, label, evidence

    def untested(self) -> Sequence[str]:
        """Barcodes beyond the number expected: nothing is said of them."""
        return [barcode for barcode, place in self._order.copy().items() if place >= self.questions.barcodes]

    def expected(self, barcode: str) -> bool:
        """Whether something is said of a barcode: it is among the first so many that were met."""
        return self._order.setdefault(barcode, len(self._order)) < self.questions.barcodes

    def met(self) -> Sequence[str]:
        """Barcodes in the order in which they turned up."""
        return list(self._order)

    def _crosses(self, label: str, counts: _Counts) -> bool:
        """Whether the class is detected: see `edgeseq.watch.evidence.weigh`."""
        hits, reads, control = counts
        bounds = self.bounds(label)
        if not hits:
            return False
        if control is None:
            return exceeds(hits, reads, bounds.background, bounds.alpha)
        known = self._ceilings.get(label)
        if known is None or known[0][:2] != control:
            known = self._ceilings[label] = (*control, None), upper(*control, bounds.alpha / 2)
        return exceeds(hits, reads, max(bounds.background, known[1]), bounds.alpha / 2)
