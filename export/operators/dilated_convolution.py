"""Convolution of rows whose taps stand apart, without moving channels in front of positions."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from export.operators.engine import exporting
from export.operators.minimal_filtering import FEWEST_CHANNELS, filter_rows, filtering


class DilatedConvolution(nn.Module):
    """``taps`` taps, ``dilation`` positions apart, around each position: (batch × length × width), as its input.

    Beyond the ends of a row stand zeros. ``depthwise`` keeps channels apart. The weight is laid out as that of
    `torch.nn.Conv1d`. In the graph, the positions that a position sees are gathered and multiplied by one matrix, which
    the engine prepares once; its own convolution would want channels in front and lays them out anew each time.
    """

    def __init__(self, width: int, taps: int, dilation: int, *, depthwise: bool = False, bias: bool = True) -> None:
        super().__init__()
        self.dilation, self.depthwise = dilation, depthwise
        self.weight = nn.Parameter(torch.empty(width, 1 if depthwise else width, taps))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None
        nn.init.normal_(self.weight, std=(taps * self.weight.shape[1]) ** -0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """In the shape of ``x``."""
        taps = self.weight.shape[2]
        reach = self.dilation * (taps - 1)
        ends = reach // 2, reach - reach // 2
        if not exporting():
            padded = functional.pad(x.transpose(1, 2), ends)
            groups = len(self.weight) if self.depthwise else 1
            found = functional.conv1d(padded, self.weight, self.bias, dilation=self.dilation, groups=groups)
            return found.transpose(1, 2)
        plan = None if self.depthwise or len(self.weight) < FEWEST_CHANNELS else filtering(taps, self.dilation)
        if plan is None:
            padded = functional.pad(x, (0, 0, *ends))
            result = self._shifted(padded, x.shape[1]) if self.depthwise else self._gathered(padded, x.shape[1])
        else:
            result = filter_rows(x, self.weight, self.dilation, ends, plan)
        return result if self.bias is None else result + self.bias

    def _gathered(self, padded: torch.Tensor, length: int) -> torch.Tensor:
        width, _, taps = self.weight.shape
        seen = torch.arange(length)[:, None] + self.dilation * torch.arange(taps)
        rows = padded.index_select(1, seen.flatten()).reshape(padded.shape[0], length, taps * width)
        return torch.matmul(rows, self.weight.permute(2, 1, 0).reshape(taps * width, width))

    def _shifted(self, padded: torch.Tensor, length: int) -> torch.Tensor:
        taps = self.weight[:, 0].T
        found = padded[:, :length] * taps[0]
        for at in range(1, len(taps)):
            first = at * self.dilation
            found = found + padded[:, first : first + length] * taps[at]
        return found
