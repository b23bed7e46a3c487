"""A network as an ONNX graph: torch's exporter, then everything taken out that the device does not need.

The graph has free batch and length axes, each weight once, and no trace of where it was made: the same network gives
the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx
import torch
from torch import nn

from export.constants import fold_layouts
from export.errors import FamilyError, ParityError
from export.network import Network, Outputs
from export.operators.choice import place_choices
from export.operators.minimal_filtering import place_filters
from export.operators.scan import place_scans
from export.operators.suppression import place_suppressions

OPSET = 18
PRODUCER = "edgeseq"
EXAMPLE_BATCH = 2
_SLOW = ("DFT", "STFT", "Loop")


class _Chosen(nn.Module):
    """A network that gives some of its outputs, in order."""

    def __init__(self, network: Network, outputs: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.outputs = tuple(outputs)

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found: Outputs = self.network(*inputs)
        return tuple(found[name] for name in self.outputs)


@dataclass(frozen=True, slots=True)
class TorchExporter:
    """Makes graphs by `trace`, with these settings of it."""

    example_length: int | None = None
    proven: bool = True

    @property
    def name(self) -> str:
        """What the report calls it."""
        return "torch.onnx (dynamo)"

    def graph(self, network: Network, outputs: Sequence[str]) -> onnx.ModelProto:
        """The graph. Raises as `trace`."""
        return trace(network, outputs, example_length=self.example_length, proven=self.proven)


def trace(
    network: Network,
    outputs: Sequence[str],
    *,
    example_length: int | None = None,
    strict: bool = True,
    proven: bool = True,
) -> onnx.ModelProto:
    """The graph of a network with ``outputs``, opset `OPSET`.

    ``example_length`` is the length of the rows that the exporter sees, without it the network's; nothing of it stays
    in the graph. Unless ``strict``, a graph that a device cannot use passes too. ``proven``: the exporter has to see
    that the graph holds from one token on; else it may take rows for long enough (for pooling, say), and comparing
    shows. Raises `FamilyError` for an output that the network does not have and `ParityError` for a graph that a
    device cannot use.
    """
    length = example_length or network.example_length
    example = tuple(example_input(network, i, EXAMPLE_BATCH, length) for i in range(len(network.inputs)))
    with torch.no_grad():
        has = network(*example)
    absent = [name for name in outputs if name not in has]
    if absent:
        raise FamilyError(absent[0], f"the model has no such output; it has {', '.join(has)}")
    axes: dict[str, object] = {"batch": "batch", "length": "length"}
    if proven:
        axes = {
            "batch": torch.export.Dim("batch", min=1, max=1 << 20),
            "length": torch.export.Dim("length", min=1, max=1 << 24),
        }
    free = tuple({at: axes[str(axis)] for at, axis in enumerate(one.shape) if axis in axes} for one in network.inputs)
    with torch.no_grad(), quiet():
        program = torch.onnx.export(
            _Chosen(network, outputs).eval(),
            example,
            dynamo=True,
            input_names=[one.name for one in network.inputs],
            output_names=list(outputs),
            dynamic_shapes=(free,),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    place_scans(model)
    place_choices(model)
    place_filters(model)
    place_suppressions(model)
    fold_layouts(model.graph)
    clean(model)
    if strict:
        check(model)
    return model


def example_input(network: Network, number: int, batch: int, length: int) -> torch.Tensor:
    """Numbers that input ``number`` may hold; they are the same each time."""
    wanted = network.inputs[number]
    sizes = {"batch": batch, "length": length}
    shape = [axis if isinstance(axis, int) else sizes[axis] for axis in wanted.shape]
    generator = torch.Generator().manual_seed(number)
    if wanted.dtype.is_floating_point:
        return torch.randn(shape, generator=generator, dtype=wanted.dtype)
    if wanted.name == "attention_mask":
        return torch.ones(shape, dtype=wanted.dtype)
    return torch.randint(0, wanted.below, shape, generator=generator, dtype=wanted.dtype)


def clean(model: onnx.ModelProto) -> None:
    """Takes out of a graph what depends on where and how it was made, and stores equal weights once."""
    model.producer_name, model.producer_version, model.doc_string = PRODUCER, "", ""
    del model.metadata_props[:]
    pending = [model.graph]
    while pending:
        graph = pending.pop()
        graph.doc_string = ""
        del graph.metadata_props[:]
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
            for attribute in node.attribute:
                attribute.doc_string = ""
                pending += [attribute.g] if attribute.HasField("g") else []
        for value in (*graph.value_info, *graph.input, *graph.output, *graph.initializer):
            value.doc_string = ""
            del value.metadata_props[:]
        del graph.value_info[:]
    model.graph.name = "model"
    for function in model.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        for node in function.node:
            del node.metadata_props[:]
    _share_weights(model.graph)


def check(model: onnx.ModelProto) -> None:
    """Refuses a graph that a device could not use. Raises `ParityError`.

    Fixed batch or length axes, and operators whose result or speed depends on the length in ways that the engine gets
    wrong (`_SLOW`), are caught here, whatever the exporter said.
    """
    inputs = {value.name for value in model.graph.input}
    for value in (*model.graph.input, *model.graph.output):
        axes = value.type.tensor_type.shape.dim
        if not axes or axes[0].dim_value or (value.name in inputs and len(axes) > 1 and axes[1].dim_value):
            raise ParityError(value.name, "the exporter froze the size of an axis that has to stay free")
    for node in model.graph.node:
        if node.op_type in _SLOW:
            raise ParityError(node.name, f"the graph holds {node.op_type}, which the engine does not run at any length")


def _share_weights(graph: onnx.GraphProto) -> None:
    """Keeps one of several initialisers with the same contents."""
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    renamed: dict[str, str] = {}
    kept = []
    for tensor in graph.initializer:
        key = (tensor.data_type, tuple(tensor.dims), hashlib.sha256(_contents(tensor)).digest())
        if key in first:
            renamed[tensor.name] = first[key]
        else:
            first[key] = tensor.name
            kept.append(tensor)
    if not renamed:
        return
    del graph.initializer[:]
    graph.initializer.extend(kept)
    pending = [graph]
    while pending:
        inner = pending.pop()
        for node in inner.node:
            for at, name in enumerate(node.input):
                node.input[at] = renamed.get(name, name)
            pending += [attribute.g for attribute in node.attribute if attribute.HasField("g")]


def _contents(tensor: onnx.TensorProto) -> bytes:
    if tensor.HasField("raw_data"):
        return tensor.raw_data
    copy = onnx.TensorProto()
    copy.CopyFrom(tensor)
    copy.name = ""
    return copy.SerializeToString(deterministic=True)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps what the exporter says about itself off the user's screen."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
