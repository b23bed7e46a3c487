"""SpliceAI (Jaganathan et al. 2019) as OpenSpliceAI trains it (Chao et al. 2025): splice sites, base by base.

Residual units of dilated convolutions along a one-hot sequence; behind each four of them a pointwise convolution adds
to what becomes the scores. The published sizes look at 80, 400, 2000 and 10 000 bases around a base.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

LABELS = ("neither", "acceptor", "donor")
DILATIONS = {11: (1, 4), 21: (10,), 41: (25,)}
"""Kernel → dilations of the groups of four units that have this kernel, in order."""
UNITS_IN_GROUP = 4
_SLOPE = 0.1


class _Unit(nn.Module):
    """``x`` plus two dilated convolutions of it, each behind a norm and an activation: (batch × width × length)."""

    def __init__(self, width: int, kernel: int, dilation: int) -> None:
        super().__init__()
        padding = dilation * (kernel - 1) // 2
        self.batchnorm1, self.batchnorm2 = nn.BatchNorm1d(width), nn.BatchNorm1d(width)
        self.conv1 = nn.Conv1d(width, width, kernel, dilation=dilation, padding=padding)
        self.conv2 = nn.Conv1d(width, width, kernel, dilation=dilation, padding=padding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv1(functional.leaky_relu(self.batchnorm1(x), _SLOPE))
        return x + self.conv2(functional.leaky_relu(self.batchnorm2(y), _SLOPE))


class _Collected(nn.Module):
    """What a group of units adds to the scores."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv(x)
        return y


class SpliceSites(nn.Module):
    """One-hot bases (batch × 4 × length) to logits of `LABELS` at each base (batch × length × 3).

    The sequence is taken to go on with N on both sides, as far as the net sees.
    """

    def __init__(self, width: int, kernels: list[int], dilations: list[int]) -> None:
        super().__init__()
        self.initial_conv = nn.Conv1d(4, width, 1)
        self.initial_skip = _Collected(width)
        self.residual_units = nn.ModuleList()
        for number, (kernel, dilation) in enumerate(zip(kernels, dilations, strict=True), 1):
            self.residual_units.append(_Unit(width, kernel, dilation))
            if number % UNITS_IN_GROUP == 0:
                self.residual_units.append(_Collected(width))
        self.final_conv = nn.Conv1d(width, len(LABELS), 1)
        self.side = sum(dilation * (kernel - 1) for kernel, dilation in zip(kernels, dilations, strict=True))
        """Bases that a score depends on, to each side."""

    def forward(self, bases: torch.Tensor) -> torch.Tensor:
        x = self.initial_conv(functional.pad(bases, (self.side, self.side)))
        collected = self.initial_skip(x)
        for unit in self.residual_units:
            if isinstance(unit, _Collected):
                collected = collected + unit(x)
            else:
                x = unit(x)
        inner = collected[:, :, self.side : self.side + bases.shape[2]]
        scores: torch.Tensor = self.final_conv(inner).transpose(1, 2)
        return scores


def network(tensors: Mapping[str, torch.Tensor]) -> SpliceSites:
    """The net for a published checkpoint of any of the four sizes.

    Raises ValueError for kernels that are none of the published ones, whose dilations are not known.
    """
    kernels = [value.shape[2] for name, value in _in_order(tensors)]
    dilations: list[int] = []
    for group in range(0, len(kernels), UNITS_IN_GROUP):
        kernel = kernels[group]
        known, before = DILATIONS.get(kernel, ()), kernels[:group:UNITS_IN_GROUP].count(kernel)
        if before >= len(known) or len({*kernels[group : group + UNITS_IN_GROUP]}) > 1:
            raise ValueError(f"unit {group} has a kernel of {kernel}: not a published size of OpenSpliceAI")
        dilations += [known[before]] * len(kernels[group : group + UNITS_IN_GROUP])
    return SpliceSites(tensors["initial_conv.weight"].shape[0], kernels, dilations)


def _in_order(tensors: Mapping[str, torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
    """The first convolution of each unit."""
    pattern = re.compile(r"residual_units\.(\d+)\.conv1\.weight")
    found = [(int(match.group(1)), name) for name in tensors if (match := pattern.fullmatch(name))]
    return [(name, tensors[name]) for _, name in sorted(found)]
