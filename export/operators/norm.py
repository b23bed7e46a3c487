"""The norm by the root of the mean square (Zhang and Sennrich 2019)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class RmsNorm(nn.Module):
    """``x / sqrt(mean(x²) + epsilon) · weight`` over the last axis; epsilon stands inside the root."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """In the shape of ``x``."""
        if not torch.compiler.is_exporting():
            return functional.rms_norm(x, self.weight.shape, self.weight, self.epsilon)
        return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + self.epsilon) * self.weight
