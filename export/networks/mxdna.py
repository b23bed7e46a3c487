"""MxDNA (Qiao et al. 2024): single bases, then units that the model itself cuts the row into, and back to bases.

    bases ─▶ blocks ─▶ conversion: rate, choose, merge, pack, deform ─▶ blocks ─▶ units ─▶ decoder ─▶ bases

The units of a row are packed to the left; as many places are computed as the row with most units has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from torch.nn import functional

from export.network import ATTENTION_MASK, INPUT_IDS, GraphInput, Network, Outputs
from export.networks.heads import Head, Nonlinearity
from export.networks.joint import JointLinear
from export.operators.attention import attention
from export.operators.deformable_convolution import DeformableConvolution
from export.operators.engine import exporting
from export.operators.gated import silu
from export.operators.rotary import rotary, rotary_tables
from export.operators.suppression import choose_windows, window_of

EXPERT_EPSILON = 1e-5
"""Of the norm inside an expert, whatever the configuration says."""
Turns = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True)
class MxdnaShape:
    """What a checkpoint says about the network."""

    vocabulary: int
    width: int
    heads: int
    shared_heads: int
    """Heads of keys and values; each serves as many heads of queries."""
    inner: int
    base_layers: int
    unit_layers: int
    experts: tuple[tuple[int, int], ...]
    """Of each kind of unit, its bases and the groups of channels in which it merges them."""
    taps: int
    """Of the deformable convolution."""
    epsilon: float
    turning: float
    """Base of the speeds at which positions turn queries and keys."""
    activation: Nonlinearity
    special: tuple[int, ...]
    """Ids that are no part of the sequence."""
    independent: bool
    """Whether padding behind a row's units is hidden from the convolution that steers the deformable one. As published,
    it is seen: the last unit of a row depends on whether another row of the batch has more."""


class _Attention(nn.Module):
    """What the positions of one row see of another row, or of their own."""

    def __init__(self, shape: MxdnaShape) -> None:
        super().__init__()
        self.heads, self.shared = shape.heads, shape.shared_heads
        self.size = shape.width // shape.heads
        self.projection_o = nn.Linear(shape.width, shape.width, bias=False)

    def attend(
        self, projected: tuple[torch.Tensor, ...], mask: torch.Tensor, turns: Turns, turns_seen: Turns
    ) -> torch.Tensor:
        query, key, value = projected
        query = rotary(query, *turns, self.heads)
        key = rotary(key, *turns_seen, self.shared)
        if self.shared != self.heads:
            key, value = (self._repeated(each) for each in (key, value))
        seen: torch.Tensor = self.projection_o(attention(query, key, value, self.heads, mask=mask))
        return seen

    def _repeated(self, x: torch.Tensor) -> torch.Tensor:
        split = x.unflatten(-1, (self.shared, 1, self.size))
        return split.expand(-1, -1, -1, self.heads // self.shared, -1).flatten(2)


class _SelfAttention(_Attention):
    def __init__(self, shape: MxdnaShape) -> None:
        super().__init__(shape)
        kept = self.shared * self.size
        sizes = {"projection_q": shape.width, "projection_k": kept, "projection_v": kept}
        self.projections = JointLinear(shape.width, sizes, bias=False)

    def forward(self, x: torch.Tensor, mask: torch.Tensor, turns: Turns) -> torch.Tensor:
        return self.attend(self.projections(x), mask, turns, turns)


class _CrossAttention(_Attention):
    def __init__(self, shape: MxdnaShape) -> None:
        super().__init__(shape)
        kept = self.shared * self.size
        self.projection_q = nn.Linear(shape.width, shape.width, bias=False)
        self.projections = JointLinear(shape.width, {"projection_k": kept, "projection_v": kept}, bias=False)

    def forward(
        self, x: torch.Tensor, seen: torch.Tensor, mask: torch.Tensor, turns: Turns, turns_seen: Turns
    ) -> torch.Tensor:
        return self.attend((self.projection_q(x), *self.projections(seen)), mask, turns, turns_seen)


class _FeedForward(nn.Module):
    """Each position by itself: the activation of one half of a wider layer times the other."""

    def __init__(self, shape: MxdnaShape) -> None:
        super().__init__()
        self.wide = JointLinear(shape.width, {"w1": shape.inner, "w3": shape.inner}, bias=False)
        self.w2 = nn.Linear(shape.inner, shape.width, bias=False)
        self.activation = shape.activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, passed = self.wide(x)
        narrow: torch.Tensor = self.w2(self.activation(gate) * passed)
        return narrow


class _Block(nn.Module):
    """Attention, then feed-forward, each behind a norm and added to what came in."""

    def __init__(self, shape: MxdnaShape) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.self_attn = _SelfAttention(shape)
        self.post_attention_layernorm = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.ffn = _FeedForward(shape)

    def forward(self, x: torch.Tensor, mask: torch.Tensor, turns: Turns) -> torch.Tensor:
        x = x + self.self_attn(self.input_layernorm(x), mask, turns)
        fed: torch.Tensor = self.ffn(self.post_attention_layernorm(x))
        return x + fed


class _Decoder(nn.Module):
    """Bases that look at the units; both pass the same norm."""

    def __init__(self, shape: MxdnaShape) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.cross_attn = _CrossAttention(shape)
        self.post_attention_layernorm = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.ffn = _FeedForward(shape)

    def forward(
        self, x: torch.Tensor, units: torch.Tensor, mask: torch.Tensor, turns: Turns, turns_seen: Turns
    ) -> torch.Tensor:
        seen = self.input_layernorm(units)
        x = x + self.cross_attn(self.input_layernorm(x), seen, mask, turns, turns_seen)
        fed: torch.Tensor = self.ffn(self.post_attention_layernorm(x))
        return x + fed


class _Expert(nn.Module):
    """Units of one kind: (units · bases × width) in, one vector each (units × width) out."""

    def __init__(self, width: int, bases: int, groups: int) -> None:
        super().__init__()
        self.width, self.bases, self.groups = width, bases, groups
        self.pointwise_conv_pre = nn.Linear(width, 2 * width, bias=False)
        self.grouped_conv = nn.Conv1d(width, width, bases, stride=bases, groups=groups, bias=False)
        self.norm = nn.LayerNorm(width, eps=EXPERT_EPSILON)
        self.pointwise_conv_post = nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        merged = self.norm(self._merged(functional.glu(self.pointwise_conv_pre(x), dim=-1)))
        unit: torch.Tensor = self.pointwise_conv_post(silu(merged))
        return unit

    def _merged(self, x: torch.Tensor) -> torch.Tensor:
        """The convolution, whose steps are as wide as its taps: in the graph, one product for each group."""
        if not exporting():
            merged: torch.Tensor = self.grouped_conv(x.unflatten(0, (-1, self.bases)).transpose(1, 2))
            return merged[:, :, 0]
        size = self.width // self.groups
        rows = (
            x.reshape(-1, self.bases, self.groups, size).permute(2, 0, 1, 3).reshape(self.groups, -1, self.bases * size)
        )
        taps = self.grouped_conv.weight.unflatten(0, (self.groups, size)).permute(0, 3, 2, 1)
        return torch.matmul(rows, taps.reshape(self.groups, self.bases * size, size)).transpose(0, 1).flatten(1)


@dataclass(frozen=True, slots=True)
class _Units:
    """The units of a batch: batch × units × width; their mask; and the number of the unit of each base."""

    states: torch.Tensor
    mask: torch.Tensor
    owners: torch.Tensor


class _Conversion(nn.Module):
    """Cuts rows into units: rates every window, chooses greedily, merges what each holds, and packs them."""

    def __init__(self, shape: MxdnaShape) -> None:
        super().__init__()
        self.sizes = tuple(bases for bases, _ in shape.experts)
        self.independent = shape.independent
        self.input_layernorm = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.gate = nn.Linear(shape.width, len(shape.experts), bias=False)
        self.experts = nn.ModuleList(_Expert(shape.width, *expert) for expert in shape.experts)
        self.deform_norm = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.deform = DeformableConvolution(shape.width, shape.taps)

    def forward(self, x: torch.Tensor, special: torch.Tensor, mask: torch.Tensor) -> _Units:
        """``x`` and ``mask`` as in a block; ``special`` (batch × length, truth values) marks what is no base."""
        hidden = self.input_layernorm(x)
        ratings = self.gate(torch.where(special[:, :, None], 0.0, hidden))
        kinds = choose_windows(ratings, mask.sum(1), self.sizes)
        alone = special & mask.to(torch.bool) & (kinds < 0)
        shares = ratings.softmax(-1).flatten(0, 1)
        flat, flat_hidden, flat_kinds = x.flatten(0, 1), hidden.flatten(0, 1), kinds.flatten()
        places, starts, merged = [], [], []
        for number, expert in enumerate(self.experts):
            at = (flat_kinds == number).nonzero()[:, 0]
            first, last = window_of(self.sizes[number])
            inside = (at[:, None] + torch.arange(first, last + 1)).flatten()
            unit = expert(flat_hidden.index_select(0, inside)) * shares[:, number].index_select(0, at)[:, None]
            places.append(at)
            starts.append(at + first)
            merged.append(flat.index_select(0, at) + unit)
        at = alone.flatten().nonzero()[:, 0]
        every = torch.cat((*places, at))
        values = torch.cat((*merged, flat.index_select(0, at)))
        return self._packed(values, every, torch.cat((*starts, at)), special, (kinds >= 0) | alone)

    def _packed(
        self, values: torch.Tensor, every: torch.Tensor, starts: torch.Tensor, special: torch.Tensor, kept: torch.Tensor
    ) -> _Units:
        """Units in the order of their rows; ``every`` and ``starts`` are the places of their centres and first bases in
        the batch, ``kept`` marks the centres."""
        batch, length = kept.shape
        counts = kept.sum(1)
        most = cast(int, counts.max().clamp(min=1).item())
        order = kept.to(torch.int64).cumsum(1) - 1 + most * torch.arange(batch)[:, None]
        slots = order.flatten().index_select(0, every)
        states = values.new_zeros((batch * most, values.shape[1])).index_copy(0, slots, values)
        content = (~special).flatten().to(values.dtype).index_select(0, every)
        seen = values.new_zeros((batch * most,)).index_copy(0, slots, content)
        mask = torch.arange(most) < counts[:, None]
        states, seen = states.unflatten(0, (batch, most)), seen.unflatten(0, (batch, most))
        normed = self.deform_norm(states)
        if self.independent:
            normed = torch.where(mask[:, :, None], normed, 0.0)
        begun = torch.zeros(batch * length, dtype=torch.int64).index_fill(0, starts, 1).unflatten(0, (batch, length))
        owners = (begun.cumsum(1) - 1).clamp(min=0)
        return _Units(states + self.deform(normed, seen), mask.to(torch.int64), owners)


class MxdnaNetwork(Network):
    """Rows of bases → units → a decoder and scores of every base, or scores of the row, or neither.

    The last hidden state is that of the bases behind a decoder. Without one it is that of the units, each at all of its
    bases; a base that is in no unit has that of the unit before it.
    """

    inputs = (GraphInput(INPUT_IDS), GraphInput(ATTENTION_MASK))

    def __init__(self, shape: MxdnaShape, head: Head | None, *, decodes: bool, norms_again: bool) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.nucleotide_layers = nn.ModuleList(_Block(shape) for _ in range(shape.base_layers))
        self.conversion = _Conversion(shape)
        self.token_layers = nn.ModuleList(_Block(shape) for _ in range(shape.unit_layers))
        self.unit_norm = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.decoder = _Decoder(shape) if decodes else None
        self.norm = nn.LayerNorm(shape.width, eps=shape.epsilon) if norms_again else None
        self.head = head

    def forward(self, *inputs: torch.Tensor) -> Outputs:
        ids, mask = inputs
        x = self.embed_tokens(ids)
        size = self.shape.width // self.shape.heads
        turns = rotary_tables(x, size, base=self.shape.turning)
        for layer in self.nucleotide_layers:
            x = layer(x, mask, turns)
        special = torch.stack([ids == one for one in self.shape.special]).any(dim=0)
        units = self.conversion(x, special, mask)
        states = units.states
        turns_seen = rotary_tables(states, size, base=self.shape.turning)
        for layer in self.token_layers:
            states = layer(states, units.mask, turns_seen)
        states = self.unit_norm(states)
        if self.decoder is not None:
            states = self.decoder(x, states, units.mask, turns, turns_seen)
        if self.norm is not None:
            states = self.norm(states)
        hidden = states if self.decoder is not None else _spread(states, units.owners)
        outputs = {"last_hidden_state": hidden}
        if self.head is not None:
            outputs["logits"] = self.head(states, self.embed_tokens.weight)
        return outputs


def _spread(states: torch.Tensor, owners: torch.Tensor) -> torch.Tensor:
    """The state of its unit at each base: batch × length × width."""
    batch, most, _ = states.shape
    places = (owners + most * torch.arange(batch)[:, None]).flatten()
    return states.flatten(0, 1).index_select(0, places).unflatten(0, owners.shape)
