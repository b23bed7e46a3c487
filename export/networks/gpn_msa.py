"""GPN-MSA (Benegas et al. 2025): attention over a window of a genome, with the bases of other species aligned to it.

RoFormer blocks (Su et al. 2021) with their norms behind each step. A base and those of its aligned species come in as
channels that are 1, so there is no table of embeddings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from export.network import INPUT_IDS, GraphInput, Network, Outputs
from export.networks.joint import JointLinear
from export.operators.attention import attention
from export.operators.channels import channels
from export.operators.engine import exporting
from export.operators.rotary import rotary

AUX_FEATURES = "aux_features"


@dataclass(frozen=True, slots=True)
class GpnMsaShape:
    """What a configuration says about the network."""

    vocabulary: int
    species: int
    species_vocabulary: int
    width: int
    inner: int
    heads: int
    layers: int
    positions: int
    epsilon: float
    activation: Callable[[torch.Tensor], torch.Tensor]
    turns_values: bool
    """Whether values are rotated as queries and keys are."""


class _Block(nn.Module):
    def __init__(self, shape: GpnMsaShape) -> None:
        super().__init__()
        width = shape.width
        self.shape = shape
        self.qkv = JointLinear(width, {"query": width, "key": width, "value": width})
        self.mix = nn.Linear(width, width)
        self.mix_norm = nn.LayerNorm(width, eps=shape.epsilon)
        self.widen = nn.Linear(width, shape.inner)
        self.narrow = nn.Linear(shape.inner, width)
        self.narrow_norm = nn.LayerNorm(width, eps=shape.epsilon)

    def forward(self, x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
        query, key, value = self.qkv(x)
        heads = self.shape.heads
        query, key = (rotary(each, cosines, sines, heads, interleaved=True) for each in (query, key))
        if self.shape.turns_values:
            value = rotary(value, cosines, sines, heads, interleaved=True)
        x = self.mix_norm(self.mix(attention(query, key, value, heads)) + x)
        normed: torch.Tensor = self.narrow_norm(self.narrow(self.shape.activation(self.widen(x))) + x)
        return normed


class GpnMsaNetwork(Network):
    """Aligned bases → blocks → with ``words``, scores of each word at each base."""

    def __init__(self, shape: GpnMsaShape, *, words: bool) -> None:
        super().__init__()
        self.shape = shape
        if shape.species:
            aligned = GraphInput(
                AUX_FEATURES, ("batch", "length", shape.species), torch.int64, below=shape.species_vocabulary
            )
            self.inputs = (GraphInput(INPUT_IDS), aligned)
        self.example_length = min(self.example_length, shape.positions)
        self.positions = nn.Parameter(torch.zeros(shape.positions, shape.width // shape.heads))
        self.blocks = nn.ModuleList(_Block(shape) for _ in range(shape.layers))
        self.head: nn.ModuleDict | None = None
        if words:
            self.head = nn.ModuleDict(
                {
                    "dense": nn.Linear(shape.width, shape.width),
                    "norm": nn.LayerNorm(shape.width, eps=shape.epsilon),
                    "decoder": nn.Linear(shape.width, shape.vocabulary),
                }
            )

    def forward(self, *inputs: torch.Tensor) -> Outputs:
        shape = self.shape
        x = channels(inputs[0], shape.vocabulary, inputs[1:], shape.species_vocabulary, shape.width)
        table = self.positions if exporting() else self.positions[: x.shape[1]]
        sines, cosines = table.chunk(2, dim=-1)
        for block in self.blocks:
            x = block(x, cosines, sines)
        outputs = {"last_hidden_state": x}
        if self.head is not None:
            inner = self.head["norm"](self.shape.activation(self.head["dense"](x)))
            outputs["logits"] = self.head["decoder"](inner)
        return outputs
