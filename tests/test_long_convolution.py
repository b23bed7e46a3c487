"""Convolutions of any length: the engine's graph against the sum that it stands for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hyena_checkpoint import shifted_sum
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from export.network import GraphInput, Network, Outputs
from export.operators.block_convolution import block_convolution, block_spectrum, radix_of
from export.operators.long_convolution import SHORT, first_taps, long_convolution, radix_for, spectrum
from export.operators.short_convolution import short_convolution
from export.tracing import trace

CHANNELS = 3
Array = NDArray[np.float32]


class Convolution(Network):
    """One of the operators, with the taps that it was given."""

    inputs = (GraphInput("x", ("batch", "length", CHANNELS), torch.float32),)

    def __init__(self, taps: Array, operator: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.register_buffer("taps", torch.from_numpy(taps))
        self.taps: torch.Tensor
        self.operator = operator

    def forward(self, *inputs: torch.Tensor) -> Outputs:
        return {"y": self.operator(inputs[0], self.taps)}


def random_taps(count: int) -> Array:
    return np.random.default_rng(count).normal(0, count**-0.5, (count, CHANNELS)).astype(np.float32)


def as_long(taps: Array, radix: int) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    first = first_taps(torch.from_numpy(taps))
    return lambda x, taps: long_convolution(x, lambda length: taps[:length], first, spectrum(x, radix))


def as_blocks(taps: Array) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    stored = block_spectrum(torch.from_numpy(taps))
    return lambda x, taps: block_convolution(x, taps, stored)


def with_bias(x: torch.Tensor, taps: torch.Tensor) -> torch.Tensor:
    return short_convolution(x, taps, torch.tensor([0.5, -1.0, 2.0]))


NETWORKS: dict[str, Callable[[], Convolution]] = {
    "long, 16": lambda: Convolution(random_taps(1100), as_long(random_taps(1100), 16)),
    "long, 32": lambda: Convolution(random_taps(2000), as_long(random_taps(2000), 32)),
    "block, 128": lambda: Convolution(random_taps(128), as_blocks(random_taps(128))),
    "block, 20": lambda: Convolution(random_taps(20), as_blocks(random_taps(20))),
    "short, 7": lambda: Convolution(random_taps(7), short_convolution),
    "short, 1": lambda: Convolution(random_taps(1), short_convolution),
    "short, 3, bias": lambda: Convolution(random_taps(3), with_bias),
}
LONGEST = {"long, 16": 1100, "long, 32": 2000}


@cache
def graph(name: str) -> onnx.ModelProto:
    return trace(NETWORKS[name]().eval(), ("y",))


@cache
def session(name: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(graph(name).SerializeToString(), providers=["CPUExecutionProvider"])


def wanted(name: str, x: Array) -> Array:
    """The sum itself, in double precision. The taps of a short convolution are stored with the last one first."""
    taps = NETWORKS[name]().taps.numpy().astype(np.float64)
    bias = np.array([0.5, -1.0, 2.0]) if "bias" in name else 0.0
    found: Array = shifted_sum(x.astype(np.float64), taps[::-1] if name.startswith("short") else taps) + bias
    return found


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=25)
@given(data=st.data())
def test_graph_gives_the_sum_at_every_length(name: str, data: st.DataObject) -> None:
    length = data.draw(st.integers(1, LONGEST.get(name, 500)))
    batch = data.draw(st.integers(1, 3))
    x = np.random.default_rng(length).normal(0, 1, (batch, length, CHANNELS)).astype(np.float32)
    (given_,) = session(name).run(["y"], {"x": x})
    assert given_.shape == x.shape
    assert np.abs(given_ - wanted(name, x)).max() < 2e-5


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("length", [1, 31, 32, 33, 128, 129, 257, SHORT - 1, SHORT, SHORT + 1, 2 * SHORT + 1])
def test_module_and_graph_agree_around_the_sizes_of_blocks(name: str, length: int) -> None:
    x = np.random.default_rng(length).normal(0, 1, (2, length, CHANNELS)).astype(np.float32)
    (given_,) = session(name).run(["y"], {"x": x})
    module = NETWORKS[name]()(torch.from_numpy(x))["y"].numpy()
    assert np.abs(module - wanted(name, x)).max() < 2e-5
    assert np.abs(given_ - module).max() < 2e-5


@pytest.mark.parametrize("name", ["long, 16", "long, 32", "block, 128"])
def test_what_comes_later_changes_nothing(name: str) -> None:
    x = np.random.default_rng(1).normal(0, 1, (1, 300, CHANNELS)).astype(np.float32)
    (before,) = session(name).run(["y"], {"x": x})
    x[:, 200:] = 1e3
    (after,) = session(name).run(["y"], {"x": x})
    assert np.abs(before[:, :200] - after[:, :200]).max() < 5e-3  # a thousandth of a thousand times the rounding


def test_graphs_hold_no_transform_of_the_engine_and_no_loop() -> None:
    operators = {node.op_type for name in NETWORKS for node in graph(name).graph.node}
    assert not operators & {"DFT", "STFT", "Loop", "Scan", "Conv"}


@given(longest=st.integers(1, 1_050_000))
@example(longest=1_048_576)
def test_matrices_made_in_the_graph_stay_small_beside_the_rows(longest: int) -> None:
    radix = radix_for(longest)
    points = (2 * longest + radix**2 - 1) // radix**2
    matrices = (radix // 2 + 1) * radix * (2 * points) ** 2
    assert matrices < max(1 << 20, 700 * longest)


@given(taps=st.integers(1, 600))
def test_a_block_holds_all_taps(taps: int) -> None:
    radix = radix_of(taps)
    assert radix**2 // 2 >= taps
    assert radix == 8 or (radix // 2) ** 2 // 2 < taps
