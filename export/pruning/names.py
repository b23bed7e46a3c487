"""Places of units by the names of the network's own parameters: each checkpoint has them under published names."""

from __future__ import annotations

from collections.abc import Collection

import torch

from export.weights import Loaded
from quantize.prune.units import Place


class Names:
    """A network's own names of parameters, as a checkpoint publishes them."""

    def __init__(self, loaded: Loaded, stored: Collection[str]) -> None:
        self._names, self._stored = loaded.names, stored
        self._copies: dict[str, list[str]] = {}
        for copy, first in loaded.copies.items():
            self._copies.setdefault(first, []).append(copy)

    def published(self, own: str) -> tuple[str, ...]:
        """The name of a parameter and those of its second copies; none where the checkpoint does not have it."""
        name = self._names.get(own)
        if name is None:
            return ()
        return tuple(one for one in (name, *self._copies.get(name, ())) if one in self._stored)

    def places(self, own: str, axis: int, entries: torch.Tensor) -> list[Place]:
        """Units with ``entries`` (units × each) along an axis; none where the parameter is absent, such as a bias."""
        return [Place(name, axis, entries) for name in self.published(own)]

    def run(self, own: str, axis: int, count: int, *, each: int = 1, start: int = 0) -> list[Place]:
        """As `places`, for ``count`` units side by side from ``start`` on."""
        return self.places(own, axis, Place.run("", 0, count, each=each, start=start).entries)

    def linear(self, own: str, *, rows: torch.Tensor | None = None, columns: torch.Tensor | None = None) -> list[Place]:
        """Units with these rows (and entries of the bias) or these columns of a linear layer or convolution."""
        found: list[Place] = []
        if rows is not None:
            found += self.places(f"{own}.weight", 0, rows) + self.places(f"{own}.bias", 0, rows)
        if columns is not None:
            found += self.places(f"{own}.weight", 1, columns)
        return found

    def norm(self, own: str, entries: torch.Tensor) -> list[Place]:
        """Units with these entries of a norm's weight and bias."""
        return self.places(f"{own}.weight", 0, entries) + self.places(f"{own}.bias", 0, entries)


def singles(count: int, *starts: int) -> torch.Tensor:
    """(count × starts): unit ``u`` has entry ``start + u`` for each of ``starts`` (0 where there are none)."""
    return torch.arange(count)[:, None] + torch.tensor(starts or (0,))


def blocks(count: int, each: int) -> torch.Tensor:
    """(count × each): unit ``u`` has the ``u``-th run of ``each`` entries."""
    return torch.arange(count * each).reshape(count, each)
