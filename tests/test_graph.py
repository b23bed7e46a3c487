"""A graph that takes data from outside of its own bytes is recognised, wherever the reference hides."""

from __future__ import annotations

from contextlib import suppress

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgeseq.graph import outside_references


def weights(*, outside: bool) -> onnx.TensorProto:
    """A tensor of four ones, or a reference to them in a file."""
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [4], [1.0] * 4)
    if outside:
        tensor.ClearField("float_data")
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "weights.bin"
    return tensor


def model(*nodes: onnx.NodeProto, initializers: tuple[onnx.TensorProto, ...] = ()) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    return helper.make_model(helper.make_graph(list(nodes), "g", [x], [y], list(initializers)))


def places(*, outside: bool) -> dict[str, onnx.ModelProto]:
    """Models with a tensor in every place where ONNX has one."""
    tensor = weights(outside=outside)
    add = helper.make_node("Add", ["x", "w"], ["y"])
    constant = helper.make_node("Constant", [], ["w"], value=tensor)
    branch = helper.make_graph([constant], "b", [], [helper.make_tensor_value_info("w", TensorProto.FLOAT, [4])])
    sparse = onnx.SparseTensorProto(values=tensor, dims=[8])
    sparse.indices.CopyFrom(helper.make_tensor("i", TensorProto.INT64, [4], [0, 1, 2, 3]))
    found = {
        "initializer": model(add, initializers=(tensor,)),
        "constant": model(constant, add),
        "branch": model(helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)),
        "sparse constant": model(helper.make_node("Constant", [], ["w"], sparse_value=sparse), add),
        "sparse initializer": model(add),
        "function": model(add),
        "training": model(add),
    }
    found["sparse initializer"].graph.sparse_initializer.append(sparse)
    function = helper.make_function("d", "f", [], ["w"], [constant], [helper.make_opsetid("", 17)])
    found["function"].functions.append(function)
    found["training"].training_info.add().algorithm.initializer.append(tensor)
    return found


@pytest.mark.parametrize("place", list(places(outside=True)))
def test_a_reference_to_a_file_is_found(place: str) -> None:
    found = outside_references(places(outside=True)[place].SerializeToString())
    assert set(found) == {"tensor 'w' takes its data from another file"}


@pytest.mark.parametrize("place", list(places(outside=False)))
def test_a_whole_graph_refers_to_nothing(place: str) -> None:
    assert outside_references(places(outside=False)[place].SerializeToString()) == []


def test_a_compiled_engine_outside_is_found() -> None:
    node = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="engine.bin")
    assert outside_references(model(node).SerializeToString()) == ["a node takes its graph from a compiled engine"]


def test_graphs_in_graphs_without_end_are_refused() -> None:
    graph = b""
    for _ in range(100):  # a graph (6) in an attribute (5) of a node (1) of a graph
        for field in (6, 5, 1):
            graph = bytes([field << 3 | 2]) + varint(len(graph)) + graph
    with pytest.raises(ValueError, match="nested more than 200 deep"):
        outside_references(b"\x3a" + varint(len(graph)) + graph)


def varint(value: int) -> bytes:
    found = b""
    while value > 0x7F:
        found += bytes([value & 0x7F | 0x80])
        value >>= 7
    return found + bytes([value])


@given(st.binary(max_size=200))
def test_any_bytes_end_in_an_answer_or_a_value_error(data: bytes) -> None:
    with suppress(ValueError):
        assert all("takes its" in sentence for sentence in outside_references(data))
