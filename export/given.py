"""An ONNX graph that exists already, as a model to pack: checked, its tensors called as every bundle calls them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import helper, numpy_helper

from edgeseq.errors import EngineError
from edgeseq.graph import outside_references
from edgeseq.manifest import SIGNAL
from edgeseq.session import Session
from export.errors import CheckpointError, FamilyError, ParityError
from export.network import ATTENTION_MASK, INPUT_IDS, GraphInput, Model, Network, Outputs
from export.own import Reading, measured
from export.weights import Loaded

_DTYPES: Mapping[int, torch.dtype] = {
    onnx.TensorProto.FLOAT: torch.float32,
    onnx.TensorProto.INT64: torch.int64,
    onnx.TensorProto.INT32: torch.int32,
}


@dataclass(frozen=True, slots=True)
class Names:
    """The graph's own names for what a bundle calls by fixed ones; empty where they are the same, or there is none."""

    first: str = ""
    """``input_ids``, or ``signal``."""
    mask: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """Bundle's name → the graph's."""


class GivenGraph(Network):
    """A graph as a network: what it computes is what the engine makes of it."""

    def __init__(self, model: onnx.ModelProto, below: int) -> None:
        super().__init__()
        self.model = model
        self.session = Session(model.SerializeToString(deterministic=True))
        self.inputs = tuple(_input(value, below) for value in model.graph.input)

    def forward(self, *inputs: torch.Tensor) -> Outputs:
        values = {one.name: value.numpy() for one, value in zip(self.inputs, inputs, strict=True)}
        return {name: torch.from_numpy(value) for name, value in self.session.run(values).items()}


class AsGiven:
    """Makes no graph, but gives the one that was there, with the outputs that are asked for."""

    name = "none: the graph came as it is"

    def graph(self, network: Network, outputs: Sequence[str]) -> onnx.ModelProto:  # noqa: ARG002 - the interface
        assert isinstance(network, GivenGraph)
        return network.model


def read_given(path: Path, reading: Reading, names: Names) -> Model:
    """The model of the graph in a file.

    Its opset and its operators stay. Raises `CheckpointError` for a file that is no whole ONNX model, that keeps
    weights in other files or that the engine refuses; `FamilyError` for inputs or outputs that are not as ``reading``
    says; `ParityError` for fixed batch or length axes and for rows that depend on their neighbours.
    """
    model = _open(path)
    _rename(model, _renames(model, reading, names, path))
    kept = [value for name in reading.outputs for value in model.graph.output if value.name == name]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    if reading.one_hot:
        _prepend_one_hot(model, reading, path)
    _check_axes(model, path)
    try:
        network = GivenGraph(model, reading.letters.below if reading.letters else 2)
    except EngineError as error:
        raise CheckpointError(path, str(error)) from error
    found = Model(
        network=network,
        task=reading.task,
        tokenizer=reading.letters.spec() if reading.letters else {},
        max_length=reading.window + (reading.letters.added if reading.letters else 0),
        loaded=Loaded(len(model.graph.initializer), {}, ()),
        labels=reading.labels,
        activation=reading.activation,
        alphabet=reading.alphabet if reading.letters else "signal",
        strand=reading.strand,
        pads_exactly=False,
        min_length=reading.minimum,
        window=reading.window,
        stride=reading.stride,
        notes=("The graph came as ONNX: it is compared with itself, in batches and alone, not with a module.",),
        exporter=AsGiven(),
    )
    try:
        return measured(found, reading.outputs)
    except EngineError as error:
        raise ParityError(path, str(error), remedy="export it with free batch and length axes") from error


def _open(path: Path) -> onnx.ModelProto:
    try:
        data = path.read_bytes()
        outside = outside_references(data)
        model = onnx.load_from_string(data)
    except OSError as error:
        raise CheckpointError(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, DecodeError) as error:
        raise CheckpointError(path, f"not an ONNX model: {' '.join(str(error).split())[:120]}") from error
    if outside:
        remedy = "save it with its weights inside (onnx.save without external data)"
        raise CheckpointError(path, outside[0], remedy=remedy)
    if not model.graph.node or not model.graph.output:
        raise CheckpointError(path, "not an ONNX model: it computes nothing")
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return model


def _renames(model: onnx.ModelProto, reading: Reading, names: Names, path: Path) -> dict[str, str]:
    """Graph's name → bundle's name, for its inputs and the outputs that are kept."""
    inputs = [value.name for value in model.graph.input]
    outputs = [value.name for value in model.graph.output]
    first = INPUT_IDS if reading.letters else SIGNAL
    found = {names.first or (first if first in inputs else inputs[0]): first}
    if names.mask or ATTENTION_MASK in inputs:
        found[names.mask or ATTENTION_MASK] = ATTENTION_MASK
    for place, name in enumerate(reading.outputs):
        given = names.outputs.get(name) or (name if name in outputs else "")
        if not given and place < len(outputs) and not names.outputs:
            given = outputs[place]
        found[given] = name
    for name in found:
        if name not in inputs and name not in outputs:
            known = f"inputs {', '.join(inputs)}, outputs {', '.join(outputs)}"
            raise FamilyError(path, f"the graph has no {name or 'more outputs'}; it has {known}")
    if left := [name for name in inputs if name not in found]:
        raise FamilyError(path, f"the input {left[0]} is nothing that a bundle supplies (ids, a mask or a signal)")
    return found


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _rename(model: onnx.ModelProto, renames: Mapping[str, str]) -> None:
    """Gives tensors other names, wherever they are used; a tensor that has a wanted name already steps aside."""
    new = dict(renames)
    for old, name in renames.items():
        if old != name and name not in new:
            new[name] = f"{name}.before"
    for graph in _graphs(model.graph):
        for node in graph.node:
            node.input[:] = [new.get(name, name) for name in node.input]
            node.output[:] = [new.get(name, name) for name in node.output]
        for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
            value.name = new.get(value.name, value.name)


def _prepend_one_hot(model: onnx.ModelProto, reading: Reading, path: Path) -> None:
    """Puts ids before an input of channels: batch × letters × length, or batch × length × letters."""
    assert reading.letters is not None
    value = next(value for value in model.graph.input if value.name == INPUT_IDS)
    axes = [axis.dim_value for axis in value.type.tensor_type.shape.dim]
    channels = len(reading.letters.ids)
    if len(axes) != 3 or channels not in axes[1:]:
        raise FamilyError(path, f"the input has axes {axes}; one-hot letters need one of {channels} behind the batch")
    first = axes[1] == channels
    if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        raise FamilyError(path, "one-hot letters need an input of float32")
    model.graph.initializer.append(numpy_helper.from_array(reading.letters.one_hot(), "one_hot.table"))
    _rename(model, {INPUT_IDS: "one_hot.channels"})
    rows = "one_hot.rows" if first else "one_hot.channels"
    nodes = [helper.make_node("Gather", ["one_hot.table", INPUT_IDS], [rows], name="one_hot", axis=0)]
    if first:
        nodes.append(helper.make_node("Transpose", [rows], ["one_hot.channels"], name="one_hot.turn", perm=[0, 2, 1]))
    old = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *old])
    others = [one for one in model.graph.input if one.name != "one_hot.channels"]
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info(INPUT_IDS, onnx.TensorProto.INT64, ["batch", "length"]))
    model.graph.input.extend(others)


def _check_axes(model: onnx.ModelProto, path: Path) -> None:
    """Raises `ParityError` for inputs whose batch and length are not both free."""
    for value in model.graph.input:
        axes = value.type.tensor_type.shape.dim
        if len(axes) != 2 or axes[0].dim_value or axes[1].dim_value:
            shape = [axis.dim_value or axis.dim_param or "?" for axis in axes]
            raise ParityError(
                path,
                f"the input {value.name} has the axes {shape}; a bundle needs (batch, length), both free",
                remedy="export it again with dynamic axes",
            )


def _input(value: onnx.ValueInfoProto, below: int) -> GraphInput:
    kind = value.type.tensor_type.elem_type
    if kind not in _DTYPES:
        name = onnx.TensorProto.DataType.Name(kind)
        raise FamilyError(value.name, f"the input is of type {name}; known: FLOAT, INT32, INT64")
    return GraphInput(value.name, ("batch", "length"), _DTYPES[kind], below)
