"""Published tensors into a module, strictly: every tensor is used or explained, every parameter is filled."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from edgeseq.manifest import TaskKind
from export.errors import TensorsError

_HEAD = re.compile(
    r"(head|cls|classifier|score|lm_head|pre_classifier|classification_head|generator_lm_head|vocab_transform)\."
)
"""The module's own names of what only one task needs."""
_POOLER = re.compile(r"\bpooler\.")
_HEADS: Mapping[TaskKind, str] = {
    "sequence-classification": "classifier",
    "token-classification": "classifier of tokens",
    "regression": "regression head",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """How published names become the module's own. Patterns are regular expressions for whole names."""

    renames: tuple[tuple[str, str], ...] = ()
    """Pattern and replacement, the first that matches counts; a name that none matches stays."""
    aliases: tuple[tuple[str, str], ...] = ()
    """Pattern and replacement: a second copy of the tensor of that (published) name. It must hold the same values, and
    stands in where the first copy is absent."""
    unused: Mapping[str, str] = field(default_factory=dict)
    """Pattern → why the model does not need such a tensor."""
    optional: Mapping[str, str] = field(default_factory=dict)
    """Pattern of the module's own names → where their values come from if the checkpoint does not have them."""
    published: tuple[tuple[str, str], ...] = ()
    """Pattern of the module's own names and replacement: how messages call a tensor that is missing. Names that none
    matches are guessed by the example of those that are there."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of the published tensors: ``used`` of them fill parameters, the others have a reason (pattern →
    reason, for those patterns that occurred)."""

    used: int
    explained: Mapping[str, str]
    precisions: tuple[str, ...]
    """The published element types of what was used."""
    names: Mapping[str, str] = field(default_factory=dict)
    """The module's own name → the published one, of what was used."""
    copies: Mapping[str, str] = field(default_factory=dict)
    """Published name of a second copy → that of the first."""


def load_weights(
    module: nn.Module,
    tensors: Mapping[str, torch.Tensor],
    layout: Layout,
    source: object,
    *,
    task: TaskKind | None = None,
) -> Loaded:
    """Fills the module's parameters and persistent buffers, in float32 (buffers of integers stay what they are).

    Raises `TensorsError`, naming the tensor as it was published: for one that is missing, that nothing explains, that
    has another shape, that disagrees with its alias, or that holds values which are not finite; and for a checkpoint
    without any of the tensors of the head that ``task`` needs.
    """
    tensors, explained, copies = _without_aliases(tensors, layout, source)
    targets = module.state_dict(keep_vars=True)
    names: dict[str, str] = {}
    for name in tensors:
        other = names.setdefault(_rename(name, layout), name)
        if other != name:
            raise TensorsError(source, f"tensors {other} and {name} are the same part of the model")
    if task is not None and task in _HEADS:
        _check_head(targets.keys(), names.keys(), layout, source, task)
    used: dict[str, str] = {}
    for target, name in names.items():
        if target in targets:
            used[target] = name
            continue
        pattern = next((pattern for pattern in layout.unused if re.fullmatch(pattern, name)), None)
        if pattern is None:
            raise TensorsError(source, f"tensor {name} is not expected by this configuration")
        explained[pattern] = layout.unused[pattern]
    for target in sorted(targets.keys() - used.keys()):
        pattern = next((pattern for pattern in layout.optional if re.fullmatch(pattern, target)), None)
        if pattern is None:
            raise TensorsError(source, f"tensor {_published(target, used, layout)} is missing")
        explained[pattern] = layout.optional[pattern]
    for target, name in used.items():
        _fill(targets[target], tensors[name], name, source)
    precisions = sorted({str(tensors[name].dtype).removeprefix("torch.") for name in used.values()})
    return Loaded(len(used), explained, tuple(precisions), used, copies)


def _check_head(
    targets: Collection[str], given: Collection[str], layout: Layout, source: object, task: TaskKind
) -> None:
    """Raises `TensorsError` where the module has a head and the checkpoint has nothing for it: it was never trained.

    Poolers count as no head: pretrained files often hold one that nothing trained.
    """
    head = [target for target in targets if _HEAD.match(target) and target not in layout.optional]
    trained = [target for target in head if not _POOLER.search(target)]
    if not trained or any(target in given for target in trained):
        return
    missing = ", ".join(sorted(_of_head(target, layout) for target in head if target not in given))
    raise TensorsError(
        source,
        f"has no trained {_HEADS[task]}: {task} needs {missing}",
        remedy="fine-tune it for the task and export what that saves, or leave --task out to export the checkpoint as "
        "it was trained (--task embedding: without a head)",
    )


def _of_head(target: str, layout: Layout) -> str:
    """The published name of a part of a head, by the renaming that would give it."""
    for pattern, replacement in layout.published:
        if match := re.fullmatch(pattern, target):
            return match.expand(replacement)
    for pattern, replacement in layout.renames:
        start = re.sub(r"\(\?:[^()]*\)\?", "", pattern).partition("(")[0]
        plain, own = start.replace("\\", ""), replacement.partition("\\1")[0]
        name = plain + target.removeprefix(own)
        if own and re.escape(plain) == start and target.startswith(own) and _rename(name, layout) == target:
            return name
    return target


def _fill(target: torch.Tensor, value: torch.Tensor, name: str, source: object) -> None:
    if tuple(target.shape) != tuple(value.shape):
        raise TensorsError(
            source, f"tensor {name} has shape {tuple(value.shape)}; the configuration asks for {tuple(target.shape)}"
        )
    if value.is_complex() or value.is_floating_point() != target.is_floating_point():
        raise TensorsError(source, f"tensor {name} is {value.dtype}, not {target.dtype}")
    if value.is_floating_point() and not torch.isfinite(value).all():
        raise TensorsError(source, f"tensor {name} holds values that are not finite")
    with torch.no_grad():
        target.copy_(value)


def _without_aliases(
    tensors: Mapping[str, torch.Tensor], layout: Layout, source: object
) -> tuple[dict[str, torch.Tensor], dict[str, str], dict[str, str]]:
    """The tensors under the names of first copies, why that is, and second copies' names → those of the first."""
    kept: dict[str, torch.Tensor] = {}
    explained: dict[str, str] = {}
    copies: dict[str, str] = {}
    for name, value in tensors.items():
        first = name
        for pattern, replacement in layout.aliases:
            if match := re.fullmatch(pattern, name):
                first = match.expand(replacement)
                explained[pattern] = f"second copy of {replacement}"
                copies[name] = first
                break
        other = kept.get(first, tensors.get(first))
        if other is not None and other is not value and not torch.equal(other, value):
            raise TensorsError(source, f"tensors {name} and {first} should be one, but differ")
        kept[first] = value
    return kept, explained, copies


def _rename(name: str, layout: Layout) -> str:
    for pattern, replacement in layout.renames:
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement)
    return name


def _published(target: str, used: Mapping[str, str], layout: Layout) -> str:
    """The name under which a parameter would be published, by the example of those that are there: the name of the
    parameter that shares most of its path, with the rest of the path exchanged."""
    for pattern, replacement in layout.published:
        if match := re.fullmatch(pattern, target):
            return match.expand(replacement)
    parts = target.split(".")
    for shared in range(len(parts) - 1, -1, -1):
        prefix = "".join(f"{part}." for part in parts[:shared])
        for other, name in sorted(used.items()):
            rest = other.removeprefix(prefix)
            if other.startswith(prefix) and name.endswith(rest):
                return name.removesuffix(rest) + target.removeprefix(prefix)
    return target
