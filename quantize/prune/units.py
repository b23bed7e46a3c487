"""Units of a model that leave as a whole, such as the heads of one attention layer, and where in the tensors they lie.

A unit has entries in several tensors: channel ``c`` of a feed-forward is row ``c`` of the first product and column
``c`` of the second. Removing it from one of them alone would break the model, so that a cut always takes all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where units lie in one tensor: along ``axis``, unit ``u`` has the entries ``entries[u]`` (units × each)."""

    tensor: str
    axis: int
    entries: torch.Tensor

    @classmethod
    def run(cls, tensor: str, axis: int, count: int, *, each: int = 1, start: int = 0) -> Place:
        """``count`` units that lie side by side from ``start`` on, with ``each`` entries."""
        return cls(tensor, axis, start + torch.arange(count * each).reshape(count, each))


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """``count`` units of one kind in one part of a model (``where``, such as ``layer 3``)."""

    where: str
    count: int
    places: tuple[Place, ...]
    pinned: frozenset[int] = frozenset()
    """Units that have to stay, such as channels that mean something by their number."""
    bound: tuple[tuple[int, ...], ...] = ()
    """Units that leave together, where they do; every unit is in exactly one of these. Empty: each by itself."""
    multiple: int = 1
    """What is kept is a multiple of this, where the count is one too: products of odd sizes are slow."""

    def sets(self) -> tuple[tuple[int, ...], ...]:
        """What can leave: sets of units, without those that are pinned."""
        sets = self.bound or tuple((unit,) for unit in range(self.count))
        return tuple(one for one in sets if not self.pinned & set(one))


def entries_of(units: Units, removed: Iterable[int]) -> dict[tuple[str, int], set[int]]:
    """(tensor, axis) → the entries that leave with the units ``removed``."""
    chosen = torch.tensor(sorted(removed), dtype=torch.int64)
    found: dict[tuple[str, int], set[int]] = {}
    for place in units.places:
        taken = place.entries[chosen].flatten().tolist()
        found.setdefault((place.tensor, place.axis), set()).update(taken)
    return found


def check(units: Sequence[Units], shapes: Mapping[str, Sequence[int]]) -> None:
    """Holds a description against a checkpoint's shapes. Raises ValueError where they do not fit each other: units
    that overlap, entries beyond the end of an axis, or a set that is split."""
    for each in units:
        covered: dict[tuple[str, int], set[int]] = {}
        if each.bound and sorted(unit for one in each.bound for unit in one) != list(range(each.count)):
            raise ValueError(f"{each.where}: the sets of units do not hold each of {each.count} units once")
        for place in each.places:
            if place.tensor not in shapes:
                raise ValueError(f"{each.where}: there is no tensor {place.tensor}")
            size = shapes[place.tensor][place.axis]
            entries = place.entries.flatten().tolist()
            if len(place.entries) != each.count or not entries or not 0 <= min(entries) <= max(entries) < size:
                raise ValueError(f"{each.where}: {place.tensor} has {size} entries, not those of {each.count} units")
            seen = covered.setdefault((place.tensor, place.axis), set())
            if seen & set(entries) or len(set(entries)) != len(entries):
                raise ValueError(f"{each.where}: units share entries of {place.tensor}")
            seen.update(entries)
