"""The recurrence of a selective state space: step by step as it is written, in torch and in the graph."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from export.network import GraphInput, Network, Outputs
from export.operators.scan import BLOCK, selective_scan
from export.tracing import trace

WAYS, STATES, CHANNELS = 2, 3, 4
Arrays = tuple[NDArray[np.float32], ...]


def made(length: int, rows: int, *, ways: int = WAYS, states: int = STATES, channels: int = CHANNELS) -> Arrays:
    """Step sizes, inputs, rates, and how states are driven and seen."""
    rng = np.random.default_rng([length, rows])
    delta = rng.gamma(1.0, 0.3, (length, ways, rows, channels))
    driven = rng.normal(size=delta.shape)
    rates = -rng.gamma(1.0, 2.0, (ways, 1, states, channels))
    inward, outward = rng.normal(size=(2, length, ways, rows, states))
    return tuple(each.astype(np.float32) for each in (delta, driven, rates, inward, outward))


def literal(arrays: Arrays) -> NDArray[np.float64]:
    """The recurrence as it is written, one number at a time, in double precision."""
    delta, driven, rates, inward, outward = (each.astype(np.float64) for each in arrays)
    found = np.zeros(delta.shape)
    for way, row, channel in np.ndindex(delta.shape[1:]):
        state = np.zeros(rates.shape[2])
        for step in range(len(delta)):
            state = np.exp(delta[step, way, row, channel] * rates[way, 0, :, channel]) * state
            state += driven[step, way, row, channel] * inward[step, way, row]
            found[step, way, row, channel] = outward[step, way, row] @ state
    return found


class Scanned(Network):
    """The operator alone, with rows and lengths where a graph has them."""

    inputs = (
        GraphInput("delta", ("batch", "length", WAYS, CHANNELS), torch.float32),
        GraphInput("driven", ("batch", "length", WAYS, CHANNELS), torch.float32),
        GraphInput("inward", ("batch", "length", WAYS, STATES), torch.float32),
        GraphInput("outward", ("batch", "length", WAYS, STATES), torch.float32),
    )
    rates: torch.Tensor

    def __init__(self, rates: NDArray[np.float32]) -> None:
        super().__init__()
        self.register_buffer("rates", torch.from_numpy(rates))

    def forward(self, *inputs: torch.Tensor) -> Outputs:
        delta, driven, inward, outward = (each.permute(1, 2, 0, 3) for each in inputs)
        return {"seen": selective_scan(delta, driven, self.rates, inward, outward).permute(2, 0, 1, 3)}


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    return trace(Scanned(made(1, 1)[2]), ("seen",))


@pytest.fixture(scope="module")
def session(graph: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, arrays: Arrays) -> NDArray[np.float32]:
    delta, driven, _, inward, outward = arrays
    names = ("delta", "driven", "inward", "outward")
    inputs = {
        name: each.transpose(2, 0, 1, 3) for name, each in zip(names, (delta, driven, inward, outward), strict=True)
    }
    found: NDArray[np.float32] = session.run(None, inputs)[0].transpose(1, 2, 0, 3)
    return found


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from all_nodes(attribute.g)


@given(
    length=st.integers(1, 40), rows=st.integers(1, 3), ways=st.integers(1, 2), states=st.integers(1, 5),
    channels=st.integers(1, 5),
)  # fmt: skip
@settings(max_examples=30)
def test_torch_takes_the_steps_that_are_written(length: int, rows: int, ways: int, states: int, channels: int) -> None:
    arrays = made(length, rows, ways=ways, states=states, channels=channels)
    found = selective_scan(*(torch.from_numpy(each) for each in arrays))
    assert np.abs(found.numpy() - literal(arrays)).max() < 1e-4


def test_torch_goes_on_from_block_to_block() -> None:
    arrays = made(517, 1)
    found = selective_scan(*(torch.from_numpy(each) for each in arrays))
    assert np.abs(found.numpy() - literal(arrays)).max() < 1e-4


@given(length=st.integers(1, 6 * BLOCK), rows=st.integers(1, 4))
@settings(max_examples=40)
def test_the_graph_takes_the_steps_that_are_written(
    session: onnxruntime.InferenceSession, length: int, rows: int
) -> None:
    arrays = made(length, rows)
    arrays = (*arrays[:2], made(1, 1)[2], *arrays[3:])
    assert np.abs(run(session, arrays) - literal(arrays)).max() < 1e-4


def test_states_that_decay_at_once_and_those_that_never_do_stay_finite(session: onnxruntime.InferenceSession) -> None:
    delta, driven, _, inward, outward = made(1000, 1)
    rates = made(1, 1)[2]
    for size in (1e4, 1e-8):
        arrays = (np.full_like(delta, size), driven, rates, inward, outward)
        found, wanted = run(session, arrays), literal(arrays)
        assert np.isfinite(found).all()
        assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()
        same = selective_scan(*map(torch.from_numpy, arrays)).numpy()
        assert np.abs(same - found).max() < 1e-4 * np.abs(wanted).max()


def test_the_graph_is_the_same_however_long_the_example(graph: onnx.ModelProto) -> None:
    longer = trace(Scanned(made(1, 1)[2]), ("seen",), example_length=5 * BLOCK + 3)
    assert longer.SerializeToString() == graph.SerializeToString()


def test_nothing_of_the_placeholder_is_left(graph: onnx.ModelProto) -> None:
    assert {opset.domain for opset in graph.opset_import} <= {"", "com.microsoft"}
    nodes = list(all_nodes(graph.graph))
    assert {node.domain for node in nodes} <= {"", "com.microsoft"}
    assert [node.op_type for node in nodes].count("Scan") == 1
    assert not {"Loop", "If"} & {node.op_type for node in nodes}
