"""Factories of tiny torch modules, named on the command line by tests."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn


class PerBase(nn.Module):
    """A convolution over one-hot bases; zeros stand beyond the ends."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, classes, 3, padding=1)

    def forward(self, bases: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.conv(bases).transpose(1, 2)
        return scores


class Mean(nn.Module):
    """The mean over embedded bases that are no padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        kept = attention_mask[:, :, None].to(torch.float32)
        scores: torch.Tensor = self.head((self.embedding(ids) * kept).sum(1) / kept.sum(1))
        return scores


class Unfair(Mean):
    """As `Mean`, but rows see each other."""

    def forward(self, ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        given = super().forward(ids, attention_mask)
        return given - given.mean(0, keepdim=True)


class Level(nn.Module):
    """Two logits from the mean of a signal."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 2)

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(signal[:, 4:].mean(1, keepdim=True))
        return scores


def per_base(tensors: Mapping[str, torch.Tensor]) -> PerBase:
    return PerBase(tensors["conv.weight"].shape[0])


def mean() -> nn.Module:
    return Mean()


def unfair() -> nn.Module:
    return Unfair()


def level() -> nn.Module:
    return Level()


def turned(tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    """Classes before positions, as convolutions give them."""
    return _Turned(per_base(tensors))


class _Turned(nn.Module):
    def __init__(self, inner: PerBase) -> None:
        super().__init__()
        self.conv = inner.conv

    def forward(self, bases: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.conv(bases)
        return scores
