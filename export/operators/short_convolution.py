"""Causal convolution of each channel with a few taps."""

from __future__ import annotations

import torch
from torch.nn import functional

from export.operators.engine import exporting


def short_convolution(
    x: torch.Tensor, taps: torch.Tensor, bias: torch.Tensor | None = None, *, before: torch.Tensor | None = None
) -> torch.Tensor:
    """``y[t] = bias + sum of taps[j] x[t - (K - 1) + j]`` over the ``K`` taps: (batch × length × channels).

    ``taps`` are K × channels; the last one stands at the position itself. In front of the row there is nothing, or
    ``before`` (channels) at each position.
    """
    reach = taps.shape[0] - 1
    if before is None:
        padded = functional.pad(x, (0, 0, reach, 0))
    else:
        padded = torch.cat((before.expand(x.shape[0], reach, -1), x), dim=1)
    if not exporting():
        weights = taps.T[:, None]
        return functional.conv1d(padded.transpose(1, 2), weights, bias, groups=taps.shape[1]).transpose(1, 2)
    found = x * taps[reach]
    for at in range(reach):
        found = found + padded[:, at : at + x.shape[1]] * taps[at]
    return found if bias is None else found + bias
