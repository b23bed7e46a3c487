"""Smaller weights under float arithmetic.

`blocks8` and `blocks4` keep weights small in memory as well (`MatMulNBits`); `stored8` makes the file smaller, and the
engine computes with float weights that it restores once, when it loads the graph.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from quantize.grid import symmetric
from quantize.passes.dense import Dense
from quantize.passes.settings import Settings
from quantize.passes.tables import restored8
from quantize.rewriting import MICROSOFT, Rewriter


def stored8(rewriter: Rewriter, node: onnx.NodeProto, settings: Settings) -> None:
    """int8 weights with a scale for each output channel, or row of a table; restored when the graph is loaded."""
    if node.op_type == "Gather":
        restored8(rewriter, node)
        return
    at = node.output[0]
    if node.op_type == "Conv":
        value = rewriter.constant(node.input[1])
        assert value is not None
        weights, axis = np.asarray(value, np.float32), 0
        dense = None
    else:
        dense = Dense.of(rewriter, node)
        weights, axis = dense.weights, 1
    grid = symmetric(weights, axis if settings.per_channel else None, 127)
    integers = rewriter.store(f"{at}_integers", grid.integers)
    scales = rewriter.store(f"{at}_scales", grid.scales)
    nodes = [
        helper.make_node("Cast", [integers], [f"{at}_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{at}_float", scales], [f"{at}_weights"]),
    ]
    if dense is None:
        same = onnx.NodeProto()
        same.CopyFrom(node)
        same.input[1] = f"{at}_weights"
        rewriter.replace(node, [*nodes, same])
        return
    nodes.append(helper.make_node("MatMul", [dense.data, f"{at}_weights"], [f"{at}_product"]))
    rewriter.replace(node, [*nodes, *dense.with_bias(rewriter, f"{at}_product")])


def blocks8(rewriter: Rewriter, node: onnx.NodeProto, settings: Settings) -> None:
    """8 bits, a scale for each ``settings.block`` weights of an output."""
    _blocks(rewriter, node, settings, 8)


def blocks4(rewriter: Rewriter, node: onnx.NodeProto, settings: Settings) -> None:
    """4 bits, a scale for each ``settings.block`` weights of an output."""
    _blocks(rewriter, node, settings, 4)


def _blocks(rewriter: Rewriter, node: onnx.NodeProto, settings: Settings, bits: int) -> None:
    dense = Dense.of(rewriter, node)
    at = dense.result
    packed, scales = pack_blocks(dense.weights, settings.block, bits)
    product = helper.make_node(
        "MatMulNBits",
        [dense.data, rewriter.store(f"{at}_packed", packed), rewriter.store(f"{at}_scales", scales)],
        [f"{at}_product"],
        domain=MICROSOFT,
        K=dense.weights.shape[0],
        N=dense.weights.shape[1],
        bits=bits,
        block_size=settings.block,
    )
    rewriter.replace(node, [product, *dense.with_bias(rewriter, f"{at}_product")])


def pack_blocks(weights: NDArray[np.float32], block: int, bits: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Weights (inputs, outputs) as `MatMulNBits` takes them: uint8 (outputs, blocks, block · bits / 8) and float32
    scales (outputs · blocks,). Missing inputs of the last block are zeros."""
    middle = 1 << (bits - 1)
    inputs, outputs = weights.shape
    count = -(-inputs // block)
    filled = np.zeros((outputs, count * block), np.float32)
    filled[:, :inputs] = weights.T
    grid = symmetric(filled.reshape(outputs * count, block), 0, middle - 1)
    lifted = (grid.integers.astype(np.int16) + middle).astype(np.uint8)
    if bits == 4:
        lifted = lifted[:, 0::2] | (lifted[:, 1::2] << np.uint8(4))
    return lifted.reshape(outputs, count, -1), grid.scales.reshape(-1)
