"""Embedding tables as integers with a scale for each row, restored after the lookup.

A lookup moves a quarter of the bytes, and memory holds a quarter of the table. Where the looked-up rows are summed, as
in bags of seeds, scales and sum become one product. Tables of 4 bits lie packed in the file and are unpacked once, when
the engine loads the graph; in memory they take 8 bits a value.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from quantize.grid import best_clip, pack_nibbles, symmetric
from quantize.passes.settings import Settings
from quantize.rewriting import Rewriter, attribute


def rows8(rewriter: Rewriter, node: onnx.NodeProto, settings: Settings) -> None:
    """Rows of 8 bits; the error of a value is at most its row's largest one / 254, and the rounding of the scale."""
    del settings
    grid = symmetric(_table(rewriter, node), 0, 127, half=True)
    _replace(rewriter, node, rewriter.store(f"{node.output[0]}_integers", grid.integers), grid.scales, [])


def rows4(rewriter: Rewriter, node: onnx.NodeProto, settings: Settings) -> None:
    """Rows of 4 bits, packed in the file; the ends of each row's grid are chosen for the least squared error."""
    del settings
    grid = best_clip(_table(rewriter, node), 7, half=True)
    table, nodes = _unpacked(rewriter, node.output[0], grid.integers)
    _replace(rewriter, node, table, grid.scales, nodes)


def restored8(rewriter: Rewriter, node: onnx.NodeProto) -> None:
    """The grid of `rows8` in the file; the engine restores a float table, once, when it loads the graph."""
    grid = symmetric(_table(rewriter, node), 0, 127, half=True)
    _restore(rewriter, node, rewriter.store(f"{node.output[0]}_integers", grid.integers), grid.scales, [])


def stored4(rewriter: Rewriter, node: onnx.NodeProto, settings: Settings) -> None:
    """The grid of `rows4` in the file; the engine restores a float table, once, when it loads the graph."""
    del settings
    grid = best_clip(_table(rewriter, node), 7, half=True)
    table, nodes = _unpacked(rewriter, node.output[0], grid.integers)
    _restore(rewriter, node, table, grid.scales, nodes)


def _restore(
    rewriter: Rewriter, node: onnx.NodeProto, table: str, scales: NDArray[np.float32], unpacking: list[onnx.NodeProto]
) -> None:
    at = node.output[0]
    half = rewriter.store(f"{at}_half_scales", scales.astype(np.float16))
    nodes = [
        *unpacking,
        helper.make_node("Cast", [half], [f"{at}_scales"], to=TensorProto.FLOAT),
        helper.make_node("Cast", [table], [f"{at}_real"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{at}_real", f"{at}_scales"], [f"{at}_table"]),
        helper.make_node("Gather", [f"{at}_table", node.input[1]], [at], axis=0),
    ]
    rewriter.replace(node, nodes)


def _table(rewriter: Rewriter, node: onnx.NodeProto) -> NDArray[np.float32]:
    value = rewriter.constant(node.input[0])
    assert value is not None
    return np.asarray(value, np.float32)


def _replace(
    rewriter: Rewriter, node: onnx.NodeProto, table: str, scales: NDArray[np.float32], unpacking: list[onnx.NodeProto]
) -> None:
    """The lookup in ``table`` instead of ``node``; its sum as well, where a sum over the looked-up rows follows."""
    at, ids = node.output[0], node.input[1]
    half = rewriter.store(f"{at}_half_scales", scales[:, 0].astype(np.float16))
    nodes = [
        *unpacking,
        helper.make_node("Cast", [half], [f"{at}_scales"], to=TensorProto.FLOAT),
        helper.make_node("Gather", [table, ids], [f"{at}_picked"], axis=0),
        helper.make_node("Gather", [f"{at}_scales", ids], [f"{at}_chosen"], axis=0),
        helper.make_node("Cast", [f"{at}_picked"], [f"{at}_real"], to=TensorProto.FLOAT),
    ]
    total = _sum_behind(rewriter, node)
    axis = rewriter.store(f"{at}_axis", np.array([-1 if total is None else -2]))
    nodes.append(helper.make_node("Unsqueeze", [f"{at}_chosen", axis], [f"{at}_weights"]))
    if total is None:
        nodes.append(helper.make_node("Mul", [f"{at}_real", f"{at}_weights"], [at]))
        rewriter.replace(node, nodes)
        return
    rewriter.replace(node, nodes)
    rewriter.replace(
        total,
        [
            helper.make_node("MatMul", [f"{at}_weights", f"{at}_real"], [f"{at}_summed"]),
            helper.make_node("Squeeze", [f"{at}_summed", axis], [total.output[0]]),
        ],
    )


def _unpacked(rewriter: Rewriter, at: str, integers: NDArray[np.int8]) -> tuple[str, list[onnx.NodeProto]]:
    """Name of the int8 table that the engine makes, once, of two values a byte; and the nodes that make it."""
    width = integers.shape[1]
    packed = pack_nibbles(np.pad(integers, ((0, 0), (0, width % 2))))
    stored = rewriter.store(f"{at}_packed", packed)
    four = rewriter.store(f"{at}_four", np.array(4, np.uint8))
    eight = rewriter.store(f"{at}_eight", np.array(8, np.int32))
    ends = [rewriter.store(f"{at}_{name}", np.array([end])) for name, end in (("from", 0), ("to", width), ("along", 1))]
    nodes = [
        helper.make_node("BitShift", [stored, four], [f"{at}_high"], direction="RIGHT"),
        helper.make_node("BitShift", [stored, four], [f"{at}_lifted"], direction="LEFT"),
        helper.make_node("BitShift", [f"{at}_lifted", four], [f"{at}_low"], direction="RIGHT"),
        helper.make_node("Concat", [f"{at}_low", f"{at}_high"], [f"{at}_even"], axis=1),
        helper.make_node("Slice", [f"{at}_even", ends[0], ends[1], ends[2]], [f"{at}_cut"]),
        helper.make_node("Cast", [f"{at}_cut"], [f"{at}_wide"], to=TensorProto.INT32),
        helper.make_node("Sub", [f"{at}_wide", eight], [f"{at}_signed"]),
        helper.make_node("Cast", [f"{at}_signed"], [f"{at}_integers"], to=TensorProto.INT8),
    ]
    return f"{at}_integers", nodes


def _sum_behind(rewriter: Rewriter, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """The sum over the looked-up rows, if nothing else reads them."""
    readers = rewriter.readers(node.output[0])
    if len(readers) != 1 or readers[0].op_type != "ReduceSum" or attribute(readers[0], "keepdims", 1):
        return None
    if node.output[0] in {value.name for value in rewriter.graph.output} or len(readers[0].input) < 2:
        return None
    axes = rewriter.constant(readers[0].input[1])
    ids = _rank(rewriter, node.input[1])
    if axes is None or axes.size != 1 or ids is None:
        return None
    axis = int(axes.reshape(-1)[0])
    return readers[0] if axis in (ids - 1, -2) else None


def _rank(rewriter: Rewriter, tensor: str) -> int | None:
    """The number of axes of a tensor, where an input or a `Reshape` says it."""
    for value in rewriter.graph.input:
        if value.name == tensor:
            return len(value.type.tensor_type.shape.dim)
    maker = rewriter.maker(tensor)
    if maker is not None and maker.op_type == "Reshape":
        shape = rewriter.constant(maker.input[1])
        return None if shape is None else int(shape.size)
    return None
