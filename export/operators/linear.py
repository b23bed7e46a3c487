"""Products with a weight that something else uses as well."""

from __future__ import annotations

import torch
from torch.nn import functional

from export.operators.engine import exporting, node


def tied_linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """``x`` (… × in) times the transpose of ``weight`` (out × in), which is stored in the graph once.

    `torch.nn.functional.linear` would be exported with a transposed copy: for a tied decoder, a second vocabulary.
    """
    if not exporting():
        return functional.linear(x, weight, bias)
    product = node("FusedMatMul", (x, weight), (*x.shape[:-1], weight.shape[0]), x.dtype, {"transB": 1, "alpha": 1.0})
    return product if bias is None else product + bias
