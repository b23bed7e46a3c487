"""The hidden channels of a graph: those that one dense layer makes and only dense layers read.

Between them stand operators that keep channels apart: activations, sums and products channel by channel, sums over
other axes, rows laid side by side. Such a channel can leave for good: its column of the first layer, its rows of the
others, and what is stored for it in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from quantize.graph import Operator
from quantize.rewriting import Rewriter, attribute, reads

ACTIVATIONS = ("Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Gelu", "FastGelu", "QuickGelu", "HardSwish", "Softplus")
FUNCTIONS = ("Sigmoid", "HardSigmoid", "Tanh", "Softsign", "Erf", "Sqrt", "Exp", "Log", "Neg", "Abs", "Clip")
APART = frozenset((*ACTIVATIONS, *FUNCTIONS, "Identity"))
"""One value at a time."""
PAIRS = frozenset(("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "BiasGelu"))
SUMS = frozenset(("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare"))

Layout = NDArray[np.int64]
"""For each place of a tensor's last axis, the channel that it belongs to; -1 where it belongs to none."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Something stored for each channel: input ``place`` of the node that makes ``node``."""

    node: str
    place: int
    layout: Layout


@dataclass(frozen=True, slots=True)
class Reader:
    """A dense layer that reads channels: ``node`` is its result, ``data`` what it reads."""

    node: str
    data: str
    layout: Layout


@dataclass(frozen=True, slots=True)
class Hidden:
    """``width`` channels made by the operator of that name."""

    maker: str
    width: int
    stored: tuple[Stored, ...]
    readers: tuple[Reader, ...]


def hidden_channels(model: onnx.ModelProto, operators: Sequence[Operator]) -> tuple[Hidden, ...]:
    """What can be narrowed, in the order of the graph. Operators that stay float for a reason stay whole too."""
    rewriter = Rewriter(model)
    shapes = _shapes(model)
    plain = [each for each in operators if each.kind == "dense" and not each.protected]
    found = (_follow(rewriter, shapes, each) for each in plain)
    return tuple(each for each in found if each is not None)


def _shapes(model: onnx.ModelProto) -> dict[str, list[int | None]]:
    """Tensor → its axes, as far as they are known."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    values = (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)
    return {
        value.name: [
            axis.dim_value if axis.HasField("dim_value") else None for axis in value.type.tensor_type.shape.dim
        ]
        for value in values
        if value.type.tensor_type.HasField("shape")
    }


def _follow(rewriter: Rewriter, shapes: dict[str, list[int | None]], operator: Operator) -> Hidden | None:
    """The channels of one operator; None where something else than dense layers sees them."""
    outputs = {value.name for value in rewriter.graph.output}
    maker = rewriter.maker(operator.name)
    width = _width(rewriter, maker)
    if maker is None or width is None:
        return None
    layouts: dict[str, Layout] = {operator.name: np.arange(width)}
    stored: list[Stored] = []
    readers: list[Reader] = []
    for node in rewriter.graph.node:
        seen = layouts.keys() & reads(node)
        if not seen:
            continue
        if seen - set(node.input) or seen & outputs or len(node.output) != 1:
            return None
        reader = _reader(rewriter, node, layouts)
        if reader is not None:
            readers.append(reader)
            continue
        layout = _passed(rewriter, shapes, node, layouts, stored)
        if layout is None or node.output[0] in outputs:
            return None
        layouts[node.output[0]] = layout
    return Hidden(operator.name, width, tuple(stored), tuple(readers)) if readers else None


def _width(rewriter: Rewriter, maker: onnx.NodeProto | None) -> int | None:
    if maker is None or maker.op_type not in ("MatMul", "Gemm"):
        return None
    weights = rewriter.constant(maker.input[1])
    if weights is None or weights.ndim != 2:
        return None
    if maker.op_type == "Gemm" and len(maker.input) > 2 and maker.input[2]:
        bias = rewriter.constant(maker.input[2])
        if bias is None or bias.size not in (1, weights.shape[_out(maker)]):
            return None
    return int(weights.shape[_out(maker)])


def _out(node: onnx.NodeProto) -> int:
    """The axis of a dense layer's weights that its result has."""
    return 0 if node.op_type == "Gemm" and attribute(node, "transB", 0) else 1


def _reader(rewriter: Rewriter, node: onnx.NodeProto, layouts: dict[str, Layout]) -> Reader | None:
    """A dense layer over channels, with stored weights."""
    if node.op_type not in ("MatMul", "Gemm") or node.input[0] not in layouts:
        return None
    if any(name in layouts for name in node.input[1:]) or attribute(node, "transA", 0):
        return None
    weights = rewriter.constant(node.input[1])
    if weights is None or weights.ndim != 2:
        return None
    if node.op_type == "Gemm" and len(node.input) > 2 and node.input[2] and rewriter.constant(node.input[2]) is None:
        return None
    return Reader(node.output[0], node.input[0], layouts[node.input[0]])


def _passed(
    rewriter: Rewriter,
    shapes: dict[str, list[int | None]],
    node: onnx.NodeProto,
    layouts: dict[str, Layout],
    stored: list[Stored],
) -> Layout | None:
    """The layout of what a node makes of channels; None where it mixes them, or nobody knows."""
    data = next(name for name in node.input if name in layouts)
    layout = layouts[data]
    if node.op_type in APART:
        return layout
    if node.op_type in PAIRS:
        return _paired(rewriter, shapes, node, layouts, stored)
    if node.op_type == "MatMul":
        return layout if node.input[1] in layouts and node.input[0] not in layouts else None
    rank = len(shapes[data]) if data in shapes else None
    if node.op_type == "Concat":
        if attribute(node, "axis", 0) not in (-1, None if rank is None else rank - 1):
            return None
        parts = [layouts[name] if name in layouts else _foreign(shapes, name) for name in node.input]
        return None if any(part is None for part in parts) else np.concatenate([p for p in parts if p is not None])
    if node.op_type in SUMS or node.op_type in ("Squeeze", "Unsqueeze"):
        axes = _axes(rewriter, node)
        if axes is None or rank is None:
            return None
        size = rank + (len(axes) if node.op_type == "Unsqueeze" else 0)
        return None if any(axis % size == size - 1 for axis in axes) else layout
    return None


def _paired(
    rewriter: Rewriter,
    shapes: dict[str, list[int | None]],
    node: onnx.NodeProto,
    layouts: dict[str, Layout],
    stored: list[Stored],
) -> Layout | None:
    """Channel by channel, with another tensor of the same channels, something stored for each, or the same for all."""
    known = [layouts[name] for name in node.input if name in layouts]
    layout = known[0]
    if any(not np.array_equal(layout, other) for other in known):
        return None
    for place, name in enumerate(node.input):
        if name in layouts or not name:
            continue
        value = rewriter.constant(name)
        shape = list(value.shape) if value is not None else shapes.get(name)
        if shape is None:
            return None
        last = shape[-1] if shape else 1
        if last == 1:
            continue
        if value is None or last != len(layout):
            return None
        stored.append(Stored(node.output[0], place, layout))
    return layout


def _foreign(shapes: dict[str, list[int | None]], name: str) -> Layout | None:
    """The layout of a tensor without channels, where its width is known."""
    shape = shapes.get(name)
    if not shape or shape[-1] is None:
        return None
    return np.full(shape[-1], -1, np.int64)


def _axes(rewriter: Rewriter, node: onnx.NodeProto) -> list[int] | None:
    """The axes that a node says; None where it says none, or computes them."""
    if len(node.input) > 1 and node.input[1]:
        value = rewriter.constant(node.input[1])
        return None if value is None else [int(axis) for axis in value.reshape(-1)]
    found = attribute(node, "axes", None)
    return None if found is None else [int(axis) for axis in found]
