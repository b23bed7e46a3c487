"""Convolutions by minimal filtering: the engine's graph against PyTorch's convolution in double precision."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from export.network import GraphInput, Network, Outputs
from export.operators.dilated_convolution import DilatedConvolution
from export.operators.minimal_filtering import FEWEST_CHANNELS, filtering
from export.tracing import trace
from quantize.graph import operators

WIDTH = FEWEST_CHANNELS
SHAPES = ((3, 12), (5, 4), (7, 3), (9, 8), (9, 32))


class Convolutions(Network):
    """Some convolutions of the same rows, each an output named by its taps and how far apart they stand."""

    def __init__(
        self, shapes: tuple[tuple[int, int], ...] = SHAPES, *, width: int = WIDTH, depthwise: bool = False
    ) -> None:
        super().__init__()
        self.inputs = (GraphInput("x", ("batch", "length", width), torch.float32),)
        torch.manual_seed(1)
        made = {
            output(taps, dilation): DilatedConvolution(width, taps, dilation, depthwise=depthwise, bias=taps % 2 == 1)
            for taps, dilation in shapes
        }
        self.convolutions = nn.ModuleDict(made)

    def forward(self, *inputs: torch.Tensor) -> Outputs:
        return {name: convolution(inputs[0]) for name, convolution in self.convolutions.items()}


def output(taps: int, dilation: int) -> str:
    return f"{taps}_{dilation}"


@cache
def network() -> Convolutions:
    return Convolutions().eval()


@cache
def graph() -> onnx.ModelProto:
    return trace(network(), [output(*shape) for shape in SHAPES])


@cache
def session() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(graph().SerializeToString(), providers=["CPUExecutionProvider"])


@cache
def one() -> onnx.ModelProto:
    return trace(Convolutions(((5, 4),)).eval(), ("5_4",))


def rows(batch: int, length: int) -> torch.Tensor:
    return torch.randn(batch, length, WIDTH, generator=torch.Generator().manual_seed(length))


def in_doubles(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    assert isinstance(module, DilatedConvolution)
    reach = module.dilation * (module.weight.shape[2] - 1)
    padded = functional.pad(x.double().transpose(1, 2), (reach // 2, reach - reach // 2))
    bias = None if module.bias is None else module.bias.double()
    found: torch.Tensor = functional.conv1d(padded, module.weight.double(), bias, dilation=module.dilation)
    return found.transpose(1, 2).detach()


def differences(x: torch.Tensor) -> dict[str, float]:
    """Largest difference of each output of the graph from the sum in double precision."""
    names = [output(*shape) for shape in SHAPES]
    found = dict(zip(names, session().run(names, {"x": x.numpy()}), strict=True))
    wanted = {name: in_doubles(each, x).numpy() for name, each in network().convolutions.items()}
    assert all(found[name].shape == x.shape for name in names)
    return {name: float(np.abs(found[name] - wanted[name]).max()) for name in names}


@pytest.mark.slow
@settings(max_examples=8)
@given(batch=st.integers(1, 3), length=st.integers(1, 200))
def test_graph_gives_every_convolution_at_every_length(batch: int, length: int) -> None:
    found = differences(rows(batch, length))
    assert max(found.values()) < 2e-5, found


@pytest.mark.parametrize("length", [1, 2, 11, 12, 13, 48, 97, 192])
def test_graph_gives_every_convolution_around_the_ends_of_blocks(length: int) -> None:
    found = differences(rows(2, length))
    assert max(found.values()) < 2e-5, found


def test_rounding_is_below_three_times_that_of_the_plain_sum() -> None:
    x = rows(2, 150)
    with torch.no_grad():
        plain = {
            name: float((each(x) - in_doubles(each, x)).abs().max()) for name, each in network().convolutions.items()
        }
    found = differences(x)
    assert all(found[name] < 3 * plain[name] for name in found), (found, plain)


@pytest.mark.parametrize(
    ("taps", "outputs", "points"), [(3, 3, 5), (4, 3, 6), (5, 3, 7), (6, 6, 15), (7, 6, 20), (9, 6, 20), (12, 6, 25)]
)
def test_a_block_takes_fewer_products_than_outputs_times_taps(taps: int, outputs: int, points: int) -> None:
    plan = filtering(taps, 1)
    assert plan is not None
    assert (plan.outputs, plan.points) == (outputs, points)


@pytest.mark.parametrize(("taps", "dilation"), [(1, 1), (2, 1), (16, 1), (5, 64), (9, 64)])
def test_where_it_saves_little_the_plain_sum_stays(taps: int, dilation: int) -> None:
    assert filtering(taps, dilation) is None


@pytest.mark.parametrize(("width", "depthwise", "products"), [(WIDTH // 2, False, 1), (WIDTH, True, 0)])
def test_few_channels_and_channels_apart_stay_the_plain_sum(width: int, depthwise: bool, products: int) -> None:
    found = trace(Convolutions(((9, 1),), width=width, depthwise=depthwise).eval(), ("9_1",))
    assert sum(node.op_type == "MatMul" for node in found.graph.node) == products


def test_the_graph_holds_the_weights_at_the_points_alone_and_is_the_same_each_time() -> None:
    held = [tensor for tensor in one().graph.initializer if max(tensor.dims, default=0) >= WIDTH]
    assert sorted(tuple(tensor.dims) for tensor in held) == [(WIDTH,), *[(WIDTH, WIDTH)] * 7]
    assert {each.domain for each in one().opset_import} == {""}
    assert trace(Convolutions(((5, 4),)).eval(), ("5_4",)).SerializeToString() == one().SerializeToString()


def test_every_product_may_be_compressed() -> None:
    found = [each for each in operators(one(), "embedding") if each.kind == "dense"]
    assert [(each.shape, each.protected) for each in found] == [((WIDTH, WIDTH), "")] * 7
