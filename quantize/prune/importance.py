"""How much each unit matters: first-order Taylor scores (Molchanov et al. 2019), or the size of its weights.

The score of an entry ``w`` is ``|w · ∂L/∂w|``, to first order what the loss changes by without it, averaged over
batches of calibration data; that of a unit is the sum over its entries. Entries of tensors that the gradient does not
reach (tables that were computed when the model was read) count as 0: every unit has others that it does reach.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from quantize.prune.anatomy import Kind, Stack
from quantize.prune.errors import PruneError
from quantize.prune.units import Units


class Taylor:
    """Adds up ``|w · ∂L/∂w|`` tensor by tensor."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._batches = 0

    def add(self, weights: Mapping[str, torch.Tensor], gradients: Mapping[str, torch.Tensor]) -> None:
        """One batch: name → weight, and name → gradient of its loss (those that have one)."""
        for name, gradient in gradients.items():
            product = (weights[name].detach().double() * gradient.double()).abs()
            self._sums[name] = self._sums[name] + product if name in self._sums else product
        self._batches += 1

    def scores(self) -> dict[str, torch.Tensor]:
        """Name → mean score of each entry, in double precision."""
        return {name: value / max(self._batches, 1) for name, value in self._sums.items()}


def magnitude(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Name → the square of each entry, in double precision."""
    return {name: value.double() ** 2 for name, value in tensors.items() if value.is_floating_point()}


def unit_scores(units: Units, scores: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """One number for each unit. Raises `PruneError` where no score is known of any of its tensors."""
    found = torch.zeros(units.count, dtype=torch.float64)
    known = False
    for place in units.places:
        score = scores.get(place.tensor)
        if score is not None:
            rest = [axis for axis in range(score.ndim) if axis != place.axis]
            line = score.sum(dim=rest) if rest else score
            found += line[place.entries].sum(dim=1)
            known = True
    if not known:
        raise PruneError(units.where, "the loss reaches none of its tensors, so that nothing says what matters")
    return found


def kind_scores(kind: Kind, scores: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
    """Of each part of a kind, one number for each unit."""
    return [unit_scores(units, scores) for units in kind.units]


def layer_scores(stack: Stack, scores: Mapping[str, torch.Tensor]) -> Sequence[float]:
    """One number for each layer: the sum over all its tensors."""
    found = [0.0] * stack.count
    for name, score in scores.items():
        if parts := stack.layer_of(name):
            found[parts[1]] += float(score.sum())
    return found
