"""Several projections of one input as one product."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional


class JointLinear(nn.Module):
    """Projections of an input of ``width`` channels, stored as one weight and computed as one product.

    ``sizes`` names each projection and its outputs. The state dictionary has a weight and a bias under each name
    (``query.weight`` …), as they are published, so that they are loaded and checked one by one.
    """

    def __init__(self, width: int, sizes: Mapping[str, int], *, bias: bool = True) -> None:
        super().__init__()
        self.sizes = dict(sizes)
        self.weight = nn.Parameter(torch.empty(sum(sizes.values()), width))
        self.bias = nn.Parameter(torch.empty(sum(sizes.values()))) if bias else None
        nn.init.normal_(self.weight, std=width**-0.5)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The projections of ``x`` (… × width), in the order of their names."""
        return functional.linear(x, self.weight, self.bias).split(tuple(self.sizes.values()), dim=-1)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, _: bool) -> None:
        for kind, joint in (("weight", self.weight), ("bias", self.bias)):
            if joint is not None:
                views = joint.detach().split(tuple(self.sizes.values()))
                destination.update(
                    {f"{prefix}{name}.{kind}": view for name, view in zip(self.sizes, views, strict=True)}
                )
