"""A network as a graph: free axes, each weight once, the same bytes each time, and no silent difference."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgeseq.session import Session
from export.errors import FamilyError, ParityError
from export.network import GraphInput, Model, Network, Outputs
from export.operators.linear import tied_linear
from export.parity import compare
from export.tracing import trace
from export.weights import Loaded

SPEC = {"type": "nucleotide", "vocabulary": {"A": 0, "C": 1, "G": 2, "T": 3, "N": 4}, "pad": 5}


class Tied(Network):
    """Ids through an embedding and back through the same table."""

    inputs = (GraphInput("input_ids"), GraphInput("attention_mask"))

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.table = nn.Embedding(6, 8)
        self.norm = nn.LayerNorm(8)

    def forward(self, *inputs: torch.Tensor) -> Outputs:
        hidden = self.norm(self.table(inputs[0]) * inputs[1][..., None].to(torch.float32))
        return {"last_hidden_state": hidden, "logits": tied_linear(hidden, self.table.weight)}


class Frozen(Tied):
    """Keeps the length of the row that the exporter saw."""

    def forward(self, *inputs: torch.Tensor) -> Outputs:
        length = int(inputs[0].shape[1])
        return {"logits": self.table(inputs[0])[:, :length] + torch.arange(length, dtype=torch.float32)[None, :, None]}


class Different(Tied):
    """Gives something else in a graph than outside of one."""

    def forward(self, *inputs: torch.Tensor) -> Outputs:
        return {"logits": self.table(inputs[0]) + (1.0 if torch.compiler.is_exporting() else 0.0)}


def model(network: Network) -> Model:
    return Model(network.eval(), "masked-lm", SPEC, 300, Loaded(1, {}, ("float32",)))


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    return trace(Tied().eval(), ("logits", "last_hidden_state"))


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (3, 300)])
def test_one_graph_runs_any_batch_and_any_length(graph: onnx.ModelProto, shape: tuple[int, int]) -> None:
    ids = np.random.default_rng(2).integers(0, 5, shape)
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    given = Session(graph.SerializeToString()).run(inputs)
    wanted: Mapping[str, torch.Tensor] = Tied().eval()(*map(torch.from_numpy, inputs.values()))
    for name, value in wanted.items():
        np.testing.assert_allclose(given[name], value.detach().numpy(), atol=1e-6)


def test_a_tied_weight_is_stored_once(graph: onnx.ModelProto) -> None:
    assert [list(tensor.dims) for tensor in graph.graph.initializer].count([6, 8]) == 1
    assert [8, 6] not in [list(tensor.dims) for tensor in graph.graph.initializer]


def test_the_same_network_gives_the_same_bytes(graph: onnx.ModelProto) -> None:
    again = trace(Tied().eval(), ("logits", "last_hidden_state"))
    assert again.SerializeToString(deterministic=True) == graph.SerializeToString(deterministic=True)


def test_nothing_in_the_graph_says_where_it_was_made(graph: onnx.ModelProto) -> None:
    data = graph.SerializeToString()
    assert b"test_tracing" not in data
    assert b"site-packages" not in data
    assert b"stack_trace" not in data


def test_an_output_that_the_model_does_not_have(graph: onnx.ModelProto) -> None:
    with pytest.raises(
        FamilyError, match=r"attentions: the model has no such output; it has last_hidden_state, logits"
    ):
        trace(Tied().eval(), ("attentions",))


def test_a_frozen_length_does_not_pass() -> None:
    with pytest.raises((ParityError, RuntimeError)):
        trace(Frozen().eval(), ("logits",))


def test_parity_covers_one_token_the_longest_row_and_padding() -> None:
    network = Tied()
    found = compare(model(network), trace(network.eval(), ("logits",)).SerializeToString(), ("logits",))
    assert {(1,), (300,)} <= {one.lengths for one in found}
    assert any(one.padded and len(set(one.lengths)) > 1 for one in found)
    assert max(one.worst for one in found) < 1e-5


def test_a_graph_that_differs_from_its_module_is_refused() -> None:
    network = Different()
    with pytest.raises(ParityError, match=r"graph and module differ by 1\.00e\+00; 1e-04 is allowed"):
        compare(model(network), trace(network.eval(), ("logits",)).SerializeToString(), ("logits",))
