"""MosaicBERT (Portes et al. 2023): BERT without positions, with linear attention biases and a gated feed-forward."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from export.network import ATTENTION_MASK, INPUT_IDS, GraphInput, Network, Outputs
from export.networks.heads import Head
from export.operators.alibi import alibi_bias, alibi_slopes
from export.operators.attention import attention
from export.operators.gelu import gelu


@dataclass(frozen=True, slots=True)
class MosaicShape:
    """Sizes of a MosaicBERT."""

    width: int
    inner: int
    heads: int
    layers: int
    vocabulary: int
    types: int
    epsilon: float


class MosaicBlock(nn.Module):
    """Attention, then a gated feed-forward, each with a norm behind its residual sum: batch × length × width."""

    def __init__(self, shape: MosaicShape) -> None:
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.qkv = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.mix_norm = nn.LayerNorm(width, eps=shape.epsilon)
        self.gated = nn.Linear(width, 2 * shape.inner, bias=False)
        self.narrow = nn.Linear(shape.inner, width)
        self.narrow_norm = nn.LayerNorm(width, eps=shape.epsilon)

    def forward(self, x: torch.Tensor, mask: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        x = self.mix_norm(self.mix(attention(query, key, value, self.heads, mask=mask, bias=bias)) + x)
        gate, inner = self.gated(x).chunk(2, dim=-1)
        normed: torch.Tensor = self.narrow_norm(self.narrow(gelu(gate) * inner) + x)
        return normed


class MosaicBert(Network):
    """Words and the first token type through the blocks, into a head or none."""

    inputs = (GraphInput(INPUT_IDS), GraphInput(ATTENTION_MASK))

    def __init__(self, shape: MosaicShape, head: Head | None) -> None:
        super().__init__()
        self.words = nn.Embedding(shape.vocabulary, shape.width)
        self.types = nn.Embedding(shape.types, shape.width)
        self.norm = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.layers = nn.ModuleList(MosaicBlock(shape) for _ in range(shape.layers))
        self.head = head
        self.slopes = alibi_slopes(shape.heads)

    def forward(self, *inputs: torch.Tensor) -> Outputs:
        ids, mask = inputs
        x = self.norm(self.words(ids) + self.types.weight[0])
        bias = alibi_bias(x, self.slopes)
        for layer in self.layers:
            x = layer(x, mask, bias)
        outputs = {"last_hidden_state": x}
        if self.head is not None:
            outputs["logits"] = self.head(x, self.words.weight)
        return outputs
