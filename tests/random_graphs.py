"""Small random networks as ONNX, with what every pass needs to see: tables, dense layers, convolutions, attention."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def model_of(
    nodes: list[onnx.NodeProto],
    constants: dict[str, NDArray[Any]],
    inputs: dict[str, tuple[int, list[int | str]]],
    outputs: dict[str, list[int | str]],
    opset: int = 18,
) -> onnx.ModelProto:
    """A checked model; ``outputs`` are float32."""
    graph = helper.make_graph(
        nodes,
        "random",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def dense_model(inputs: int = 64, outputs: int = 32, *, seed: int = 0, gemm: bool = False) -> onnx.ModelProto:
    """``x`` float32 (batch, inputs) → ``y`` (batch, outputs), through one dense layer."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 1 / np.sqrt(inputs), (inputs, outputs)).astype(np.float32)
    bias = rng.normal(0, 0.1, outputs).astype(np.float32)
    if gemm:
        nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)]
        constants: dict[str, NDArray[Any]] = {"w": np.ascontiguousarray(weights.T), "b": bias}
    else:
        nodes = [helper.make_node("MatMul", ["x", "w"], ["raw"]), helper.make_node("Add", ["raw", "b"], ["y"])]
        constants = {"w": weights, "b": bias}
    return model_of(nodes, constants, {"x": (TensorProto.FLOAT, ["batch", inputs])}, {"y": ["batch", outputs]})


def table_model(rows: int = 50, width: int = 12, *, summed: bool = False, seed: int = 0) -> onnx.ModelProto:
    """``ids`` int64 (batch, length) → ``y``: the rows of a table, or their sum over the length."""
    rng = np.random.default_rng(seed)
    constants: dict[str, NDArray[Any]] = {"table": rng.normal(0, 1, (rows, width)).astype(np.float32)}
    if not summed:
        nodes = [helper.make_node("Gather", ["table", "ids"], ["y"], axis=0)]
        shape: list[int | str] = ["batch", "length", width]
    else:
        constants["axis"] = np.array([1])
        nodes = [
            helper.make_node("Gather", ["table", "ids"], ["rows"], axis=0),
            helper.make_node("ReduceSum", ["rows", "axis"], ["y"], keepdims=0),
        ]
        shape = ["batch", width]
    return model_of(nodes, constants, {"ids": (TensorProto.INT64, ["batch", "length"])}, {"y": shape})


def convolution_model(*, seed: int = 0) -> onnx.ModelProto:
    """``x`` float32 (batch, 8, length) → ``y`` (batch, 16, length), through a convolution with bias."""
    rng = np.random.default_rng(seed)
    constants: dict[str, NDArray[Any]] = {
        "w": rng.normal(0, 0.15, (16, 8, 5)).astype(np.float32),
        "b": rng.normal(0, 0.1, 16).astype(np.float32),
    }
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y"], pads=[2, 2])]
    return model_of(
        nodes, constants, {"x": (TensorProto.FLOAT, ["batch", 8, "length"])}, {"y": ["batch", 16, "length"]}
    )


def attention_model(*, seed: int = 0) -> onnx.ModelProto:
    """``x`` float32 (batch, length, 16) → ``y``: queries times keys, and that times the input."""
    rng = np.random.default_rng(seed)
    constants: dict[str, NDArray[Any]] = {
        name: rng.normal(0, 0.25, (16, 16)).astype(np.float32) for name in ("wq", "wk")
    }
    nodes = [
        helper.make_node("MatMul", ["x", "wq"], ["q"]),
        helper.make_node("MatMul", ["x", "wk"], ["k"]),
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "kt"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=-1),
        helper.make_node("MatMul", ["shares", "x"], ["y"]),
    ]
    return model_of(
        nodes, constants, {"x": (TensorProto.FLOAT, ["batch", "length", 16])}, {"y": ["batch", "length", 16]}
    )


def outputs_of(model: onnx.ModelProto, **inputs: NDArray[Any]) -> NDArray[np.float32]:
    """The first output, computed by the engine that devices use."""
    from edgeseq.session import Session

    found = Session(model.SerializeToString(deterministic=True)).run(inputs)
    first: NDArray[np.float32] = next(iter(found.values()))
    return first
