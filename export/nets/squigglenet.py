"""SquiggleNet (Bao et al. 2021): is the molecule in the pore a target? From 3000 samples of raw signal.

A one-dimensional residual net of bottleneck blocks, the mean over time, and two logits. The signal comes normalised, by
`normalised`; the first 1500 samples of a read (adapter) are left out before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

SAMPLES, ADAPTER = 3000, 1500
LABELS = ("class 0", "class 1")
"""The publication's files do not say which index is the target; it is whichever reads one trained it with."""
_SPREAD, _OUTLIER = 1.4826, 3.5


def normalised(signal: NDArray[np.floating | np.integer]) -> NDArray[np.float32]:
    """Rows of samples (rows × samples, in pA or as recorded), as the published weights expect them: float32.

    Centred on the row's median and divided by its median absolute deviation, which is brought to the scale of a
    standard deviation twice, as in the published preparation. A sample further out than 3.5 becomes the mean of its
    neighbours, from left to right; at the ends, its only neighbour.
    """
    rows = np.array(signal, np.float64)
    centre = np.median(rows, axis=1, keepdims=True)
    spread = np.median(np.abs(rows - centre), axis=1, keepdims=True)
    rows = (rows - centre) / (_SPREAD**2 * np.where(spread > 0, spread, 1.0))
    last = rows.shape[1] - 1
    for row, at in np.argwhere(np.abs(rows) > _OUTLIER):
        left, right = rows[row, max(at - 1, 0)], rows[row, min(at + 1, last)]
        rows[row, at] = right if at == 0 else left if at == last else (left + right) / 2
    return rows.astype(np.float32)


class _Bottleneck(nn.Module):
    """Three convolutions, narrow in the middle, around which the sum goes."""

    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv1d(width, width, 1, bias=False), nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm1d(width)
        self.conv3, self.bn3 = nn.Conv1d(width, out, 1, bias=False), nn.BatchNorm1d(out)
        self.downsample: nn.Sequential | None = None
        if stride > 1 or width != out:
            self.downsample = nn.Sequential(nn.Conv1d(width, out, 1, stride=stride, bias=False), nn.BatchNorm1d(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class Squiggle(nn.Module):
    """Normalised signal (batch × samples, 9 or more) to two logits (batch × 2)."""

    def __init__(self, first: int, blocks: list[list[int]], classes: int) -> None:
        """``blocks`` holds, for each stage, the channels that its blocks give."""
        super().__init__()
        self.conv1 = nn.Conv1d(1, first, 19, stride=3, padding=5)
        self.bn1 = nn.BatchNorm1d(first)
        width, stages = first, []
        for number, outs in enumerate(blocks):
            layers = []
            for place, out in enumerate(outs):
                layers.append(_Bottleneck(width, out, 2 if number and not place else 1))
                width = out
            stages.append(nn.Sequential(*layers))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(width, classes)

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.bn1(self.conv1(signal[:, None, :])))
        x = functional.max_pool1d(x, 2, stride=2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: torch.Tensor = self.fc(x.mean(2))
        return logits


def network(tensors: Mapping[str, torch.Tensor]) -> Squiggle:
    """The net for a published checkpoint: its channels and blocks are those of the tensors."""
    blocks: list[list[int]] = [[] for _ in range(4)]
    for stage in range(4):
        names = sorted(name for name in tensors if re.fullmatch(rf"layer{stage + 1}\.\d+\.conv3\.weight", name))
        blocks[stage] = [tensors[name].shape[0] for name in names]
    return Squiggle(tensors["conv1.weight"].shape[0], blocks, tensors["fc.weight"].shape[0])
