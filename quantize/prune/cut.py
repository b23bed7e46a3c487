"""Tensors without the units that leave, or with zeros in their stead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from quantize.prune.anatomy import Stack
from quantize.prune.units import Units, entries_of

Tensors = dict[str, torch.Tensor]


def removed_entries(units: Sequence[Units], removed: Sequence[Sequence[int]]) -> dict[tuple[str, int], set[int]]:
    """(tensor, axis) → the entries that leave, over all parts of a kind."""
    found: dict[tuple[str, int], set[int]] = {}
    for each, those in zip(units, removed, strict=True):
        for key, entries in entries_of(each, those).items():
            found.setdefault(key, set()).update(entries)
    return found


def cut(tensors: Mapping[str, torch.Tensor], entries: Mapping[tuple[str, int], set[int]]) -> Tensors:
    """The tensors without ``entries``; those of tensors that are not there are passed over."""
    found = dict(tensors)
    for (name, axis), gone in entries.items():
        if name in found:
            stay = [at for at in range(found[name].shape[axis]) if at not in gone]
            found[name] = found[name].index_select(axis, torch.tensor(stay, dtype=torch.int64)).contiguous()
    return found


def silence(tensors: Mapping[str, torch.Tensor], entries: Mapping[tuple[str, int], set[int]]) -> Tensors:
    """The tensors, in their shapes, with zeros at ``entries``."""
    found = dict(tensors)
    for (name, axis), gone in entries.items():
        if name in found:
            found[name] = found[name].clone().index_fill_(axis, torch.tensor(sorted(gone), dtype=torch.int64), 0)
    return found


def drop_layers(tensors: Mapping[str, torch.Tensor], stack: Stack, removed: Sequence[int]) -> Tensors:
    """The tensors of the layers that stay, numbered anew, and all others."""
    kept = kept_of(stack.count, removed)
    found: Tensors = {}
    for name, value in tensors.items():
        parts = stack.layer_of(name)
        if parts is None:
            found[name] = value
            continue
        prefix, layer, rest = parts
        if layer in kept:
            number = kept.index(layer) - sum(one < stack.begins.get(prefix, 0) for one in kept)
            found[f"{prefix}{number}{rest}"] = value
    return found


def kept_of(count: int, removed: Sequence[int]) -> list[int]:
    """What stays of so many."""
    gone = set(removed)
    return [at for at in range(count) if at not in gone]
