"""The hidden channels of a graph: those that one dense layer makes and only dense layers read.

Between them stand operators that keep channels apart: activations, sums and products channel by channel, sums over
other axes, rows laid side by side or cut in parts. Where parts meet again, as in gated layers, their columns are one
channel. Such a channel can leave for good: its columns of the first layer, its rows of the others, and what is stored
for it in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from quantize.graph import Operator
from quantize.rewriting import MICROSOFT, Rewriter, attribute, reads

ACTIVATIONS = ("Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Gelu", "FastGelu", "QuickGelu", "HardSwish", "Softplus")
FUNCTIONS = ("Sigmoid", "HardSigmoid", "Tanh", "Softsign", "Erf", "Sqrt", "Exp", "Log", "Neg", "Abs", "Clip")
APART = frozenset((*ACTIVATIONS, *FUNCTIONS, "Identity"))
"""One value at a time."""
PAIRS = frozenset(("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "BiasGelu"))
SUMS = frozenset(("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare"))

ALIKE = {"MultiHeadAttention": 2, "SkipLayerNormalization": 0, "RotaryEmbedding": 0}
ALIKE |= dict.fromkeys(("Gelu", "FastGelu", "QuickGelu", "BiasGelu"), 0)
"""onnxruntime's own operators, of which ONNX knows no shapes: the input whose shape their result has."""

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
    """``width`` channels made by the operator of that name; ``columns`` says which channel each of its columns is."""

    maker: str
    width: int
    columns: Layout
    stored: tuple[Stored, ...]
    readers: tuple[Reader, ...]


def hidden_channels(model: onnx.ModelProto, operators: Sequence[Operator]) -> tuple[Hidden, ...]:
    """What can be narrowed, in the order of the graph. Operators that stay float for a reason stay whole too."""
    rewriter = Rewriter(model)
    shapes = _shapes(model)
    whole = {each.name for each in operators if each.protected}
    plain = [each for each in operators if each.kind == "dense" and not each.protected]
    found = [each for each in (_follow(rewriter, shapes, one) for one in plain) if each is not None]
    return tuple(each for each in found if not whole & {reader.node for reader in each.readers})


def _shapes(model: onnx.ModelProto) -> dict[str, list[int | None]]:
    """Tensor → its axes, as far as they are known."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    for node in plain.graph.node:
        if node.domain == MICROSOFT and node.op_type in ALIKE:
            like = helper.make_node("Identity", [node.input[ALIKE[node.op_type]]], [node.output[0]])
            node.CopyFrom(like)
    inferred = onnx.shape_inference.infer_shapes(plain, data_prop=True)
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
    same = np.arange(width)
    stored: list[Stored] = []
    readers: list[Reader] = []
    for node in rewriter.graph.node:
        seen = layouts.keys() & reads(node)
        if not seen:
            continue
        if seen - set(node.input) or seen & outputs:
            return None
        reader = _reader(rewriter, node, layouts)
        if reader is not None:
            readers.append(reader)
            continue
        if set(node.output) & outputs:
            return None
        if node.op_type == "Split":
            parts = _parts(rewriter, shapes, node, layouts)
            if parts is None:
                return None
            layouts |= parts
            continue
        if len(node.output) != 1:
            return None
        layout = _passed(rewriter, shapes, node, layouts, stored, same)
        if layout is None:
            return None
        layouts[node.output[0]] = layout
    return _numbered(operator.name, same, stored, readers) if readers else None


def _numbered(maker: str, same: Layout, stored: list[Stored], readers: list[Reader]) -> Hidden | None:
    """With channels numbered from 0, columns that meet as one; None where a reader sees some more often than others."""
    columns = np.unique(_first(same), return_inverse=True)[1].astype(np.int64)
    width = int(columns.max()) + 1
    stored = [replace(each, layout=_renumbered(each.layout, columns)) for each in stored]
    readers = [replace(each, layout=_renumbered(each.layout, columns)) for each in readers]
    for each in readers:
        times = np.bincount(each.layout[each.layout >= 0], minlength=width)
        if times.min() != times.max():
            return None
    return Hidden(maker, width, columns, tuple(stored), tuple(readers))


def _first(same: Layout) -> Layout:
    """For each column the first that it is one channel with."""
    while not np.array_equal(same, same[same]):
        same = same[same]
    return same


def _renumbered(layout: Layout, columns: Layout) -> Layout:
    return np.where(layout >= 0, columns[layout], -1)


def _parts(
    rewriter: Rewriter, shapes: dict[str, list[int | None]], node: onnx.NodeProto, layouts: dict[str, Layout]
) -> dict[str, Layout] | None:
    """The layouts of what a `Split` cuts channels into; None where it cuts along another axis."""
    data = node.input[0]
    rank = len(shapes[data]) if data in shapes else None
    if data not in layouts or attribute(node, "axis", 0) not in (-1, None if rank is None else rank - 1):
        return None
    layout = layouts[data]
    sizes = rewriter.constant(node.input[1]) if len(node.input) > 1 and node.input[1] else None
    if sizes is None and (len(node.input) > 1 or len(layout) % len(node.output)):
        return None
    ends = np.cumsum(sizes)[:-1] if sizes is not None else len(node.output)
    return dict(zip(node.output, np.split(layout, ends), strict=True))


def _width(rewriter: Rewriter, maker: onnx.NodeProto | None) -> int | None:
    if maker is None or maker.op_type not in ("MatMul", "Gemm"):
        return None
    weights = rewriter.constant(maker.input[1])
    if weights is None or weights.ndim != 2:
        return None
    return int(weights.shape[_out(maker)]) if _plain_bias(rewriter, maker, weights) else None


def _plain_bias(rewriter: Rewriter, node: onnx.NodeProto, weights: NDArray[np.generic]) -> bool:
    """Whether a dense layer has no bias of its own, or a stored one with a value for each output or one for all."""
    if node.op_type != "Gemm" or len(node.input) < 3 or not node.input[2]:
        return True
    bias = rewriter.constant(node.input[2])
    return bias is not None and bias.size in (1, weights.shape[_out(node)])


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
    if not _plain_bias(rewriter, node, weights):
        return None
    return Reader(node.output[0], node.input[0], layouts[node.input[0]])


def _passed(
    rewriter: Rewriter,
    shapes: dict[str, list[int | None]],
    node: onnx.NodeProto,
    layouts: dict[str, Layout],
    stored: list[Stored],
    same: Layout,
) -> Layout | None:
    """The layout of what a node makes of channels; None where it mixes them, or nobody knows."""
    data = next(name for name in node.input if name in layouts)
    layout = layouts[data]
    if node.op_type in APART:
        return layout
    if node.op_type in PAIRS:
        return _paired(rewriter, shapes, node, layouts, stored, same)
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
    same: Layout,
) -> Layout | None:
    """Channel by channel, with another tensor of the same channels, something stored for each, or the same for all."""
    known = [layouts[name] for name in node.input if name in layouts]
    layout = known[0]
    for other in known[1:]:
        if np.array_equal(layout, other):
            continue
        if len(other) != len(layout) or (layout < 0).any() or (other < 0).any():
            return None
        for one, two in zip(layout.tolist(), other.tolist(), strict=True):
            first = _first(same)
            same[first[max(one, two)]] = first[min(one, two)]
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
