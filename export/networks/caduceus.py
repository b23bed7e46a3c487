"""Caduceus (Schiff et al. 2024): Mamba over both directions of a row, and, strand by strand, over both strands.

Ph reads a row as it is. PS reads the row and its reverse complement with the same weights: the second strand is kept
here as a row of its own, in its own reading direction, beside the first one. Turning a strand means to reverse its
steps and its channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from export.network import Network, Outputs
from export.networks.mamba import Mamba, MambaShape, Strategy
from export.operators.linear import tied_linear
from export.operators.norm import RmsNorm

Pooling = Literal["mean", "max"]


@dataclass(frozen=True, slots=True)
class CaduceusShape:
    """What a configuration says about the network."""

    vocabulary: int
    layers: int
    mixer: MambaShape
    epsilon: float
    rms: bool
    both_directions: bool
    tied_directions: bool
    strategy: Strategy
    both_strands: bool
    """PS: whether the row and its reverse complement pass side by side."""
    swaps: bool
    """PS: whether the strands exchange what they carry from layer to layer, as in the published models' fused norm."""


@dataclass(frozen=True, slots=True)
class CaduceusHead:
    """What stands on the last hidden state."""

    outputs: int = 0
    """Classes of a whole row; 0: scores of every token at every step."""
    words: bool = False
    """Whether steps are scored by a matrix of their own instead of the embeddings."""
    pooling: Pooling = "mean"
    conjoined: bool = False
    """Ph: whether the row's reverse complement is scored as well, and the two are averaged."""
    scores: bool = True
    """Whether there is a head at all."""


class _Layer(nn.Module):
    def __init__(self, shape: CaduceusShape) -> None:
        super().__init__()
        self.norm = _norm(shape)
        self.mixer = Mamba(shape.mixer, both=shape.both_directions, tied=shape.tied_directions, strategy=shape.strategy)


class CaduceusNetwork(Network):
    """Tokens → their embeddings → layers, each on the norm of all that came before → norm → head."""

    complement: torch.Tensor

    def __init__(self, shape: CaduceusShape, head: CaduceusHead) -> None:
        super().__init__()
        self.shape, self.head = shape, head
        width = shape.mixer.width
        self.embedding = nn.Embedding(shape.vocabulary, width)
        self.register_buffer("complement", torch.arange(shape.vocabulary))
        self.layers = nn.ModuleList(_Layer(shape) for _ in range(shape.layers))
        self.norm_f = _norm(shape)
        self.score = nn.Linear(width, head.outputs, bias=False) if head.outputs else None
        self.lm_head = nn.Linear(width, shape.vocabulary, bias=False) if head.words else None

    def fold(self) -> None:
        """Computes once what depends on weights alone. Call it when they are loaded, and after every change."""
        for layer in self.layers:
            assert isinstance(layer, _Layer)
            layer.mixer.fold()

    def forward(self, *inputs: torch.Tensor) -> Outputs:
        ids = inputs[0].T
        paired = self.shape.both_strands or self.head.conjoined
        if paired:
            ids = torch.cat((ids, self._complement_of(ids)), dim=1)
        x = self._encode(self.embedding(ids))
        if not paired:
            return self._outputs(x.transpose(0, 1), x, ())
        first, second = x.chunk(2, dim=1)
        if self.shape.both_strands:
            hidden = torch.cat((first, second.flip(0, 2)), dim=-1)
        else:
            hidden = (first + second.flip(0)) / 2
        return self._outputs(hidden.transpose(0, 1), first, (second,))

    def _complement_of(self, ids: torch.Tensor) -> torch.Tensor:
        return self.complement[ids.flip(0)]

    def _encode(self, x: torch.Tensor) -> torch.Tensor:
        """Hidden states of rows (length × rows × width); the second half of PS's rows are second strands."""
        carried: torch.Tensor | None = None
        for layer in self.layers:
            assert isinstance(layer, _Layer)
            carried = x if carried is None else x + carried
            if self.shape.both_strands and self.shape.swaps:
                first, second = carried.chunk(2, dim=1)
                carried = torch.cat((second, first), dim=1).flip(0, 2)
            x = layer.mixer(layer.norm(carried))
        normed: torch.Tensor = self.norm_f(x if carried is None else x + carried)
        return normed

    def _outputs(self, hidden: torch.Tensor, first: torch.Tensor, second: tuple[torch.Tensor, ...]) -> Outputs:
        """``hidden`` is what the graph gives; the strands are time-major, each in its own reading direction."""
        outputs = {"last_hidden_state": hidden}
        if not self.head.scores:
            return outputs
        if self.score is not None:
            scores = [self.score(self._pool(strand)) for strand in (first, *second)]
            outputs["logits"] = (scores[0] + scores[1]) / 2 if second else scores[0]
            return outputs
        words = self.embedding.weight if self.lm_head is None else self.lm_head.weight
        logits = tied_linear(first, words)
        for strand in second:
            logits = logits + tied_linear(strand.flip(0), words[self.complement])
        if self.head.conjoined:
            logits = logits / 2
        outputs["logits"] = logits.transpose(0, 1)
        return outputs

    def _pool(self, strand: torch.Tensor) -> torch.Tensor:
        return strand.amax(dim=0) if self.head.pooling == "max" else strand.mean(dim=0)


def _norm(shape: CaduceusShape) -> nn.Module:
    width = shape.mixer.width
    return RmsNorm(width, shape.epsilon) if shape.rms else nn.LayerNorm(width, eps=shape.epsilon)
