"""Caduceus (Schiff et al. 2024): Mamba over both directions of a row, and, strand by strand, over both strands.

Ph reads a row as it is. PS reads the row and its reverse complement with the same weights: the second strand is kept
here as a row of its own, in its own reading direction, beside the first one. Turning a strand means to reverse its
steps and its channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from export.network import Network, Outputs
from export.networks.mamba import Mamba, MambaShape, Strategy
from export.operators.linear import tied_linear
from export.operators.norm import RmsNorm

Pooling = Literal["mean", "max"]
Turn = Callable[[torch.Tensor], torch.Tensor]


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
    ending: int | None = None
    """The token that ends a row, on either strand; a conjoined row's reverse complement has it at its end too."""
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
        if not (self.shape.both_strands or self.head.conjoined):
            x = self._encode(self.embedding(ids))
            return self._outputs(x.transpose(0, 1), x)
        turn = self._turn(ids)
        x = self._encode(self.embedding(torch.stack((ids, self.complement[turn(ids)]), dim=1)))
        first, second = x[:, 0], x[:, 1]
        if self.shape.both_strands:
            hidden = torch.cat((first, turn(second).flip(2)), dim=-1)
        else:
            hidden = (first + turn(second)) / 2
        return self._outputs(hidden.transpose(0, 1), first, second, turn)

    def _turn(self, ids: torch.Tensor) -> Turn:
        """What reverses the steps of rows; the token that ends a row stays at its end."""
        if self.shape.both_strands or self.head.ending is None:
            return lambda x: x.flip(0)
        ended = ids[-1] == self.head.ending

        def turn(x: torch.Tensor) -> torch.Tensor:
            turned = x.flip(0)
            kept = torch.cat((turned[1:], turned[:1]))
            return torch.where(ended if x.ndim == ended.ndim + 1 else ended[:, None], kept, turned)

        return turn

    def _encode(self, x: torch.Tensor) -> torch.Tensor:
        """Hidden states of rows (length × rows × width) or of both strands of rows (length × 2 × rows × width), in the
        shape of ``x``."""
        carried: torch.Tensor | None = None
        for layer in self.layers:
            assert isinstance(layer, _Layer)
            carried = x if carried is None else x + carried
            if self.shape.both_strands and self.shape.swaps:
                carried = carried.flip(0, 1, 3)
            rows = layer.norm(carried)
            x = layer.mixer(rows.flatten(1, 2)).unflatten(1, rows.shape[1:3]) if rows.ndim == 4 else layer.mixer(rows)
        normed: torch.Tensor = self.norm_f(x if carried is None else x + carried)
        return normed

    def _outputs(
        self, hidden: torch.Tensor, first: torch.Tensor, second: torch.Tensor | None = None, turn: Turn | None = None
    ) -> Outputs:
        """``hidden`` is what the graph gives; the strands are time-major, each in its own reading direction."""
        outputs = {"last_hidden_state": hidden}
        if not self.head.scores:
            return outputs
        if self.score is not None:
            logits = self.score(self._pool(first))
            outputs["logits"] = logits if second is None else (logits + self.score(self._pool(second))) / 2
            return outputs
        words = self.embedding.weight if self.lm_head is None else self.lm_head.weight
        logits = tied_linear(first, words)
        if second is not None and turn is not None:
            logits = logits + tied_linear(turn(second), words[self.complement])
        if self.head.conjoined:
            logits = logits / 2
        outputs["logits"] = logits.transpose(0, 1)
        return outputs

    def _pool(self, strand: torch.Tensor) -> torch.Tensor:
        return strand.amax(dim=0) if self.head.pooling == "max" else strand.mean(dim=0)


def _norm(shape: CaduceusShape) -> nn.Module:
    width = shape.mixer.width
    return RmsNorm(width, shape.epsilon) if shape.rms else nn.LayerNorm(width, eps=shape.epsilon)
