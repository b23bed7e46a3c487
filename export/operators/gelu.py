"""The Gaussian error linear unit (Hendrycks and Gimpel 2016), exact and by its usual approximation."""

from __future__ import annotations

import torch
from torch.nn import functional

from export.operators.engine import exporting, node


def gelu(x: torch.Tensor, *, tanh: bool = False) -> torch.Tensor:
    """``x`` times the normal distribution's share below ``x``; ``tanh`` asks for the approximation by that function."""
    if exporting():
        return node("FastGelu" if tanh else "Gelu", (x,), x.shape, x.dtype)
    return functional.gelu(x, approximate="tanh" if tanh else "none")
