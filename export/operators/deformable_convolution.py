"""Convolution whose taps stand where the input says (Zhu et al. 2019), along one axis."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class DeformableConvolution(nn.Module):
    """An odd number of taps, each moved by a learned offset and weighted by a learned factor between 0 and 2.

    Tap ``k`` of ``K`` at position ``t`` reads position ``t + k - K // 2 + offset``; between two positions it reads
    their linear interpolation, and beyond the ends of the row zeros. Offsets and factors come from a convolution of the
    same width.
    """

    def __init__(self, width: int, taps: int) -> None:
        super().__init__()
        self.taps = taps
        self.offset = _Steering(width, taps)
        self.factor = _Steering(width, taps)
        self.weight = nn.Parameter(torch.empty(width, width, taps, 1))
        nn.init.normal_(self.weight, std=(taps * width) ** -0.5)

    def forward(self, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """In the shape of ``x`` (batch × length × width), which steers the taps; what they read is ``x`` times ``seen``
        (batch × length, 0 or 1)."""
        width, length = x.shape[-1], x.shape[1]
        offsets, factors = self.offset(x), 2 * torch.sigmoid(self.factor(x))
        places = torch.arange(length, device=x.device, dtype=x.dtype)
        reach = torch.arange(self.taps, device=x.device, dtype=x.dtype) - self.taps // 2
        at = torch.minimum((places[:, None] + reach + offsets).clamp(min=-1.0), places[-1] + 1)
        left = at.floor()
        between = at - left
        rows = functional.pad(x * seen[:, :, None], (0, 0, 1, 2))
        starts = torch.arange(x.shape[0], device=x.device) * (length + 3) + 1
        first = (left.to(torch.int64) + starts[:, None, None]).flatten()
        flat = rows.flatten(0, 1)
        weights = torch.stack((factors * (1 - between), factors * between), dim=-1).flatten(0, 2)
        read = torch.stack((flat.index_select(0, first), flat.index_select(0, first + 1)), dim=1)
        sampled = torch.matmul(weights[:, None, :], read).reshape(x.shape[0], length, self.taps * width)
        return torch.matmul(sampled, self.weight[..., 0].permute(2, 1, 0).reshape(self.taps * width, width))


class _Steering(nn.Module):
    """A convolution of (batch × length × width) with one output for each of its taps; zeros beyond the ends."""

    def __init__(self, width: int, taps: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(taps, width, taps))
        self.bias = nn.Parameter(torch.zeros(taps))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """batch × length × taps."""
        taps = len(self.weight)
        parts = torch.matmul(x, self.weight.permute(1, 2, 0).reshape(x.shape[-1], taps * taps))
        parts = functional.pad(parts.unflatten(-1, (taps, taps)), (0, 0, 0, 0, taps // 2, taps // 2))
        return sum((parts[:, tap : tap + x.shape[1], tap] for tap in range(taps)), start=self.bias)
