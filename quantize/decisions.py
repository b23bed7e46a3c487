"""Two models that say one thing about each read: classes, or a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeseq.bundle import Bundle
from edgeseq.scorer import Scorer
from quantize.breakdown import between_strands, by_class, by_length
from quantize.budget import Budget
from quantize.judge import calls, pair
from quantize.pairs import Calls
from quantize.sample import Sample
from quantize.verdict import Verdict, judge


class ReadTrial:
    """A trial of models for sequence classification and regression."""

    def __init__(self, bundle: Bundle, sample: Sample) -> None:
        self._bundle = bundle
        self._sample = sample

    def listen(self, scorer: Scorer) -> Calls:
        """The call of each read."""
        return calls(scorer, self._sample)

    def verdicts(
        self, before: Calls, after: Calls, budgets: Sequence[Budget], *, confidence: float, seed: int
    ) -> tuple[Verdict, ...]:
        """As `judge`."""
        return judge(pair(self._bundle, self._sample, before, after), budgets, confidence=confidence, seed=seed)

    def breakdown(self, before: Calls, after: Calls, reference: Scorer, candidate: Scorer, seed: int) -> dict[str, Any]:
        """Calls by length, by class and between strands; nothing of numbers."""
        pairs = pair(self._bundle, self._sample, before, after)
        if not pairs.labels:
            return {"lengths": [], "classes": [], "strands": {}}
        alphabet = self._bundle.manifest.input.alphabet
        return {
            "lengths": by_length(pairs),
            "classes": by_class(pairs),
            "strands": between_strands(reference, candidate, self._sample, alphabet, seed),
        }
