"""The encoders of ESM and of the Nucleotide Transformers: pre-norm blocks over tokens, positions learned or rotary."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from export.network import ATTENTION_MASK, INPUT_IDS, GraphInput, Network, Outputs
from export.networks.heads import Head
from export.networks.joint import JointLinear
from export.operators.attention import attention
from export.operators.gated import gated_silu
from export.operators.gelu import gelu
from export.operators.rotary import rotary, rotary_tables

TRAINED_MASKING = 0.15 * 0.8
"""Share of ``<mask>`` among the tokens in training, to which token dropout scales the embeddings."""


@dataclass(frozen=True, slots=True)
class EsmShape:
    """What the configuration says about an encoder."""

    width: int
    heads: int
    layers: int
    inner: int
    """Channels between the two products of a feed-forward; a gated one makes twice as many first."""
    vocabulary: int
    positions: int
    """Rows of the table of learned positions."""
    epsilon: float
    rotary: bool
    """Whether positions turn queries and keys; they are learned and added to the tokens otherwise."""
    token_dropout: bool
    norm_before: bool
    """Whether the embeddings are normalised before the first block."""
    gated: bool
    feed_forward_bias: bool
    padding: int
    mask: int
    """Ids of the tokens for padding and for hidden residues (``<mask>``)."""
    left: tuple[int, ...] = ()
    """Heads of each layer, all of the same size, where some were pruned; empty: ``heads`` everywhere."""

    def heads_in(self, layer: int) -> int:
        """Of one layer."""
        return self.left[layer] if self.left else self.heads


class _Attention(nn.Module):
    """What the positions of (batch × length × width) see of each other."""

    def __init__(self, shape: EsmShape, layer: int) -> None:
        super().__init__()
        self.heads = shape.heads_in(layer)
        inner = self.heads * (shape.width // shape.heads)
        self.inputs = JointLinear(shape.width, dict.fromkeys(("query", "key", "value"), inner))
        self.output = nn.Linear(inner, shape.width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor, turns: tuple[torch.Tensor, ...]) -> torch.Tensor:
        query, key, value = self.inputs(x)
        if turns:
            query, key = (rotary(each, turns[0], turns[1], self.heads) for each in (query, key))
        seen: torch.Tensor = self.output(attention(query, key, value, self.heads, mask=mask))
        return seen


class _FeedForward(nn.Module):
    """Each position by itself, through a wider layer: gelu, or the first half's SiLU times the second half."""

    def __init__(self, shape: EsmShape) -> None:
        super().__init__()
        self.gated = shape.gated
        widened = shape.inner * (2 if shape.gated else 1)
        self.wide = nn.Linear(shape.width, widened, bias=shape.feed_forward_bias)
        self.narrow = nn.Linear(shape.inner, shape.width, bias=shape.feed_forward_bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = self.wide(x)
        narrow: torch.Tensor = self.narrow(gated_silu(wide) if self.gated else gelu(wide))
        return narrow


class _Block(nn.Module):
    """Attention, then feed-forward, each behind a norm and added to what came in."""

    def __init__(self, shape: EsmShape, layer: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.attention = _Attention(shape, layer)
        self.feed_forward_norm = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.feed_forward = _FeedForward(shape)

    def forward(self, x: torch.Tensor, mask: torch.Tensor, turns: tuple[torch.Tensor, ...]) -> torch.Tensor:
        x = x + self.attention(self.attention_norm(x), mask, turns)
        return x + self.feed_forward(self.feed_forward_norm(x))


class _Embeddings(nn.Module):
    """Tokens as vectors; 0 at padding."""

    def __init__(self, shape: EsmShape) -> None:
        super().__init__()
        self.shape = shape
        self.words = nn.Embedding(shape.vocabulary, shape.width)
        self.positions = None if shape.rotary else nn.Embedding(shape.positions, shape.width)
        self.norm = nn.LayerNorm(shape.width, eps=shape.epsilon) if shape.norm_before else None

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x: torch.Tensor = self.words(ids)
        real = mask.to(x.dtype)
        if self.shape.token_dropout:
            hidden = ids == self.shape.mask
            tokens = real.sum(1)
            shown = (tokens - hidden.to(x.dtype).sum(1)).clamp(min=1.0)
            scale = (1 - TRAINED_MASKING) * tokens / shown
            x = torch.where(hidden[:, :, None], 0.0, x) * scale[:, None, None]
        if self.positions is not None:
            counted = (ids != self.shape.padding).to(torch.int64)
            x = x + self.positions(counted.cumsum(1) * counted + self.shape.padding)
        if self.norm is not None:
            x = self.norm(x)
        return x * real[:, :, None]


class EsmNetwork(Network):
    """Embeddings, blocks, a last norm, and a head, if any, on what comes out.

    A row that is nothing but ``<mask>`` is scaled as if one token were shown; the published code divides by 0.
    """

    inputs = (GraphInput(INPUT_IDS), GraphInput(ATTENTION_MASK))

    def __init__(self, shape: EsmShape, head: Head | None) -> None:
        super().__init__()
        self.shape = shape
        self.embeddings = _Embeddings(shape)
        self.blocks = nn.ModuleList(_Block(shape, layer) for layer in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.head = head
        if not shape.rotary:
            self.example_length = min(self.example_length, shape.positions - shape.padding - 1)

    def forward(self, *inputs: torch.Tensor) -> Outputs:
        ids, mask = inputs
        x = self.embeddings(ids, mask)
        turns = rotary_tables(x, self.shape.width // self.shape.heads) if self.shape.rotary else ()
        for block in self.blocks:
            x = block(x, mask, turns)
        hidden = self.norm(x)
        outputs = {"last_hidden_state": hidden}
        if self.head is not None:
            outputs["logits"] = self.head(hidden, self.embeddings.words.weight)
        return outputs
