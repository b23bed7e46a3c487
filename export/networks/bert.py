"""BERT (Devlin et al. 2019) with its norms behind each step, or before it, as in GENA-LM."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from export.network import ATTENTION_MASK, INPUT_IDS, GraphInput, Network, Outputs
from export.networks.heads import Head, Nonlinearity
from export.networks.joint import JointLinear
from export.operators.attention import attention


@dataclass(frozen=True, slots=True)
class BertShape:
    """Sizes and switches of a BERT."""

    width: int
    inner: int
    heads: int
    layers: int
    vocabulary: int
    positions: int
    """Rows of the table of positions: the longest row in tokens."""
    types: int
    epsilon: float
    activation: Nonlinearity
    norm_first: bool = False
    """Norms before attention and feed-forward rather than behind their residual sums."""
    norm_last: bool = False
    """One more norm behind the last block."""
    left: tuple[int, ...] = ()
    """Heads of each layer, all of the same size, where some were pruned; empty: ``heads`` everywhere."""

    def heads_in(self, layer: int) -> int:
        """Of one layer."""
        return self.left[layer] if self.left else self.heads


class BertBlock(nn.Module):
    """Attention and feed-forward with residual sums: batch × length × width."""

    def __init__(self, shape: BertShape, layer: int) -> None:
        super().__init__()
        width = shape.width
        self.norm_first, self.activation = shape.norm_first, shape.activation
        self.heads = shape.heads_in(layer)
        inner = self.heads * (width // shape.heads)
        self.qkv = JointLinear(width, {"query": inner, "key": inner, "value": inner})
        self.mix = nn.Linear(inner, width)
        self.mix_norm = nn.LayerNorm(width, eps=shape.epsilon)
        self.widen = nn.Linear(width, shape.inner)
        self.narrow = nn.Linear(shape.inner, width)
        self.narrow_norm = nn.LayerNorm(width, eps=shape.epsilon)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.norm_first:
            x = x + self._attend(self.mix_norm(x), mask)
            return x + self._feed(self.narrow_norm(x))
        x = self.mix_norm(self._attend(x, mask) + x)
        normed: torch.Tensor = self.narrow_norm(self._feed(x) + x)
        return normed

    def _attend(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        query, key, value = self.qkv(x)
        seen: torch.Tensor = self.mix(attention(query, key, value, self.heads, mask=mask))
        return seen

    def _feed(self, x: torch.Tensor) -> torch.Tensor:
        fed: torch.Tensor = self.narrow(self.activation(self.widen(x)))
        return fed


class Bert(Network):
    """Words, positions and the first token type, through the blocks, into a head or none."""

    inputs = (GraphInput(INPUT_IDS), GraphInput(ATTENTION_MASK))

    def __init__(self, shape: BertShape, head: Head | None) -> None:
        super().__init__()
        self.shape = shape
        self.words = nn.Embedding(shape.vocabulary, shape.width)
        self.positions = nn.Embedding(shape.positions, shape.width)
        self.types = nn.Embedding(shape.types, shape.width)
        self.norm = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.layers = nn.ModuleList(BertBlock(shape, layer) for layer in range(shape.layers))
        self.last_norm = nn.LayerNorm(shape.width, eps=shape.epsilon) if shape.norm_last else None
        self.head = head
        self.example_length = min(self.example_length, shape.positions)

    def forward(self, *inputs: torch.Tensor) -> Outputs:
        ids, mask = inputs
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.norm(self.words(ids) + self.types.weight[0] + self.positions(places))
        for layer in self.layers:
            x = layer(x, mask)
        if self.last_norm is not None:
            x = self.last_norm(x)
        outputs = {"last_hidden_state": x}
        if self.head is not None:
            outputs["logits"] = self.head(x, self.words.weight)
        return outputs
