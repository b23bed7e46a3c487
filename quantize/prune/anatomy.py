"""A family's checkpoint described as data: what can leave it, and how its configuration says what is left."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quantize.prune.units import Units

Config = dict[str, Any]
Kept = Sequence[Sequence[int]]
"""Of each `Units` of a kind, in their order, the units that stay."""


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """Units of one kind in all parts of a model, such as the channels of all feed-forwards."""

    name: str
    """What the command calls it: ``ffn``, ``heads``, ``channels``, ``states``."""
    units: tuple[Units, ...]
    configure: Callable[[Config, Kept], None]
    """Writes what is left into a configuration."""
    exact: bool = True
    """Whether the pruned model computes what the whole one does with the removed units set to zero. Norms over the
    units make the difference."""
    note: str = ""
    """What else a user should know about such a cut."""
    rescale: Callable[[dict[str, Any], Kept], None] | None = None
    """Changes tensors that stay (name → tensor) so that norms give what they gave; called before anything is cut."""
    counts: Callable[[float], Sequence[int]] | None = None
    """From the share that leaves, how many units of each part stay, where one number follows from another. None: each
    part by itself. Raises `PruneError` for a share that the configuration cannot say."""


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """The layers of a model."""

    count: int
    pattern: str
    """Regular expression for whole names of tensors: prefix, number, rest, as three groups."""
    configure: Callable[[Config, Sequence[int]], None]
    """Writes into a configuration that only these layers are left, in this order."""
    places: tuple[object, ...] = ()
    """What the model makes of the layer at each place. A layer may only move to a place of which the same is made.
    Empty: every layer can stand anywhere."""
    ends: tuple[object, ...] = ()
    """What is made of the model's end behind 0, 1, … layers; it has to stay what it is. Empty: always the same."""
    begins: Mapping[str, int] = field(default_factory=dict)
    """Where layers are numbered anew in each part of a model: prefix → how many layers stand before its first."""

    def layer_of(self, name: str) -> tuple[str, int, str] | None:
        """Prefix, layer (counted through all parts) and rest of a tensor's name; None for one of no layer."""
        match = re.fullmatch(self.pattern, name)
        if match is None:
            return None
        prefix, number, rest = match.groups()
        return prefix, self.begins.get(prefix, 0) + int(number), rest


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """The rows of a vocabulary."""

    units: Units
    rewrite: Callable[[Path, Sequence[bytes]], tuple[list[int], dict[str, str]]]
    """From a checkpoint's folder and the sequences of the task: the rows that stay, in rising order, and the tokenizer
    files that give them (name → text). Raises `PruneError`."""
    configure: Callable[[Config, Sequence[int]], None]


Rewrite = Callable[[dict[str, Any], Config, int], dict[str, Any]]
"""Changes tensors (name → tensor) and configuration in place to what was asked for, and gives the report."""


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """What can leave the checkpoints of a family."""

    kinds: tuple[Kind, ...]
    stack: Stack | None = None
    refusals: Mapping[str, str] = field(default_factory=dict)
    """Kind → why it cannot leave such a checkpoint."""
    dropped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Pattern of tensors that no output needs → the kinds whose cut leaves them without meaning."""
    frozen: tuple[str, ...] = ()
    """Patterns of the module's own names of parameters that are laid out otherwise than they were published: recovery
    leaves them as they are."""
    stated: Mapping[str, Any] = field(default_factory=dict)
    """What a pruned configuration says where the whole checkpoint's files only implied it."""
    vocabulary: Vocabulary | None = None
    rewrites: Mapping[str, Rewrite] = field(default_factory=dict)
    """The domain's own cuts, by the name of their option."""
    apart: tuple[tuple[str, str], ...] = ()
    """Pairs of cuts of which the first leaves tensors that the description of the second does not fit."""

    def kind(self, name: str) -> Kind | None:
        """The kind with this name, if it can leave."""
        return next((kind for kind in self.kinds if kind.name == name), None)
