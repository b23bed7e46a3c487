"""Nucleotide Transformer v3 in plain torch: convolutions halve the row, a transformer, convolutions double it.

Modules and parameters have the published names and shapes. `Ntv3Network.fold` then turns them into what is computed.
Everything in between is (batch × length × channels).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from export.network import GraphInput, Network, Outputs
from export.operators.attention import attention
from export.operators.gelu import gelu
from export.operators.rotary import rotary, rotary_tables

STEM_KERNEL, KERNEL = 15, 5
ROTARY_BASE = 10000.0
_EPS = 1e-5
"""Of the norms before convolutions; the configuration's is that of the transformer's."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Every size and switch of a network."""

    vocabulary: int
    token: int
    first: int
    """Channels at the row's full length."""
    width: int
    """Channels in the transformer."""
    halvings: int
    layers: int
    heads: int
    head_size: int
    feed_forward: int
    eps: float
    repeats: bool
    """A row is doubled by repeating its positions; otherwise by zeros between them."""
    odd: bool
    """Zeros come before the positions; otherwise behind them."""
    skips: bool
    head: bool
    head_layers: int
    filler: int
    """The id that a row is filled up with."""

    @property
    def widths(self) -> list[int]:
        """Channels after the stem and after each halving."""
        return [int(each) for each in np.linspace(self.first, self.width, self.halvings + 1)]


class _Pointwise(nn.Module):
    """A linear layer, published as a convolution (out × in × 1) or a transposed one (in × out × 1)."""

    def __init__(self, width: int, *, transposed: bool) -> None:
        super().__init__()
        self.transposed = transposed
        self.weight = nn.Parameter(torch.zeros(width, width, 1))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight[:, :, 0]
        return x @ weight + self.bias if self.transposed else functional.linear(x, weight, self.bias)

    def folded(self) -> nn.Module:
        """The same as a linear layer."""
        linear = nn.Linear(*self.weight.shape[:2])
        weight = self.weight.detach()[:, :, 0]
        with torch.no_grad():
            linear.weight.copy_(weight.T if self.transposed else weight)
            linear.bias.copy_(self.bias)
        return linear


class _Along(nn.Conv1d):
    """A convolution along the row."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class _Doubling(nn.Module):
    """A row twice as long, as published: stretched, then a correlation with a kernel of five.

    The kernel is (out × in × 5) behind repeated positions and (in × out × 5) behind inserted zeros; it is not turned
    round in either case.
    """

    def __init__(self, width: int, out: int, *, repeats: bool, odd: bool) -> None:
        super().__init__()
        self.repeats, self.odd = repeats, odd
        self.weight = nn.Parameter(torch.zeros((out, width, KERNEL) if repeats else (width, out, KERNEL)))
        self.bias = nn.Parameter(torch.zeros(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.repeats:
            stretched = x.repeat_interleave(2, dim=1)
            weight: torch.Tensor = self.weight
        else:
            pair = (torch.zeros_like(x), x) if self.odd else (x, torch.zeros_like(x))
            stretched = torch.stack(pair, dim=2).flatten(1, 2)
            weight = self.weight.transpose(0, 1)
        return functional.conv1d(stretched.transpose(1, 2), weight, self.bias, padding=KERNEL // 2).transpose(1, 2)

    def folded(self) -> nn.Module:
        """The same without the stretched row: a kernel of three, with outputs for even and for odd positions."""
        weight = self.weight.detach()
        k = (weight if self.repeats else weight.transpose(0, 1)).unbind(-1)
        none = torch.zeros_like(k[0])
        if self.repeats:
            even, odd = (k[0] + k[1], k[2] + k[3], k[4]), (k[0], k[1] + k[2], k[3] + k[4])
        elif self.odd:
            even, odd = (k[1], k[3], none), (k[0], k[2], k[4])
        else:
            even, odd = (k[0], k[2], k[4]), (none, k[1], k[3])
        folded = _FoldedDoubling(k[0].shape[1], len(self.bias))
        with torch.no_grad():
            folded.both.weight.copy_(torch.cat([torch.stack(even, -1), torch.stack(odd, -1)]))
            bias = folded.both.bias
            assert bias is not None
            bias.copy_(self.bias.repeat(2))
        return folded


class _FoldedDoubling(nn.Module):
    """Even and odd positions of the doubled row, next to each other in the channels and then in the row."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.out = out
        self.both = nn.Conv1d(width, 2 * out, 3, padding=1)
        assert self.both.bias is not None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        both: torch.Tensor = self.both(x.transpose(1, 2)).transpose(1, 2)
        return both.reshape(x.shape[0], 2 * x.shape[1], self.out)


class _Normed(nn.Module):
    """Norm over the channels, convolution, gelu."""

    def __init__(self, width: int, conv: nn.Module) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(width, _EPS)
        self.conv = conv

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return gelu(self.conv(self.layer_norm(x)), tanh=True)

    def fold(self) -> None:
        """Puts what is computed in the place of what is published."""
        if isinstance(self.conv, (_Pointwise, _Doubling)):
            self.conv = self.conv.folded()


class _Step(nn.Module):
    """A convolution, and a pointwise one around which the sum goes."""

    def __init__(self, width: int, out: int, conv: nn.Module, *, transposed: bool) -> None:
        super().__init__()
        self.conv = _Normed(width, conv)
        self.res_conv = nn.ModuleDict({"conv_block": _Normed(out, _Pointwise(out, transposed=transposed))})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv(x)
        return y + self.res_conv["conv_block"](y)


class _Attention(nn.Module):
    """Attention whose queries and keys are turned by their position in the shortened row."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, inner = shape.heads, shape.heads * shape.head_size
        self.query_head, self.key_head, self.value_head = (
            nn.ModuleDict({"linear": nn.Linear(shape.width, inner)}) for _ in range(3)
        )
        self.mha_output = nn.Linear(inner, shape.width)

    def forward(self, x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
        query = rotary(self.query_head["linear"](x), cosines, sines, self.heads)
        key = rotary(self.key_head["linear"](x), cosines, sines, self.heads)
        out: torch.Tensor = self.mha_output(attention(query, key, self.value_head["linear"](x), self.heads))
        return out


class _Layer(nn.Module):
    """Attention, then a gated feed-forward layer, each behind a norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attention_layer_norm = nn.LayerNorm(shape.width, shape.eps)
        self.sa_layer = _Attention(shape)
        self.final_layer_norm = nn.LayerNorm(shape.width, shape.eps)
        self.fc1 = nn.Linear(shape.width, 2 * shape.feed_forward, bias=False)
        self.fc2 = nn.Linear(shape.feed_forward, shape.width, bias=False)

    def forward(self, x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
        x = x + self.sa_layer(self.self_attention_layer_norm(x), cosines, sines)
        gate, value = self.fc1(self.final_layer_norm(x)).chunk(2, dim=-1)
        down: torch.Tensor = self.fc2(functional.silu(gate) * value)
        return x + down


class Ntv3Network(Network):
    """Ids to a score for each token of the alphabet, at each base; rows of any length.

    A row is filled up on the right to a whole number of the transformer's positions, and the outputs are cut back.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.inputs = (GraphInput("input_ids", below=shape.vocabulary),)
        self.example_length = 3 << shape.halvings
        steps = list(zip(shape.widths, shape.widths[1:], strict=False))
        self.embed_layer = nn.Embedding(shape.vocabulary, shape.token)
        self.stem = nn.ModuleDict({"conv": _Along(shape.token, shape.first, STEM_KERNEL, padding=STEM_KERNEL // 2)})
        self.conv_tower_blocks = nn.ModuleList(
            _Step(narrow, wide, _Along(narrow, wide, KERNEL, padding=KERNEL // 2), transposed=False)
            for narrow, wide in steps
        )
        self.transformer_blocks = nn.ModuleList(_Layer(shape) for _ in range(shape.layers))
        self.deconv_tower_blocks = nn.ModuleList(
            _Step(wide, narrow, _Doubling(wide, narrow, repeats=shape.repeats, odd=shape.odd), transposed=True)
            for narrow, wide in reversed(steps)
        )
        if shape.head:
            # Hidden layers are as wide as the transformer, so there are some only where the whole network is.
            hidden = nn.ModuleList(nn.Linear(shape.width, shape.width) for _ in range(shape.head_layers))
            self.lm_head = nn.ModuleDict({"hidden_layers": hidden, "head": nn.Linear(shape.first, shape.vocabulary)})

    def fold(self) -> None:
        """Turns the published parameters into those that are computed with, after they were filled."""
        for module in list(self.modules()):
            if isinstance(module, _Normed):
                module.fold()

    def forward(self, *inputs: torch.Tensor) -> Outputs:
        shape, ids = self.shape, inputs[0]
        batch, length = ids.shape
        whole = 1 << shape.halvings
        places = (length + whole - 1) // whole
        ids = functional.pad(ids, (0, whole - 1), value=shape.filler)[:, : places * whole]
        x = gelu(self.stem["conv"](self.embed_layer(ids)), tanh=True)
        skipped = []
        for number, step in enumerate(self.conv_tower_blocks):
            skipped.append(x)
            x = step(x)
            x = x.reshape(batch, places * (whole >> (number + 1)), 2, x.shape[-1]).mean(2)
        tables = rotary_tables(x, shape.head_size, base=ROTARY_BASE)
        for layer in self.transformer_blocks:
            x = layer(x, *tables)
        for step in self.deconv_tower_blocks:
            x = step(x)
            before = skipped.pop()
            if shape.skips:
                x = x + before
        x = x[:, :length]
        outputs = {"last_hidden_state": x}
        if shape.head:
            y = gelu(x, tanh=True)
            hidden = self.lm_head["hidden_layers"]
            assert isinstance(hidden, nn.ModuleList)
            for layer in hidden:
                y = gelu(layer(y), tanh=True)
            outputs["logits"] = self.lm_head["head"](y)
        return outputs
