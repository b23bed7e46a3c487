"""StripedHyena 1 and 2 (Evo, Nguyen et al. 2024; Evo 2, Brixi et al. 2025): convolutions and attention in stripes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from export.network import ATTENTION_MASK, INPUT_IDS, GraphInput, Network, Outputs
from export.operators.attention import attention
from export.operators.block_convolution import block_convolution, block_spectrum
from export.operators.float8 import float8_linear
from export.operators.gelu import gelu
from export.operators.linear import tied_linear
from export.operators.long_convolution import SHORT, Spectrum, first_taps, long_convolution, radix_for, spectrum
from export.operators.rotary import rotary
from export.operators.short_convolution import short_convolution

Mixing = Literal["attention", "short", "medium", "real", "complex"]
"""What mixes positions: attention, or a convolution with a few taps, with a hundred, or with sums of real or complex
exponentials as long as the row."""


@dataclass(frozen=True, slots=True)
class StripedShape:
    """The sizes and switches of a StripedHyena model."""

    width: int
    heads: int
    inner: int
    vocabulary: int
    mixing: tuple[Mixing, ...]
    """Of each block."""
    active: tuple[bool, ...]
    """Whether the gate of each block's feed-forward passes through a gelu."""
    taps: tuple[int, ...]
    """Of each block's convolution; 0 where it has none, or one as long as the row."""
    groups: tuple[int, ...]
    """Different filters of each block's convolution; each serves as many channels, one beside the other."""
    modes: int
    """Exponentials of a long filter."""
    featuriser: int
    """Taps of the convolution in front of the gates."""
    epsilon: float
    longest: int
    positions_per_step: float
    """By how much rotary positions are stretched."""
    input_bias: bool
    featuriser_bias: bool
    attention_bias: bool
    output_bias: bool
    tied: bool
    final_norm: bool


@dataclass(frozen=True, slots=True)
class Pass:
    """What the blocks of one pass share: tables of the rotary embedding and of the long convolutions, and the mask
    (batch × length × 1) if there is one."""

    cosines: torch.Tensor | None
    sines: torch.Tensor | None
    shared: Spectrum | None
    mask: torch.Tensor | None

    def masked(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` with nothing at padding."""
        return x if self.mask is None else x * self.mask


class RootMeanSquare(nn.Module):
    """``scale ⊙ x / (root of the mean of x² + epsilon)``: epsilon stands outside the root."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        root = torch.linalg.vector_norm(x, dim=-1, keepdim=True) * (x.shape[-1] ** -0.5)
        return x / (root + self.epsilon) * self.scale


class _FeedForward(nn.Module):
    def __init__(self, shape: StripedShape, *, active: bool) -> None:
        super().__init__()
        self.l1 = nn.Linear(shape.width, shape.inner, bias=False)
        self.l2 = nn.Linear(shape.width, shape.inner, bias=False)
        self.l3 = nn.Linear(shape.inner, shape.width, bias=False)
        self.active = active

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = gelu(self.l1(x)) if self.active else self.l1(x)
        found: torch.Tensor = self.l3(gate * self.l2(x))
        return found


class Attention(nn.Module):
    """Causal attention with rotary positions; rows of ``Wqkv`` are queries, keys, values."""

    def __init__(self, shape: StripedShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.Wqkv = nn.Linear(shape.width, 3 * shape.width, bias=shape.input_bias)
        self.out_proj = nn.Linear(shape.width, shape.width, bias=shape.attention_bias)

    def forward(self, x: torch.Tensor, this: Pass) -> torch.Tensor:
        assert this.cosines is not None
        assert this.sines is not None
        query, key, value = self.Wqkv(x).chunk(3, dim=-1)
        query = rotary(query, this.cosines, this.sines, self.heads)
        key = rotary(key, this.cosines, this.sines, self.heads)
        found: torch.Tensor = self.out_proj(attention(query, key, value, self.heads, causal=True))
        return found


class Filter(nn.Module):
    """The convolution between the gates: batch × length × width."""

    def settle(self) -> None:
        """What follows from the weights alone, computed once they are there."""

    def fold(self) -> None:
        """Taps as long as the longest row, computed once and for all. Only long filters have such."""

    def forward(self, x: torch.Tensor, this: Pass) -> torch.Tensor:
        """The convolution, and nothing at padding."""
        raise NotImplementedError


class _Taps(Filter):
    """A filter of a few taps, the last of which stands at the position itself."""

    def __init__(self, shape: StripedShape, taps: int, groups: int) -> None:
        super().__init__()
        self.h = nn.Parameter(torch.zeros(groups, 1, taps))
        self.each = shape.width // groups
        self.register_buffer("table", torch.zeros(0), persistent=False)
        self.table: torch.Tensor

    def settle(self) -> None:
        self.table = self.h.detach()[:, 0].repeat_interleave(self.each, dim=0).T.contiguous()

    def forward(self, x: torch.Tensor, this: Pass) -> torch.Tensor:
        return this.masked(short_convolution(x, self.table))


class _LongTaps(Filter):
    """A filter of a hundred taps, the first of which stands at the position itself, and a skip connection ``D``."""

    def __init__(self, shape: StripedShape, taps: int, groups: int) -> None:
        super().__init__()
        self.h = nn.Parameter(torch.zeros(groups, 1, taps))
        self.D = nn.Parameter(torch.zeros(shape.width))
        self.each = shape.width // groups
        self.register_buffer("table", torch.zeros(0), persistent=False)
        self.register_buffer("spectrum", torch.zeros(0), persistent=False)
        self.table: torch.Tensor
        self.spectrum: torch.Tensor

    def settle(self) -> None:
        self.table = self.h.detach()[:, 0].repeat_interleave(self.each, dim=0).T.clone()
        self.table[0] += self.D.detach()
        self.spectrum = block_spectrum(self.table)

    def forward(self, x: torch.Tensor, this: Pass) -> torch.Tensor:
        return this.masked(block_convolution(x, self.table, self.spectrum))


class _Modal(Filter):
    """A filter that is a sum of exponentials, ``h[t] = sum of r exp(t p)``, and a skip connection ``D``.

    It is evaluated as the published models do, with the products ``t p`` in single precision.
    """

    def __init__(self, shape: StripedShape) -> None:
        super().__init__()
        self.longest, self.modes = shape.longest, shape.modes
        self.D = nn.Parameter(torch.zeros(shape.width))
        self.register_buffer("folded", torch.zeros(0), persistent=False)
        self.register_buffer("first", torch.zeros(0), persistent=False)
        self.folded: torch.Tensor
        self.first: torch.Tensor

    def settle(self) -> None:
        self.first = first_taps(self.made(SHORT).detach())

    def fold(self) -> None:
        with torch.no_grad():
            self.folded = self.made(self.longest)

    def made(self, length: int) -> torch.Tensor:
        """The taps: length × width, the skip connection part of the first."""
        times = torch.arange(length, dtype=torch.float32)[:, None]
        taps = self.mode(times, 0)
        for number in range(1, self.modes):
            taps = taps + self.mode(times, number)
        return torch.cat((taps[:1] + self.D, taps[1:]))

    def mode(self, times: torch.Tensor, number: int) -> torch.Tensor:
        """One of the exponentials at ``times`` (length × 1): length × width."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor, this: Pass) -> torch.Tensor:
        assert this.shared is not None
        return this.masked(long_convolution(x, self.taps, self.first, this.shared))

    def taps(self, length: int) -> torch.Tensor:
        """As `made`, from the table if there is one."""
        return self.folded[:length] if len(self.folded) else self.made(length)


class _RealModal(_Modal):
    def __init__(self, shape: StripedShape, groups: int) -> None:
        super().__init__(shape)
        self.log_poles = nn.Parameter(torch.zeros(groups, shape.modes, 1))
        self.residues = nn.Parameter(torch.zeros(groups, shape.modes))
        self.each = shape.width // groups

    def mode(self, times: torch.Tensor, number: int) -> torch.Tensor:
        poles, residues = self.log_poles[:, number, 0], self.residues[:, number]
        taps = residues * torch.exp(times * poles)
        return taps if self.each == 1 else taps.repeat_interleave(self.each, dim=1)


class _ComplexModal(_Modal):
    """Poles and residues are published as real and imaginary part."""

    def __init__(self, shape: StripedShape) -> None:
        super().__init__(shape)
        self.poles = nn.Parameter(torch.zeros(shape.width, shape.modes, 1, 2))
        self.residues = nn.Parameter(torch.zeros(shape.width, shape.modes, 1, 2))
        self.register_buffer("logs", torch.zeros(0), persistent=False)
        self.logs: torch.Tensor

    def settle(self) -> None:
        self.logs = torch.view_as_real(torch.view_as_complex(self.poles.detach()).log())
        super().settle()

    def mode(self, times: torch.Tensor, number: int) -> torch.Tensor:
        log, residue = self.logs[:, number, 0], self.residues[:, number, 0]
        angles = times * log[:, 1]
        turned = residue[:, 0] * torch.cos(angles) - residue[:, 1] * torch.sin(angles)
        return turned * torch.exp(times * log[:, 0])


class Convolution(nn.Module):
    """``x2 ⊙ (filter ∗ (x1 ⊙ v))``; rows of the projection are x2, x1, v."""

    def __init__(self, shape: StripedShape, mixing: Mixing, taps: int, groups: int) -> None:
        super().__init__()
        width = shape.width
        self.projections = nn.Linear(width, 3 * width, bias=shape.input_bias)
        self.out_filter_dense = nn.Linear(width, width, bias=shape.output_bias)
        self.short_filter_weight = nn.Parameter(torch.zeros(3 * width, 1, shape.featuriser))
        self.short_filter_bias = nn.Parameter(torch.zeros(3 * width)) if shape.featuriser_bias else None
        self.filter: Filter
        if mixing == "short":
            self.filter = _Taps(shape, taps, groups)
        elif mixing == "medium":
            self.filter = _LongTaps(shape, taps, groups)
        else:
            self.filter = _RealModal(shape, groups) if mixing == "real" else _ComplexModal(shape)
        self.float8: float | None = None

    def forward(self, x: torch.Tensor, this: Pass) -> torch.Tensor:
        if self.float8 is None:
            projected = self.projections(x)
        else:
            projected = float8_linear(x, self.projections.weight, self.projections.bias, self.float8)
        weights = self.short_filter_weight[:, 0].T
        mixed = this.masked(short_convolution(this.masked(projected), weights, self.short_filter_bias))
        x2, x1, v = mixed.chunk(3, dim=-1)
        found: torch.Tensor = self.out_filter_dense(x2 * self.filter(x1 * v, this))
        return found


class _Block(nn.Module):
    def __init__(self, shape: StripedShape, number: int) -> None:
        super().__init__()
        mixing = shape.mixing[number]
        self.pre_norm = RootMeanSquare(shape.width, shape.epsilon)
        self.post_norm = RootMeanSquare(shape.width, shape.epsilon)
        self.mlp = _FeedForward(shape, active=shape.active[number])
        self.mixer: Attention | Convolution
        if mixing == "attention":
            self.mixer = Attention(shape)
        else:
            self.mixer = Convolution(shape, mixing, shape.taps[number], shape.groups[number])

    def forward(self, x: torch.Tensor, this: Pass) -> torch.Tensor:
        x = this.masked(x + self.mixer(self.pre_norm(x), this))
        found: torch.Tensor = x + self.mlp(self.post_norm(x))
        return found


class StripedNetwork(Network):
    """Embeddings, blocks, a last norm and the decoder, which may be the embeddings.

    With ``masked``, padding can be anywhere and a second input says where; without, it must stand on the right.
    """

    relaid = r"blocks\.\d+\.mixer\.(Wqkv|projections|short_filter_)\S+"

    def __init__(self, shape: StripedShape, *, masked: bool) -> None:
        super().__init__()
        self.shape = shape
        self.inputs = (GraphInput(INPUT_IDS), GraphInput(ATTENTION_MASK))[: 1 + masked]
        self.embedding_layer = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList([_Block(shape, number) for number in range(len(shape.mixing))])
        self.norm = RootMeanSquare(shape.width, shape.epsilon) if shape.final_norm else None
        self.unembed = None if shape.tied else nn.Linear(shape.width, shape.vocabulary, bias=False)
        self.radix = radix_for(shape.longest)
        self.register_buffer("speeds", torch.zeros(0), persistent=False)
        self.speeds: torch.Tensor

    def published(self) -> dict[str, torch.Tensor]:
        parameters = dict(self.named_parameters())
        return {own: parameters[own].detach()[rows.argsort()] for own, rows in self.rows.items() if own in parameters}

    def mixers(self) -> Iterator[Attention | Convolution]:
        """What mixes positions in each block, from the first to the last."""
        for block in self.blocks:
            assert isinstance(block, _Block)
            yield block.mixer

    def settle(self, speeds: torch.Tensor, *, columns: torch.Tensor, attention_rows: torch.Tensor, fold: bool) -> None:
        """What follows from the weights alone, computed once they are there.

        ``speeds`` are the angles per position of the pairs of a head. ``columns`` and ``attention_rows`` (3 · width)
        say which published row of a block's projection is which of x2, x1, v and of queries, keys, values.
        """
        self.speeds = speeds.to(torch.float32)
        self.rows = {}
        with torch.no_grad():
            for number, mixer in enumerate(self.mixers()):
                at, attends = f"blocks.{number}.mixer.", isinstance(mixer, Attention)
                for own in _REORDERED["attention" if attends else "convolution"]:
                    self.rows[at + own] = attention_rows if attends else columns
                if isinstance(mixer, Attention):
                    _reorder(mixer.Wqkv.weight, mixer.Wqkv.bias, rows=attention_rows)
                else:
                    projection = mixer.projections
                    _reorder(projection.weight, projection.bias, rows=columns)
                    _reorder(mixer.short_filter_weight, mixer.short_filter_bias, rows=columns)
                    mixer.filter.settle()
                    if fold:
                        mixer.filter.fold()

    def forward(self, *inputs: torch.Tensor) -> Outputs:
        x = self.embedding_layer(inputs[0])
        this = self._pass(x, inputs[1:])
        x = this.masked(x)
        for block in self.blocks:
            x = block(x, this)
        hidden = x if self.norm is None else self.norm(x)
        logits = tied_linear(hidden, self.embedding_layer.weight) if self.unembed is None else self.unembed(hidden)
        return {"logits": logits, "last_hidden_state": hidden}

    def _pass(self, x: torch.Tensor, masks: Sequence[torch.Tensor]) -> Pass:
        cosines = sines = None
        if "attention" in self.shape.mixing:
            times = torch.arange(x.shape[1], dtype=torch.float32) / self.shape.positions_per_step
            angles = times[:, None] * self.speeds
            cosines, sines = angles.cos(), angles.sin()
        long = {"real", "complex"} & set(self.shape.mixing)
        mask = masks[0][:, :, None].to(x.dtype) if masks else None
        return Pass(cosines, sines, spectrum(x, self.radix) if long else None, mask)


_REORDERED = {
    "attention": ("Wqkv.weight", "Wqkv.bias"),
    "convolution": ("projections.weight", "projections.bias", "short_filter_weight", "short_filter_bias"),
}
"""Parameters of a mixer whose rows `StripedNetwork.settle` brings into another order."""


def _reorder(*tensors: torch.Tensor | None, rows: torch.Tensor) -> None:
    for tensor in tensors:
        if tensor is not None:
            tensor.copy_(tensor[rows].clone())
