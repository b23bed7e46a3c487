"""What is asked of two models, of each kind of task: what each says of the evaluation data, and how far they differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from edgeseq.bundle import Bundle
from edgeseq.manifest import TaskKind
from edgeseq.scorer import Scorer
from quantize.budget import Budget
from quantize.decisions import ReadTrial
from quantize.likelihoods import LikelihoodTrial
from quantize.positions import PositionTrial
from quantize.sample import Sample
from quantize.sites import Sites
from quantize.vectors import VectorTrial
from quantize.verdict import Verdict

Said = TypeVar("Said")


class Trial(Protocol[Said]):
    """One set of evaluation data, put to several models of one kind."""

    def listen(self, scorer: Scorer) -> Said:
        """What a model says of all the data. Raises EngineError."""
        ...

    def verdicts(
        self, before: Said, after: Said, budgets: Sequence[Budget], *, confidence: float, seed: int
    ) -> tuple[Verdict, ...]:
        """A verdict for each budget, and for whatever else proved to be lost."""
        ...

    def breakdown(self, before: Said, after: Said, reference: Scorer, candidate: Scorer, seed: int) -> dict[str, Any]:
        """Where the two differ, for the report: ``lengths``, ``classes`` and ``strands``, empty where they mean
        nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What both models are asked about, and what models of single bases have to be told in addition."""

    sample: Sample
    sites: Sites | None = None
    """True sites; None: those that the float model scores at ``threshold`` or higher."""
    background: str = ""
    threshold: float = 0.5


_TRIALS: Mapping[TaskKind, Callable[[Bundle, Evaluation], Trial[Any]]] = {
    "sequence-classification": lambda bundle, data: ReadTrial(bundle, data.sample),
    "regression": lambda bundle, data: ReadTrial(bundle, data.sample),
    "token-classification": lambda bundle, data: PositionTrial(
        data.sample, bundle.manifest.task, data.sites, data.background, data.threshold
    ),
    "embedding": lambda bundle, data: VectorTrial(data.sample),  # noqa: ARG005 - as the others
    "masked-lm": lambda bundle, data: LikelihoodTrial(bundle, data.sample),
    "causal-lm": lambda bundle, data: LikelihoodTrial(bundle, data.sample),
}


def trial_for(bundle: Bundle, evaluation: Evaluation) -> Trial[Any]:
    """The trial for models of the bundle's kind. Raises SampleError for sites that do not fit the sample."""
    return _TRIALS[bundle.manifest.task.kind](bundle, evaluation)
