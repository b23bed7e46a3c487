"""Heads of BERT's kind on the last hidden state: batch × length × width."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from export.operators.linear import tied_linear

Nonlinearity = Callable[[torch.Tensor], torch.Tensor]


class Head(nn.Module):
    """What turns the last hidden state, and the table of word embeddings, into logits."""

    def forward(self, hidden: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """Logits: batch × outputs, or batch × length × outputs."""
        raise NotImplementedError


class MaskedHead(Head):
    """Scores of every word of the vocabulary at every position: dense, activation, norm, decoder.

    A ``tied`` decoder is the table of word embeddings; either has a bias of its own.
    """

    def __init__(self, width: int, vocabulary: int, epsilon: float, activation: Nonlinearity, *, tied: bool) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=epsilon)
        self.decoder = None if tied else nn.Linear(width, vocabulary, bias=False)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.activation = activation

    def forward(self, hidden: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.activation(self.dense(hidden)))
        return tied_linear(x, words, self.bias) if self.decoder is None else self.decoder(x) + self.bias


class PooledHead(Head):
    """Scores of a whole row, from its first position: dense, tanh, classifier."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.pooler = nn.Linear(width, width)
        self.classifier = nn.Linear(width, outputs)

    def forward(self, hidden: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(torch.tanh(self.pooler(hidden[:, 0])))
        return logits


class TokenHead(Head):
    """Scores of each position."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(width, outputs)

    def forward(self, hidden: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(hidden)
        return logits
