"""Products and convolutions in 8 bits, with the ranges of the activations measured beforehand (QDQ).

Activations are unsigned, weights signed; with ``reduce_range`` weights have 7 bits, which no processor clips.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from quantize.grid import symmetric
from quantize.passes.dense import Dense
from quantize.passes.settings import Settings
from quantize.rewriting import MICROSOFT, Rewriter


def static8(rewriter: Rewriter, node: onnx.NodeProto, settings: Settings) -> None:
    """uint8 activations × int8 weights."""
    if node.op_type == "Conv":
        _convolution(rewriter, node, settings)
    elif rewriter.constant(node.input[1]) is None:
        _product(rewriter, node, settings)
    else:
        _dense(rewriter, node, settings)


def ranges_wanted(node: onnx.NodeProto) -> tuple[str, ...]:
    """The tensors whose ranges `static8` needs for a node."""
    if node.op_type == "Conv":
        return node.input[0], node.output[0]
    return (node.input[0],) if node.op_type == "Gemm" else tuple(node.input)


def affine(low: float, high: float) -> tuple[np.float32, np.uint8]:
    """Scale and zero point of uint8 for values from ``low`` to ``high``; 0 is always exact."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / 255 or 1.0)
    return scale, np.uint8(np.clip(np.rint(-low / scale), 0, 255))


def _activation(rewriter: Rewriter, tensor: str, settings: Settings) -> tuple[str, np.float32]:
    """The tensor after rounding to 8 bits, by name, and its scale; made once for all its readers."""
    scale, zero = affine(*settings.ranges[tensor])
    known = f"{tensor}_restored"
    if rewriter.maker(known) is None:
        names = [rewriter.store(f"{tensor}_scale", np.array(scale)), rewriter.store(f"{tensor}_zero", np.array(zero))]
        rounded = helper.make_node("QuantizeLinear", [tensor, *names], [f"{tensor}_rounded"])
        restored = helper.make_node("DequantizeLinear", [f"{tensor}_rounded", *names], [known])
        rewriter.before("static", tensor, [rounded, restored])
    return known, scale


def _dense(rewriter: Rewriter, node: onnx.NodeProto, settings: Settings) -> None:
    dense = Dense.of(rewriter, node)
    at = dense.result
    data, scale = _activation(rewriter, dense.data, settings)
    grid = symmetric(dense.weights, 1 if settings.per_channel else None, settings.limit)
    names = [
        rewriter.store(f"{at}_integers", grid.integers),
        rewriter.store(f"{at}_scales", grid.scales.reshape(-1) if settings.per_channel else grid.scales.reshape(())),
        rewriter.store(f"{at}_zeros", np.zeros(grid.scales.size if settings.per_channel else (), np.int8)),
    ]
    along: dict[str, Any] = {"axis": 1} if settings.per_channel else {}
    nodes = [helper.make_node("DequantizeLinear", names, [f"{at}_weights"], **along)]
    if node.op_type == "Gemm" and dense.bias is not None:
        # rows alone: engines make a float Gemm of MatMul and Add, and restore its weights in every run
        flat = grid.scales.reshape(-1) if settings.per_channel else grid.scales.reshape(())
        bias, more = _bias(rewriter, at, dense.bias, np.asarray(flat * scale, np.float32))
        rewriter.replace(node, [*nodes, more, helper.make_node("Gemm", [data, f"{at}_weights", bias], [at])])
        return
    behind = _bias_behind(rewriter, node) if settings.processors else None
    if behind is not None:
        _fused(rewriter, *behind, data, names)
        return
    nodes.append(helper.make_node("MatMul", [data, f"{at}_weights"], [f"{at}_product"]))
    rewriter.replace(node, [*nodes, *dense.with_bias(rewriter, f"{at}_product")])


def _bias_behind(rewriter: Rewriter, node: onnx.NodeProto) -> tuple[onnx.NodeProto, str] | None:
    """The sum with a stored bias that is all that reads a product, and the bias; None where there is none."""
    if node.op_type != "MatMul" or node.output[0] in {value.name for value in rewriter.graph.output}:
        return None
    readers = rewriter.readers(node.output[0])
    if len(readers) != 1 or readers[0].op_type != "Add":
        return None
    bias = next(name for name in readers[0].input if name != node.output[0])
    value = rewriter.constant(bias)
    weights = rewriter.constant(node.input[1])
    fits = value is not None and weights is not None and value.shape == weights.shape[1:]
    return (readers[0], bias) if fits else None


def _fused(rewriter: Rewriter, total: onnx.NodeProto, bias: str, data: str, weights: list[str]) -> None:
    """Product and bias as the one operator that onnxruntime has for both: its fusion of the general form leaves the
    bias a pass of its own over the result."""
    restored = rewriter.maker(data)
    assert restored is not None
    rounded, step, middle = restored.input
    integers, scales, zeros = weights
    fused = helper.make_node(
        "MatMulIntegerToFloat",
        [rounded, integers, step, scales, middle, zeros, bias],
        list(total.output),
        domain=MICROSOFT,
    )
    rewriter.replace(total, [fused])


def _bias(
    rewriter: Rewriter, at: str, bias: NDArray[np.floating], steps: NDArray[np.float32]
) -> tuple[str, onnx.NodeProto]:
    """The bias in 32 bits, counted in ``steps``, by name; and the node that restores it."""
    counted = np.clip(np.rint(np.asarray(bias, np.float64) / steps), -(2**31), 2**31 - 1).astype(np.int32)
    parts = [
        rewriter.store(f"{at}_bias_integers", counted),
        rewriter.store(f"{at}_bias_scales", steps),
        rewriter.store(f"{at}_bias_zeros", np.zeros(steps.shape, np.int32)),
    ]
    along: dict[str, Any] = {"axis": 0} if steps.ndim else {}
    return f"{at}_bias", helper.make_node("DequantizeLinear", parts, [f"{at}_bias"], **along)


def _product(rewriter: Rewriter, node: onnx.NodeProto, settings: Settings) -> None:
    """Two computed tensors, as in attention."""
    left, right = (_activation(rewriter, tensor, settings)[0] for tensor in node.input)
    rewriter.replace(node, [helper.make_node("MatMul", [left, right], list(node.output))])


def _convolution(rewriter: Rewriter, node: onnx.NodeProto, settings: Settings) -> None:
    """Weights by output channel, the bias as sums of 32 bits, and the result rounded as well: that is the form for
    which engines have kernels."""
    at = node.output[0]
    data, scale = _activation(rewriter, node.input[0], settings)
    value = rewriter.constant(node.input[1])
    assert value is not None
    grid = symmetric(np.asarray(value, np.float32), 0 if settings.per_channel else None, settings.limit)
    flat = grid.scales.reshape(-1) if settings.per_channel else grid.scales.reshape(())
    weights = [
        rewriter.store(f"{at}_integers", grid.integers),
        rewriter.store(f"{at}_scales", flat),
        rewriter.store(f"{at}_zeros", np.zeros(flat.shape, np.int8)),
    ]
    along: dict[str, Any] = {"axis": 0} if settings.per_channel else {}
    nodes = [helper.make_node("DequantizeLinear", weights, [f"{at}_weights"], **along)]
    inputs = [data, f"{at}_weights"]
    bias = rewriter.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if bias is not None:
        name, more = _bias(rewriter, at, bias, np.asarray(flat * scale, np.float32))
        nodes.append(more)
        inputs.append(name)
    convolution = onnx.NodeProto()
    convolution.CopyFrom(node)
    del convolution.input[:], convolution.output[:]
    convolution.input.extend(inputs)
    convolution.output.append(f"{at}_raw")
    step, zero = affine(*settings.ranges[at])
    names = [rewriter.store(f"{at}_step", np.array(step)), rewriter.store(f"{at}_middle", np.array(zero))]
    nodes += [
        convolution,
        helper.make_node("QuantizeLinear", [f"{at}_raw", *names], [f"{at}_counts"]),
        helper.make_node("DequantizeLinear", [f"{at}_counts", *names], [at]),
    ]
    rewriter.replace(node, nodes)
