"""What every family's module has in common, and what a family says about the model that it read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

import onnx
import torch
from torch import nn

from edgeseq.manifest import Activation, Alphabet, Strand, TaskKind
from export.weights import Loaded

Outputs = Mapping[str, torch.Tensor]
"""``logits`` and ``last_hidden_state``, where the network has them."""

INPUT_IDS = "input_ids"
ATTENTION_MASK = "attention_mask"


@dataclass(frozen=True, slots=True)
class GraphInput:
    """An input of a graph. Axes that are words (``batch``, ``length``) may have any size."""

    name: str
    shape: tuple[int | str, ...] = ("batch", "length")
    dtype: torch.dtype = torch.int64
    below: int = 2
    """Whole numbers from 0 to this (not included) are what the input may hold; other numbers are drawn from a normal
    distribution. For ``input_ids`` the tokenizer decides, and a mask is 1 but at padding."""


class Network(nn.Module, ABC):
    """A model in plain torch, written so that it exports with free batch and length axes.

    `inputs` are its graph inputs in the order of `forward`'s arguments; the first is ``input_ids`` (batch × length).
    A network without ``attention_mask`` sees padding as sequence.
    """

    inputs: tuple[GraphInput, ...] = (GraphInput(INPUT_IDS),)
    example_length: int = 24
    """Tokens of the rows that the exporter sees: enough that no length inside the network is 1."""
    relaid: str = ""
    """Pattern of the names of parameters that stand for published ones in another layout; empty: there are none."""

    rows: Mapping[str, torch.Tensor] = MappingProxyType({})
    """Name of a parameter whose rows stand in another order → which published row each of them is."""

    def fold(self) -> None:
        """Brings parameters into the shapes that graphs are made of, where these are other ones; once, or again."""

    @abstractmethod
    def forward(self, *inputs: torch.Tensor) -> Outputs:
        """Everything the network has to say, by the names of the graph's outputs."""

    def published(self) -> Mapping[str, torch.Tensor]:
        """What the parameters named by `relaid` are in the published layout, by the names they were read under."""
        return {}


class Exporter(Protocol):
    """What makes the graph of a network."""

    @property
    def name(self) -> str:
        """What the report calls it."""
        ...

    def graph(self, network: Network, outputs: Sequence[str]) -> onnx.ModelProto:
        """The graph, cleaned and checked as by `export.tracing`. Raises `FamilyError` and `ParityError`."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked of a checkpoint, beyond what is in it."""

    task: TaskKind | None = None
    labels: tuple[str, ...] = ()
    max_length: int | None = None
    """Longest row in tokens."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Choices that only one family knows, such as ``fp8`` of Evo 2."""
    unfolded: bool = False
    """Whether parameters stay in their published shapes, to be scored and trained. `Network.fold` brings them into
    those that are computed with."""


@dataclass(frozen=True, slots=True)
class Model:
    """A checkpoint as a family read it."""

    network: Network
    """In float32, in evaluation mode."""
    task: TaskKind
    tokenizer: Mapping[str, Any]
    """Specification for `edgeseq.tokenizers.load_tokenizer`; empty for a model of raw signal."""
    max_length: int
    """Longest row in tokens that the model takes."""
    loaded: Loaded
    labels: tuple[str, ...] = ()
    activation: Activation = "softmax"
    alphabet: Alphabet = "dna"
    strand: Strand = "forward"
    ids_below: int = 0
    """Rows of the vocabulary that may occur as ids. 0: what the tokenizer gives."""
    pads_exactly: bool = True
    """Whether padding on the tokenizer's side, under the mask, leaves all other outputs as they are."""
    shares_batches: bool = True
    """Whether rows of one length may share a batch: whether a row's outputs do not depend on the others."""
    min_length: int = 1
    """Shortest row (of a signal; a model of letters takes any length)."""
    window: int | None = None
    """Bases of a window. None: as many as ``max_length`` holds."""
    stride: int | None = None
    """Bases between the starts of windows. None: they lie side by side."""
    notes: tuple[str, ...] = ()
    """Sentences for the model card: what the user should know about this model's graph."""
    tolerance: float = 1e-4
    """Largest absolute difference between module and graph that is rounding."""
    exporter: Exporter | None = None
    """What makes the graph. None: torch's exporter."""
