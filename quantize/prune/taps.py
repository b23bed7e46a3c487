"""Filters cut off behind a number of taps, with a bound on what that changes.

``y - ŷ`` at any position is ``Σ h[s] u[t - s]`` over the taps that left, so that ``|y - ŷ| ≤ ‖h[T:]‖₁ · max |u|``,
channel by channel; the bound is met by an input of that size whose signs are those of the filter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Truncation:
    """What is left out of the filters of one layer behind ``taps`` taps: channels each."""

    taps: int
    left: torch.Tensor
    """``‖h[T:]‖₁``."""
    whole: torch.Tensor
    """``‖h‖₁``."""

    def bound(self, largest: torch.Tensor | float) -> torch.Tensor:
        """The largest difference that inputs no larger than ``largest`` can make, channel by channel."""
        return self.left * largest

    def as_json(self) -> dict[str, Any]:
        """For the report: figures over the channels."""
        share = self.left / self.whole.clamp(min=torch.finfo(self.whole.dtype).tiny)
        return {
            "taps": self.taps,
            "largest_left": float(self.left.max()),
            "mean_share_left": float(share.mean()),
            "largest_share_left": float(share.max()),
        }


def truncation(taps: torch.Tensor, kept: int) -> Truncation:
    """What leaving out all but the first ``kept`` of ``taps`` (length × channels) leaves out."""
    sizes = taps.detach().double().abs()
    return Truncation(kept, sizes[kept:].sum(dim=0), sizes.sum(dim=0))


def shortest(taps: torch.Tensor, share: float) -> int:
    """The fewest taps behind which no channel has more than ``share`` of its 1-norm."""
    sizes = taps.detach().double().abs()
    behind = sizes.flip(0).cumsum(dim=0).flip(0)
    over = (behind > share * behind[:1]).any(dim=1)
    return int(over.nonzero().max()) + 1 if bool(over.any()) else 0
