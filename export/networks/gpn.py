"""GPN (Benegas et al. 2023): dilated convolutions over a window of bases, without positions or masks.

Three encoders were published: ConvNet layers with their norms in front, ByteNet layers, and the first models' layers
with their norms behind. The output at a base depends on where the window ends (zeros stand beyond it).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from export.network import INPUT_IDS, GraphInput, Network, Outputs
from export.operators.channels import channels
from export.operators.dilated_convolution import DilatedConvolution
from export.operators.gelu import gelu

Encoder = Literal["convnet", "bytenet", "legacy"]
HeadKind = Literal["words", "rows", "none"]
INPUT_PROBS, AUX_FEATURES = "input_probs", "aux_features"


@dataclass(frozen=True, slots=True)
class GpnShape:
    """What a configuration says about the network."""

    encoder: Encoder
    vocabulary: int
    width: int
    inner: int
    """Channels inside the feed-forward (ConvNet), or around the convolution (ByteNet)."""
    taps: tuple[int, ...]
    """Of each layer's convolution."""
    dilations: tuple[int, ...]
    depthwise: bool
    """Whether the convolutions behind the first keep channels apart."""
    bias: bool
    embedded: bool
    """Whether bases are looked up in a table; otherwise channel ``i`` is 1 for base ``i``."""
    features: int = 0
    """Further facts about each base, such as how conserved it is; they take the channels behind the bases'."""
    values: int = 5
    """How many values a feature can have."""
    probabilities: bool = False
    """Whether probabilities of each base come in as well, and stand in for it where they are given."""


@dataclass(frozen=True, slots=True)
class GpnHead:
    """What stands on the last hidden state: scores of every word at every base, or of the row."""

    kind: HeadKind
    outputs: int = 0
    transforms: bool = True
    """Words: whether dense, activation and norm stand before the decoder."""
    activation: Callable[[torch.Tensor], torch.Tensor] = gelu
    """Rows: between the two linear layers."""


class GpnNetwork(Network):
    """Bases → layers → norm (but for the first models) → head."""

    def __init__(self, shape: GpnShape, head: GpnHead) -> None:
        super().__init__()
        self.shape, self.head_shape = shape, head
        self.inputs = _inputs(shape)
        self.embedding = nn.Embedding(shape.vocabulary, shape.width) if shape.embedded else None
        layer = _LAYERS[shape.encoder]
        self.layers = nn.ModuleList(layer(shape, number) for number in range(len(shape.taps)))
        self.ln_f = None if shape.encoder == "legacy" else nn.LayerNorm(shape.width, bias=shape.bias)
        self.cls = _words_head(shape, head) if head.kind == "words" else None
        self.classifier = _rows_head(shape, head) if head.kind == "rows" else None

    def forward(self, *inputs: torch.Tensor) -> Outputs:
        shape = self.shape
        if self.embedding is None:
            given = dict(zip((one.name for one in self.inputs), inputs, strict=True))
            features = [given[AUX_FEATURES]] if shape.features else []
            x = channels(inputs[0], shape.vocabulary, features, shape.values, shape.width, given.get(INPUT_PROBS))
        else:
            x = self.embedding(inputs[0])
        for layer in self.layers:
            x = layer(x)
        if self.ln_f is not None:
            x = self.ln_f(x)
        outputs = {"last_hidden_state": x}
        if self.cls is not None:
            outputs["logits"] = self._score_words(self.cls, x)
        elif self.classifier is not None:
            row = x.mean(dim=1)
            if "ln" in self.classifier:
                row = self.classifier["ln"](row)
            row = self.head_shape.activation(self.classifier["dense"](row))
            outputs["logits"] = self.classifier["out_proj"](row)
        return outputs

    def _score_words(self, head: nn.ModuleDict, x: torch.Tensor) -> torch.Tensor:
        if self.head_shape.transforms:
            x = head["norm"](gelu(head["dense"](x)))
        logits: torch.Tensor = head["decoder"](x)
        return logits


class _ConvLayer(nn.Module):
    """``x + conv(x)``, then ``x + ffn(x)``, each behind a norm."""

    def __init__(self, shape: GpnShape, number: int) -> None:
        super().__init__()
        width, bias = shape.width, shape.bias
        self.conv = nn.ModuleDict(
            {
                "0": nn.LayerNorm(width, bias=bias),
                "2": _convolution(shape, width, number),
                "5": nn.Linear(width, width, bias=bias),
            }
        )
        self.ffn = nn.ModuleDict(
            {
                "0": nn.LayerNorm(width, bias=bias),
                "1": nn.Linear(width, shape.inner, bias=bias),
                "3": nn.Linear(shape.inner, width, bias=bias),
            }
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.conv["5"](gelu(self.conv["2"](self.conv["0"](x))))
        summed: torch.Tensor = x + self.ffn["3"](gelu(self.ffn["1"](self.ffn["0"](x))))
        return summed


class _ByteLayer(nn.Module):
    """A convolution between two linear layers, norm and activation before each, around it a residual sum."""

    def __init__(self, shape: GpnShape, number: int) -> None:
        super().__init__()
        width, inner, bias = shape.width, shape.inner, shape.bias
        self.layer = nn.ModuleDict(
            {
                "0": nn.LayerNorm(width, bias=bias),
                "2": nn.Linear(width, inner, bias=bias),
                "3": nn.LayerNorm(inner, bias=bias),
                "6": _convolution(shape, inner, number),
                "8": nn.LayerNorm(inner, bias=bias),
                "10": nn.Linear(inner, width, bias=bias),
            }
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.layer["2"](gelu(self.layer["0"](x)))
        inner = self.layer["6"](gelu(self.layer["3"](inner)))
        summed: torch.Tensor = x + self.layer["10"](gelu(self.layer["8"](inner)))
        return summed


class _LegacyLayer(nn.Module):
    """``x + norm(gelu(conv(x)))``, then ``x + norm(gelu(W x))``."""

    def __init__(self, shape: GpnShape, number: int) -> None:
        super().__init__()
        width = shape.width
        self.conv = nn.ModuleDict({"1": _convolution(shape, width, number), "4": nn.LayerNorm(width)})
        self.ffn = nn.ModuleDict({"0": nn.Linear(width, width), "2": nn.LayerNorm(width)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.conv["4"](gelu(self.conv["1"](x)))
        summed: torch.Tensor = x + self.ffn["2"](gelu(self.ffn["0"](x)))
        return summed


_LAYERS: dict[Encoder, Callable[[GpnShape, int], nn.Module]] = {
    "convnet": _ConvLayer,
    "bytenet": _ByteLayer,
    "legacy": _LegacyLayer,
}


def _inputs(shape: GpnShape) -> tuple[GraphInput, ...]:
    found = [GraphInput(INPUT_IDS)]
    if shape.probabilities:
        found.append(GraphInput(INPUT_PROBS, ("batch", "length", shape.vocabulary), torch.float32))
    if shape.features:
        axes = "batch", "length", shape.features
        found.append(GraphInput(AUX_FEATURES, axes, torch.int64, below=shape.values))
    return tuple(found)


def _convolution(shape: GpnShape, width: int, number: int) -> DilatedConvolution:
    depthwise = shape.depthwise and number > 0
    return DilatedConvolution(width, shape.taps[number], shape.dilations[number], depthwise=depthwise, bias=shape.bias)


def _words_head(shape: GpnShape, head: GpnHead) -> nn.ModuleDict:
    parts: dict[str, nn.Module] = {"decoder": nn.Linear(shape.width, shape.vocabulary, bias=shape.bias)}
    if head.transforms:
        parts["dense"] = nn.Linear(shape.width, shape.width, bias=shape.bias)
        parts["norm"] = nn.LayerNorm(shape.width, bias=shape.bias)
    return nn.ModuleDict(parts)


def _rows_head(shape: GpnShape, head: GpnHead) -> nn.ModuleDict:
    parts: dict[str, nn.Module] = {
        "dense": nn.Linear(shape.width, shape.width, bias=shape.bias),
        "out_proj": nn.Linear(shape.width, head.outputs, bias=shape.bias),
    }
    if shape.encoder != "legacy":
        parts["ln"] = nn.LayerNorm(shape.width, bias=shape.bias)
    return nn.ModuleDict(parts)
