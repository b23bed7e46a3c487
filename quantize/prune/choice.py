"""Which units leave: those that matter least, as many in each part, and none that would have to stay."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from quantize.prune.anatomy import Kind, Stack
from quantize.prune.errors import PruneError
from quantize.prune.units import Units


def choose_units(kind: Kind, scores: Sequence[torch.Tensor], share: float) -> list[list[int]]:
    """The units that leave each part of a kind, in rising order: about ``share`` of them, the same number everywhere.

    ``scores`` has one number for each unit of each part; equal scores leave in the order of their numbers. Raises
    `PruneError` where so many cannot leave.
    """
    if not 0 < share < 1 or not kind.units:
        raise PruneError(f"--{kind.name} {share:g}", "has to be between 0 and 1, the share that leaves")
    stay = kind.counts(share) if kind.counts is not None else [_kept(units, share) for units in kind.units]
    if all(count == units.count for units, count in zip(kind.units, stay, strict=True)):
        raise PruneError(
            f"--{kind.name} {share:g}",
            f"nothing would leave {kind.units[0].where}, whose {kind.units[0].count} units leave "
            "several at a time or not at all",
            remedy="ask for more",
        )
    return [
        _least(units, score, units.count - count, kind)
        for units, score, count in zip(kind.units, scores, stay, strict=True)
    ]


def _kept(units: Units, share: float) -> int:
    """How many stay: a multiple, at least one of it, and as near to the share as that allows."""
    together = max(map(len, units.bound), default=1)
    multiple = units.multiple if units.count % units.multiple == 0 and units.count > units.multiple else together
    return min(units.count, max(multiple, round(units.count * (1 - share) / multiple) * multiple))


def _least(units: Units, scores: torch.Tensor, wanted: int, kind: Kind) -> list[int]:
    sets = units.sets()
    values = [float(scores[list(one)].sum()) / len(one) for one in sets]
    removed: list[int] = []
    for at in sorted(range(len(sets)), key=lambda at: (values[at], at)):
        if len(removed) + len(sets[at]) <= wanted:
            removed += sets[at]
        if len(removed) == wanted:
            return sorted(removed)
    raise PruneError(
        f"--{kind.name}",
        f"{wanted} of {units.count} units of {units.where} cannot leave: {len(units.pinned)} have to stay"
        + (f", and they leave {len(sets[0])} at a time" if units.bound else ""),
        remedy="ask for another share",
    )


def choose_layers(stack: Stack, scores: Sequence[float], wanted: int) -> list[int]:
    """The layers that leave, in rising order: those that matter least together, such that every other one moves to a
    place where the model makes the same of it. Raises `PruneError` where no choice of ``wanted`` layers allows that."""
    if not 0 < wanted < stack.count:
        raise PruneError(f"--layers {wanted}", f"the model has {stack.count} layers, and at least one has to stay")
    kept = stack.count - wanted
    places = stack.places or (0,) * stack.count
    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    for layer in range(stack.count):
        found: dict[int, tuple[float, tuple[int, ...]]] = {}
        for standing, (cost, removed) in best.items():
            if len(removed) < wanted:
                _offer(found, standing, cost + scores[layer], (*removed, layer))
            if standing < kept and places[standing] == places[layer]:
                _offer(found, standing + 1, cost, removed)
        best = found
    if kept not in best or (stack.ends and stack.ends[kept] != stack.ends[stack.count]):
        able = [count for count in range(1, stack.count) if _fits(stack, places, count)]
        raise PruneError(
            f"--layers {wanted}",
            "the layers behind those that leave would be made into something else (their place decides on it)",
            remedy=f"{' or '.join(map(str, able))} of them can leave" if able else "no layer can leave this model",
        )
    return list(best[kept][1])


def _offer(found: dict[int, tuple[float, tuple[int, ...]]], at: int, cost: float, removed: tuple[int, ...]) -> None:
    if at not in found or (cost, removed) < found[at]:
        found[at] = cost, removed


def _fits(stack: Stack, places: Sequence[object], wanted: int) -> bool:
    reach = {0}
    for layer in range(stack.count):
        reach = {at for at in reach if layer + 1 - at <= wanted} | {
            at + 1 for at in reach if places[at] == places[layer]
        }
    kept = stack.count - wanted
    return kept in reach and (not stack.ends or stack.ends[kept] == stack.ends[stack.count])
