"""Products of numbers rounded to eight bits (e4m3: four of exponent, three of mantissa), as they were trained with.

The scheme is that of delayed scaling per tensor (Micikevicius et al. 2022): input and weight are multiplied by a stored
scale, rounded, multiplied in full precision, and divided by both scales.
"""

from __future__ import annotations

import torch
from torch.nn import functional

LARGEST = 448.0
_LOWEST_EXPONENT, _MANTISSA = -6.0, 3.0


def rounded(x: torch.Tensor) -> torch.Tensor:
    """``x`` as the nearest numbers that e4m3 has, halves to even, beyond its range the ends of it."""
    x = x.clamp(-LARGEST, LARGEST)
    exponent = torch.log2(x.abs().clamp(min=2.0**_LOWEST_EXPONENT)).floor()
    step = torch.exp2(exponent - _MANTISSA)
    return torch.round(x / step) * step


def float8_linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, scale: float) -> torch.Tensor:
    """``x`` (… × in), scaled and rounded, times the transpose of ``weight`` (out × in), which is rounded already."""
    return functional.linear(rounded(x * scale) / scale, weight, bias)
