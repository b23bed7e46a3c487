"""Weights that a graph lays out anew are stored as they are used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from gpn_checkpoint import GPN, published, write
from onnx import TensorProto, helper, numpy_helper

from edgeseq.manifest import TaskKind
from export.checkpoint import open_checkpoint
from export.constants import LAYOUTS, fold_layouts
from export.families import find
from export.network import Request
from export.tracing import trace
from quantize.graph import operators


def graph_with(nodes: list[onnx.NodeProto], stored: dict[str, np.ndarray], outputs: tuple[str, ...]) -> onnx.ModelProto:
    free = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 4])
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    tensors = [numpy_helper.from_array(value, name) for name, value in stored.items()]
    graph = helper.make_graph(nodes, "graph", [free], given, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def run(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, {"x": x}))


@pytest.mark.parametrize("shape", [[4, 6], [4, -1], [0, -1]])
def test_a_product_gets_its_weights_as_stored_ones(shape: list[int]) -> None:
    weights = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
    model = graph_with(
        [
            helper.make_node("Transpose", ["weights"], ["turned"], perm=[2, 0, 1]),
            helper.make_node("Reshape", ["turned", "shape"], ["flat"]),
            helper.make_node("MatMul", ["x", "flat"], ["y"]),
        ],
        {"weights": weights, "shape": np.array(shape, np.int64)},
        ("y",),
    )
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    before = run(model, x)
    fold_layouts(model.graph)
    assert [node.op_type for node in model.graph.node] == ["MatMul"]
    assert [tensor.name for tensor in model.graph.initializer] == ["flat"]
    np.testing.assert_array_equal(run(model, x)[0], before[0])


def test_what_is_computed_or_given_out_stays() -> None:
    model = graph_with(
        [
            helper.make_node("Transpose", ["x"], ["y"]),
            helper.make_node("Transpose", ["weights"], ["z"]),
        ],
        {"weights": np.ones((2, 3), np.float32), "unread": np.ones(1, np.float32)},
        ("y", "z"),
    )
    before = model.SerializeToString()
    fold_layouts(model.graph)
    assert model.SerializeToString() == before


def test_what_a_branch_reads_stays() -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["turned"], ["inner"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    model = graph_with(
        [
            helper.make_node("Transpose", ["weights"], ["turned"]),
            helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch),
            helper.make_node("Identity", ["x"], ["z"]),
        ],
        {"weights": np.ones((2, 3), np.float32), "yes": np.array(True)},
        ("y", "z"),
    )
    fold_layouts(model.graph)
    assert [node.op_type for node in model.graph.node] == ["Transpose", "If", "Identity"]


def test_convolutions_of_gpn_are_operators_with_weights(tmp_path: Path) -> None:
    """Nothing of their weights would be compressed otherwise."""

    checkpoint = open_checkpoint(write(tmp_path, GPN, published(GPN)))
    model = find(checkpoint).read(checkpoint, Request())
    graph = trace(model.network.eval(), ("logits",))
    stored = {tensor.name for tensor in graph.graph.initializer}
    assert not [n for n in graph.graph.node if n.op_type in LAYOUTS and set(n.input) <= stored]
    task: TaskKind = "masked-lm"
    found = operators(graph, task)
    assert [each for each in found if each.kind == "product"] == []
    width, taps = GPN["hidden_size"], (GPN["first_kernel_size"], GPN["rest_kernel_size"])
    shapes = [each.shape for each in found]
    assert (taps[0] * width, width) in shapes
    assert shapes.count((taps[1] * width, width)) == GPN["num_hidden_layers"] - 1
