"""Which kind of task a checkpoint was trained for, and which one is asked of it."""

from __future__ import annotations

from edgeseq.manifest import TaskKind
from export.checkpoint import Checkpoint
from export.errors import FamilyError
from export.network import Request
from export.settings import Settings

_BY_ENDING: tuple[tuple[str, TaskKind], ...] = (
    ("ForSequenceClassification", "sequence-classification"),
    ("ForTokenClassification", "token-classification"),
    ("ForMaskedLM", "masked-lm"),
    ("ForCausalLM", "causal-lm"),
    ("LMHeadModel", "causal-lm"),
    ("Model", "embedding"),
)
_LABELLED: tuple[TaskKind, ...] = ("sequence-classification", "token-classification", "regression")


def task_of(checkpoint: Checkpoint, request: Request, tasks: tuple[TaskKind, ...], default: TaskKind) -> TaskKind:
    """The task that is asked for, else the one that ``architectures`` names, else ``default``.

    A sequence classifier whose configuration says ``problem_type: regression``, or that has a single label, is a
    regression. Raises `FamilyError` for a task that the family has no head for.
    """
    named = next((task for ending, task in _BY_ENDING if checkpoint.architecture.endswith(ending)), default)
    single = checkpoint.config.get("problem_type") == "regression" or len(labels_of(checkpoint, request)) == 1
    if named == "sequence-classification" and single:
        named = "regression"
    task = request.task or named
    if task not in tasks:
        raise FamilyError(checkpoint, f"this family has no {task} head; it has {', '.join(tasks)}")
    return task


def labels_of(checkpoint: Checkpoint, request: Request) -> tuple[str, ...]:
    """The names of the classes: those asked for, else those of the configuration."""
    return request.labels or Settings(checkpoint.config, checkpoint.config_file).labels()


def output_names(checkpoint: Checkpoint, request: Request, task: TaskKind, outputs: int) -> tuple[str, ...]:
    """The labels of a head with so many outputs; none for a task without labels.

    Raises `FamilyError` where other labels than outputs were asked for.
    """
    if task not in _LABELLED:
        return ()
    labels = labels_of(checkpoint, request)
    if len(labels) == outputs:
        return labels
    if request.labels:
        raise FamilyError(checkpoint, f"{len(labels)} labels for a head with {outputs} outputs")
    return tuple(f"LABEL_{number}" for number in range(outputs))
