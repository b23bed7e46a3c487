"""Each pass against the float graph, within the error that it states."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from random_graphs import attention_model, convolution_model, dense_model, model_of, outputs_of, table_model

from devices.profiles import load_profile
from quantize.graph import operators
from quantize.grid import best_clip, pack_nibbles, symmetric
from quantize.passes.settings import Settings
from quantize.passes.static import affine
from quantize.passes.weights import pack_blocks
from quantize.schemes import GRAPH, HALF, SCHEMES, allowed, rewrite


def stored_types(model: onnx.ModelProto) -> set[int]:
    return {tensor.data_type for tensor in model.graph.initializer}


def data(*shape: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def relative(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(np.sqrt(((found - expected) ** 2).mean()) / expected.std())


def test_a_grid_rounds_each_value_by_half_a_step_at_most() -> None:
    values = data(40, 30)
    for limit in (7, 63, 127):
        grid = symmetric(values, 0, limit)
        assert np.abs(grid.integers).max() == limit
        assert (np.abs(grid.restored() - values) <= grid.scales / 2 + 1e-6).all()


def test_rows_of_zeros_stay_zeros() -> None:
    assert symmetric(np.zeros((2, 4), np.float32), 0, 127, half=True).restored().tolist() == [[0.0] * 4] * 2


def test_a_chosen_clip_is_never_worse_than_the_largest_value() -> None:
    values = data(200, 24)
    plain, clipped = symmetric(values, 0, 7), best_clip(values, 7)
    error = [((grid.restored() - values) ** 2).sum(1) for grid in (plain, clipped)]
    assert (error[1] <= error[0] + 1e-5).all()
    assert error[1].sum() < 0.95 * error[0].sum()


def test_nibbles_lie_low_then_high() -> None:
    assert pack_nibbles(np.array([[-8, 0, 1, 7]], np.int8)).tolist() == [[0x90, 0xF8]]


@pytest.mark.parametrize(
    ("scheme", "limit"), [("rows8", 0.006), ("rows4", 0.11), ("stored8", 0.006), ("stored4", 0.11)]
)
@pytest.mark.parametrize("width", [12, 7])
@pytest.mark.parametrize("summed", [False, True])
def test_tables_are_restored_after_the_lookup(scheme: str, limit: float, width: int, summed: bool) -> None:
    model = table_model(width=width, summed=summed)
    ids = np.random.default_rng(2).integers(0, 50, (3, 9))
    (operator,) = operators(model, "embedding")
    small = rewrite(model, {operator.name: scheme}, Settings())
    assert relative(outputs_of(small, ids=ids), outputs_of(model, ids=ids)) < limit
    assert "table" not in {tensor.name for tensor in small.graph.initializer}
    looked_up = {node.input[0].rpartition("_")[2] for node in small.graph.node if node.op_type == "Gather"}
    assert looked_up == ({"integers", "scales"} if scheme.startswith("rows") else {"table"})


def test_a_table_in_half_precision_behind_a_cast_is_found_and_leaves_nothing_behind() -> None:
    model = table_model()
    table = model.graph.initializer[0]
    values = onnx.numpy_helper.to_array(table).astype(np.float16)
    table.CopyFrom(onnx.numpy_helper.from_array(values, "table16"))
    model.graph.node.insert(0, helper.make_node("Cast", ["table16"], ["table"], to=TensorProto.FLOAT))
    (operator,) = operators(model, "embedding")
    assert (operator.kind, operator.bytes) == ("table", 50 * 12 * 2)
    small = rewrite(model, {operator.name: "rows8"}, Settings())
    assert "table16" not in {tensor.name for tensor in small.graph.initializer}
    assert sum(node.op_type == "Cast" for node in small.graph.node) == 2


@pytest.mark.parametrize(
    ("scheme", "limit"),
    [("static8", 0.02), ("dynamic8", 0.02), ("stored8", 0.01), ("blocks8", 0.01), ("blocks4", 0.15)],
)
@pytest.mark.parametrize("gemm", [False, True])
def test_dense_layers(scheme: str, limit: float, gemm: bool) -> None:
    model, x = dense_model(gemm=gemm), data(16, 64)
    (operator,) = operators(model, "embedding")
    settings = Settings(ranges={"x": (float(x.min()), float(x.max()))})
    small = rewrite(model, {operator.name: scheme}, settings)
    assert relative(outputs_of(small, x=x), outputs_of(model, x=x)) < limit
    assert small.ByteSize() < 0.6 * model.ByteSize()


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("scheme", ["static8", "dynamic8", "stored8"])
def test_scales_by_channel_or_for_all_weights(scheme: str, per_channel: bool) -> None:
    model, x = dense_model(), data(16, 64)
    settings = Settings(per_channel=per_channel, ranges={"x": (float(x.min()), float(x.max()))})
    small = rewrite(model, {"raw": scheme}, settings)
    assert relative(outputs_of(small, x=x), outputs_of(model, x=x)) < 0.03
    sizes = {tensor.name: tensor.dims for tensor in small.graph.initializer}
    assert int(np.prod(sizes["raw_scales"])) == (32 if per_channel else 1)


@pytest.mark.parametrize("per_channel", [False, True])
def test_processors_get_product_and_bias_as_one_operator(per_channel: bool) -> None:
    model, x = dense_model(), data(16, 64)
    ranges = {"x": (float(x.min()), float(x.max()))}
    general = rewrite(model, {"raw": "static8"}, Settings(per_channel=per_channel, ranges=ranges))
    fused = rewrite(model, {"raw": "static8"}, Settings(per_channel=per_channel, ranges=ranges, processors=True))
    kinds = [node.op_type for node in fused.graph.node]
    assert "MatMulIntegerToFloat" in kinds
    assert not {"Add", "MatMul"} & set(kinds)
    assert np.allclose(outputs_of(fused, x=x), outputs_of(general, x=x), atol=1e-5)


def test_a_bias_that_others_see_stays_a_sum() -> None:
    model, x = dense_model(), data(16, 64)
    model.graph.output.append(helper.make_tensor_value_info("raw", TensorProto.FLOAT, ["n", 32]))
    settings = Settings(ranges={"x": (float(x.min()), float(x.max()))}, processors=True)
    small = rewrite(model, {"raw": "static8"}, settings)
    assert "Add" in [node.op_type for node in small.graph.node]


@pytest.mark.parametrize(("scheme", "limit"), [("static8", 0.03), ("stored8", 0.01)])
def test_convolutions(scheme: str, limit: float) -> None:
    model, x = convolution_model(), data(4, 8, 50)
    y = outputs_of(model, x=x)
    settings = Settings(ranges={"x": (float(x.min()), float(x.max())), "y": (float(y.min()), float(y.max()))})
    small = rewrite(model, {"y": scheme}, settings)
    assert relative(outputs_of(small, x=x), y) < limit
    assert TensorProto.INT8 in stored_types(small)


def test_attention_products_in_eight_bits() -> None:
    model, x = attention_model(), data(2, 20, 16)
    found = {operator.name: operator.kind for operator in operators(model, "embedding")}
    assert found == {"q": "dense", "k": "dense", "scores": "product", "y": "product"}
    ranges = dict.fromkeys(("x", "q", "kt"), (-4.0, 4.0)) | {"shares": (0.0, 1.0)}
    small = rewrite(model, dict.fromkeys(found, "static8"), Settings(ranges=ranges))
    assert relative(outputs_of(small, x=x), outputs_of(model, x=x)) < 0.06
    assert sum(node.op_type == "QuantizeLinear" for node in small.graph.node) == 4  # x once for its three readers


def test_seven_bits_never_clip_where_eight_would() -> None:
    """Two products of the largest values fit 16 bits with 7-bit weights: 2 · 255 · 63 ≤ 32,767 < 2 · 255 · 127."""
    settings = Settings(reduce_range=True, ranges={"x": (0.0, 1.0)})
    weights = np.ones((64, 4), np.float32)
    model = dense_model(64, 4)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights, "w"))
    x = np.ones((2, 64), np.float32)
    for scheme in ("static8", "dynamic8"):
        small = rewrite(model, {"raw": scheme}, settings)
        held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in small.graph.initializer}
        assert np.abs(held["raw_integers"]).max() == 63
        assert 2 * 255 * int(np.abs(held["raw_integers"]).max()) <= np.iinfo(np.int16).max
        np.testing.assert_allclose(outputs_of(small, x=x), outputs_of(model, x=x), atol=0.3)


def test_block_weights_as_the_engine_unpacks_them() -> None:
    packed, scales = pack_blocks(np.array([[1.0], [-7.0], [3.5], [0.0]] * 8, np.float32), 32, 4)
    assert packed.shape == (1, 1, 16)
    assert packed[0, 0, :2].tolist() == [0x19, 0x8C]  # 1 → 9, −7 → 1; 3.5 → 4 + 8 = 12, 0 → 8
    assert scales.tolist() == [1.0]


def test_activation_grids_hold_zero_exactly() -> None:
    for low, high in ((-1.0, 3.0), (0.5, 2.0), (-5.0, -1.0)):
        scale, zero = affine(low, high)
        assert 0 <= int(zero) <= 255
        assert (255 - int(zero)) * float(scale) >= high - float(scale)


def test_what_selects_rows_stays_float() -> None:
    constants = {
        "w": np.array([[[1.0, 4.0]]], np.float32),
        "table": data(64, 4),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["code"], pads=[0, 1]),
        helper.make_node("Cast", ["code"], ["ids"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "ids"], ["y"], axis=0),
    ]
    model = model_of(nodes, constants, {"x": (TensorProto.FLOAT, ["b", 1, "n"])}, {"y": ["b", 1, "m", 4]})
    found = {operator.kind: operator.protected for operator in operators(model, "sequence-classification")}
    assert "selects rows" in found["convolution"]
    assert not found["table"]


def test_fourier_matrices_long_filters_and_heads_stay_float() -> None:
    angle = 2 * np.pi * np.outer(np.arange(32), np.arange(17)) / 32
    fourier = dense_model(32, 17)
    fourier.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.cos(angle).astype(np.float32), "w"))
    assert "transform" in operators(fourier, "embedding")[0].protected
    filters = convolution_model()
    filters.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(data(16, 8, 99), "w"))
    filters.graph.node[0].attribute[0].ints[:] = [49, 49]
    assert "99 positions" in operators(filters, "embedding")[0].protected
    assert "head" in operators(dense_model(), "causal-lm")[0].protected
    assert not operators(dense_model(), "sequence-classification")[0].protected


def test_loops_and_branches_are_left_alone() -> None:
    body = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["inside"])],
        "then",
        [],
        [helper.make_tensor_value_info("inside", TensorProto.FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["same"])],
        "else",
        [],
        [helper.make_tensor_value_info("same", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("If", ["flag"], ["z"], then_branch=body, else_branch=other),
        helper.make_node("MatMul", ["z", "w"], ["y"]),
    ]
    model = model_of(
        nodes,
        {"w": data(16, 16) / 4, "flag": np.array(True)},
        {"x": (TensorProto.FLOAT, ["batch", 16])},
        {"y": ["batch", 16]},
    )
    (operator,) = operators(model, "embedding")
    assert operator.name == "y"
    small = rewrite(model, {"y": "stored8"}, Settings())
    assert "w" in {tensor.name for tensor in small.graph.initializer}  # the branch still reads it
    x = data(4, 16)
    assert relative(outputs_of(small, x=x), outputs_of(model, x=x)) < 0.01


def test_the_callers_model_stays_as_it_was() -> None:
    model = dense_model()
    before = model.SerializeToString(deterministic=True)
    first = rewrite(model, {"raw": "stored8"}, Settings()).SerializeToString(deterministic=True)
    assert model.SerializeToString(deterministic=True) == before
    assert rewrite(model, {"raw": "stored8"}, Settings()).SerializeToString(deterministic=True) == first


def test_a_device_refuses_what_its_profile_refuses() -> None:
    (operator,) = operators(dense_model(), "embedding")
    laptop = load_profile("x86-64-avx2")
    names = {scheme.name for scheme in allowed(operator, laptop, Settings(reduce_range=True))}
    assert names == {"static8", "dynamic8", "stored8", "blocks8", "blocks4"}
    clipped = {scheme.name for scheme in allowed(operator, laptop, Settings(reduce_range=False))}
    assert clipped == {"stored8", "blocks8", "blocks4"}


def test_every_scheme_says_what_it_is() -> None:
    assert all(scheme.summary and scheme.kinds for scheme in SCHEMES.values())


def test_half_precision_leaves_indices_exact() -> None:
    """Rows beyond 2,048 are no numbers of float16: what computes them stays float32."""
    rng = np.random.default_rng(3)
    constants = {
        "two": np.array(2.0, np.float32),
        "table": rng.normal(0, 1, (9000, 8)).astype(np.float32),
        "w": rng.normal(0, 0.3, (8, 8)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["doubled"]),
        helper.make_node("Cast", ["doubled"], ["ids"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "ids"], ["rows"], axis=0),
        helper.make_node("MatMul", ["rows", "w"], ["y"]),
    ]
    model = model_of(nodes, constants, {"x": (TensorProto.FLOAT, ["batch"])}, {"y": ["batch", 8]})
    small = rewrite(model, {GRAPH: HALF}, Settings())
    x = np.array([3001.0, 4099.0, 1.0], np.float32)
    found = outputs_of(small, x=x)
    assert found.dtype == np.float32
    assert relative(found, outputs_of(model, x=x)) < 0.002
    assert small.ByteSize() < 0.6 * model.ByteSize()
