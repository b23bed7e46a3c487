"""The families of published models, one module each: what recognises a checkpoint, and what reads it.

A family's module defines one `Family` and its networks. `find` asks the families in the order of `FAMILIES`; the first
that recognises a checkpoint reads it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from edgeseq.manifest import TaskKind
from export.checkpoint import Checkpoint
from export.errors import FamilyError
from export.families.unread import refuse_unread
from export.network import Model, Request

MODULES = (
    "esm",
    "nt_v2",
    "dnabert",
    "dnabert2",
    "gena_lm",
    "caduceus",
    "gpn",
    "gpn_msa",
    "hyenadna",
    "evo1",
    "evo2",
    "ntv3",
    "mxdna",
    "native",
)
"""Modules of this package, each with a ``FAMILY``, in the order in which they are asked; what takes
the rest is the last."""


class Family(Protocol):
    """What reads the checkpoints of one family."""

    @property
    def name(self) -> str:
        """How the family is called by its users, such as ``HyenaDNA``."""
        ...

    @property
    def tokenizer(self) -> str:
        """Its tokenizer in two or three words."""
        ...

    @property
    def tasks(self) -> tuple[TaskKind, ...]:
        """The kinds of task that it has heads for."""
        ...

    @property
    def max_length(self) -> str:
        """The longest row of its published models, in words."""
        ...

    @property
    def proven(self) -> str:
        """What its graphs have been compared with, in words."""
        ...

    @property
    def options(self) -> dict[str, str]:
        """The options of a `Request` that it knows → what they do."""
        ...

    def recognises(self, checkpoint: Checkpoint) -> bool:
        """Whether a checkpoint is one of this family, by its configuration and the names of its tensors."""
        ...

    def read(self, checkpoint: Checkpoint, request: Request) -> Model:
        """The model. Raises `CheckpointError` and `FamilyError`."""
        ...


def families() -> list[Family]:
    """All families, in the order in which they are asked."""
    found: list[Family] = [import_module(f"{__name__}.{module}").FAMILY for module in MODULES]
    return found


def find(checkpoint: Checkpoint) -> Family:
    """The family of a checkpoint. Raises `FamilyError` where no family recognises it, and for a model of `unread`."""
    for family in families():
        if family.recognises(checkpoint):
            return family
    refuse_unread(checkpoint)
    known = ", ".join(family.name for family in families())
    kind = checkpoint.config.get("model_type") or checkpoint.architecture or "unknown"
    raise FamilyError(
        checkpoint,
        f"model type {kind!r} is of no family that this version knows ({known})",
        remedy="for a module of your own: python -m export package.module:factory --checkpoint FILE",
    )
