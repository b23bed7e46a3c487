"""Activation functions by the names that configurations give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch.nn import functional

from export.operators.gelu import gelu

ACTIVATIONS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": gelu,
    "gelu_new": partial(gelu, tanh=True),
    "gelu_pytorch_tanh": partial(gelu, tanh=True),
    "relu": functional.relu,
    "silu": functional.silu,
    "swish": functional.silu,
    "tanh": torch.tanh,
}
"""``gelu`` is the exact one; ``gelu_new`` its approximation by tanh."""
