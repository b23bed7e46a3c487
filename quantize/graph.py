"""What of a graph is worth compressing: its operators with weights, and which of them have to stay float, with the
reason.

What stays float unless forced: hashes and other arithmetic that selects rows (an error there is another row), Fourier
and other fixed transforms, long filters, heads over a vocabulary, and all that lies inside of loops and branches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from edgeseq.manifest import TaskKind
from quantize.rewriting import Rewriter, attribute, subgraphs

Kind = Literal["table", "dense", "convolution", "product", "graph"]
"""``table``: rows looked up by ids. ``dense``: a matrix product with stored weights. ``product``: a matrix product of
two computed tensors, as in attention. ``graph``: all of it at once."""

LONG_FILTER = 64
_INTEGERS = (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64, TensorProto.UINT32)
_SHAPES = ("Shape", "Size")
_SELECTS = "its result selects rows of a table: an error would take another row"


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator. ``name`` is that of its output tensor, ``shape`` that of its weights, ``bytes`` what they take in
    the file, ``protected`` why it stays float (empty: it may be compressed)."""

    name: str
    kind: Kind
    shape: tuple[int, ...]
    bytes: int
    protected: str = ""
    flat: bool = False
    """Whether it is a `Gemm`: two axes, mostly one row for each window. Engines fuse it with what follows before they
    look for rounding, and restore 8-bit weights in every run: it gains nothing from 8-bit arithmetic."""


def operators(model: onnx.ModelProto, task: TaskKind) -> tuple[Operator, ...]:
    """The operators of the main graph with weights, and products of computed tensors, in the order of the graph."""
    rewriter = Rewriter(model)
    indices = selecting(rewriter)
    found = []
    for node in rewriter.graph.node:
        known = _weights(rewriter, node)
        if known is None:
            continue
        kind, tensor, value = known
        size = rewriter.stored_bytes(tensor) if tensor else 0
        reason = _SELECTS if kind != "table" and node.output[0] in indices else ""
        reason = reason or _protected(rewriter, node, kind, value, task)
        shape = tuple(value.shape) if value is not None else ()
        found.append(Operator(node.output[0], kind, shape, size, reason, node.op_type == "Gemm"))
    return tuple(found)


def loop_bytes(model: onnx.ModelProto) -> int:
    """What the weights inside of loops and branches take: they stay as they are."""

    def inside(graph: onnx.GraphProto) -> int:
        own = sum(int(tensor.ByteSize()) for tensor in graph.initializer)
        return own + sum(inside(inner) for node in graph.node for inner in subgraphs(node))

    return sum(inside(graph) for node in model.graph.node for graph in subgraphs(node))


def _weights(rewriter: Rewriter, node: onnx.NodeProto) -> tuple[Kind, str, NDArray[np.generic] | None] | None:
    """Kind, name and value of a node's weights; None for a node without any that is no product either."""
    place = {"Gather": 0, "MatMul": 1, "Gemm": 1, "Conv": 1}.get(node.op_type)
    if place is None or node.domain:
        return None
    value = rewriter.constant(node.input[place])
    if node.op_type == "MatMul" and value is None:
        return None if rewriter.constant(node.input[0]) is not None else ("product", "", None)
    if value is None or value.dtype.kind != "f":
        return None
    if node.op_type == "Gather":
        rows = value.ndim == 2 and attribute(node, "axis", 0) == 0 and rewriter.constant(node.input[1]) is None
        return ("table", node.input[place], value) if rows else None
    if node.op_type == "Conv":
        return "convolution", node.input[place], value
    plain = node.op_type == "MatMul" or not attribute(node, "transA", 0)
    return ("dense", node.input[place], value) if value.ndim == 2 and plain else None


def _protected(
    rewriter: Rewriter, node: onnx.NodeProto, kind: Kind, value: NDArray[np.generic] | None, task: TaskKind
) -> str:
    if kind == "table":
        return ""
    if kind == "convolution" and value is not None and max(value.shape[2:]) >= LONG_FILTER:
        return f"a filter over {max(value.shape[2:])} positions: its error adds up along the sequence"
    if kind == "dense" and value is not None and _fixed_transform(np.asarray(value, np.float64)):
        return "a fixed transform (Fourier or alike), not learnt weights"
    if task == "token-classification" and kind == "convolution" and _is_head(rewriter, node):
        return "it gives the scores of single bases: in 256 steps, many would be equal"
    if task in ("masked-lm", "causal-lm") and kind == "dense" and _is_head(rewriter, node):
        return "the head over the vocabulary: differences of its log-probabilities are the result"
    return ""


def selecting(rewriter: Rewriter) -> set[str]:
    """The tensors from which an integer or an index is computed: an error in them is another row, not a small error."""
    found: set[str] = set()
    waiting: list[str] = []
    for node in rewriter.graph.node:
        if node.op_type in ("ArgMax", "ArgMin", "TopK") or (
            node.op_type == "Cast" and attribute(node, "to", 0) in _INTEGERS
        ):
            waiting.append(node.input[0])
        elif node.op_type.startswith("Gather") and len(node.input) > 1:
            waiting.append(node.input[1])
    while waiting:
        tensor = waiting.pop()
        if not tensor or tensor in found:
            continue
        found.add(tensor)
        maker = rewriter.maker(tensor)
        if maker is not None and maker.op_type not in _SHAPES:
            waiting += maker.input
    return found


def _fixed_transform(weights: NDArray[np.float64]) -> bool:
    """Whether rows, or columns, are orthogonal to 0.1 %: learnt weights never are."""
    if min(weights.shape) < 8:
        return False
    return any(_orthogonal(each[:128]) for each in (weights, weights.T))


def _orthogonal(rows: NDArray[np.float64]) -> bool:
    lengths = np.linalg.norm(rows, axis=1)
    used = rows[lengths > 1e-9 * max(float(lengths.max()), 1e-30)]
    if len(used) < 8:
        return False
    unit = used / np.linalg.norm(used, axis=1, keepdims=True)
    products = np.abs(unit @ unit.T) - np.eye(len(unit))
    return bool(products.max() < 1e-3)


def _is_head(rewriter: Rewriter, node: onnx.NodeProto) -> bool:
    """Whether a node's result reaches an output without another product in between."""
    outputs = {value.name for value in rewriter.graph.output}
    waiting: list[str] = list(node.output)
    while waiting:
        tensor = waiting.pop()
        if tensor in outputs:
            return True
        for reader in rewriter.readers(tensor):
            if reader.op_type not in ("MatMul", "Gemm", "Conv", "Gather", *_SHAPES):
                waiting += [name for name in reader.output if name]
    return False


def unprotected(found: Sequence[Operator], forced: Sequence[str] = ()) -> tuple[Operator, ...]:
    """Those that may be compressed, and those that are forced by name."""
    return tuple(each for each in found if not each.protected or each.name in forced)
