"""The gate of a feed-forward: one half of the channels decides how much of the other passes (Shazeer 2020)."""

from __future__ import annotations

import torch
from torch.nn import functional

from export.operators.engine import exporting, node


def silu(x: torch.Tensor) -> torch.Tensor:
    """``x`` times its logistic function."""
    if exporting():
        return node("QuickGelu", (x,), x.shape, x.dtype, {"alpha": 1.0})
    return functional.silu(x)


def gated_silu(x: torch.Tensor) -> torch.Tensor:
    """`silu` of the first half of the channels of ``x`` (… × 2 · width) times the second half: … × width."""
    first, second = x.chunk(2, dim=-1)
    return silu(first) * second
