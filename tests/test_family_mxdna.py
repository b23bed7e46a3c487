"""MxDNA: how it cuts rows into units, what its checkpoints compute, and which ones are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from conftest import Shared
from hypothesis import given, settings
from hypothesis import strategies as st
from mxdna_checkpoint import CONFIG, Reference, greedy, published, write

from edgeseq.bundle import read_bundle
from edgeseq.session import Session
from export.checkpoint import open_checkpoint
from export.convert import Naming, convert
from export.errors import CheckpointError, FamilyError, TensorsError
from export.families import find
from export.network import GraphInput, Model, Network, Outputs, Request
from export.operators.deformable_convolution import DeformableConvolution
from export.operators.suppression import choose_windows, place_suppressions
from export.tracing import trace

ROWS = [[2, *[5, 6, 7, 8, 5, 7, 1, 6, 8, 8, 4, 5, 6] * 3, 3], [2, 8, 7, 6, 5, 5, 3], [2, 5, 3], [2, 3], [2]]
CLASSIFIER = {"architectures": ["MxDNAForSequenceClassification"], "id2label": {"0": "a", "1": "b", "2": "c"}}


def read(folder: Path, request: Request | None = None) -> Model:
    checkpoint = open_checkpoint(folder)
    model = find(checkpoint).read(checkpoint, request or Request())
    model.network.eval()
    return model


def padded(rows: list[list[int]]) -> dict[str, np.ndarray[Any, np.dtype[np.int64]]]:
    ids, mask = (np.zeros((len(rows), max(map(len, rows))), np.int64) for _ in range(2))
    for at, row in enumerate(rows):
        ids[at, : len(row)], mask[at, : len(row)] = row, 1
    return {"input_ids": ids, "attention_mask": mask}


def compute(model: Model, rows: list[list[int]]) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        return dict(model.network(*map(torch.from_numpy, padded(rows).values())))


def best_chain(scores: np.ndarray[Any, np.dtype[np.float32]], sizes: list[int], lengths: list[int]) -> torch.Tensor:
    return choose_windows(torch.from_numpy(scores), torch.tensor(lengths), sizes)


def test_the_best_window_comes_first_and_nothing_overlaps_it() -> None:
    scores = np.zeros((1, 8, 2), np.float32)
    scores[0, 4, 1], scores[0, 2, 0] = 5, 9
    assert best_chain(scores, [1, 3], [8]).tolist() == [[-1, 0, 0, -1, 1, -1, 0, -1]]


def test_of_equal_scores_the_earlier_position_and_then_the_earlier_kind_comes_first() -> None:
    same = np.ones((1, 7, 2), np.float32)
    assert best_chain(same, [2, 2], [7]).tolist() == [[-1, -1, 0, -1, 0, -1, -1]]
    assert best_chain(same, [2, 1], [7]).tolist() == [[-1, 1, 1, 1, 1, 1, -1]]


@settings(max_examples=60)
@given(st.data())
def test_rounds_choose_what_the_greedy_rule_chooses(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    rows, length = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 24))
    lengths = data.draw(st.lists(st.integers(0, length), min_size=rows, max_size=rows))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    scores = rng.standard_normal((rows, length, len(sizes))).astype(np.float32)
    scores = np.round(scores, data.draw(st.integers(0, 3)))
    if data.draw(st.booleans()):
        scores = np.sort(scores, axis=1)
    wanted = [greedy(row, sizes, count) for row, count in zip(scores, lengths, strict=True)]
    np.testing.assert_array_equal(best_chain(scores, sizes, lengths), wanted)


class Chooser(Network):
    sizes = (1, 4, 2, 4)
    inputs = (
        GraphInput("scores", ("batch", "length", 4), torch.float32),
        GraphInput("lengths", ("batch",), torch.int64, 24),
    )

    def forward(self, *inputs: torch.Tensor) -> Outputs:
        return {"kinds": choose_windows(inputs[0], inputs[1], self.sizes)}


@pytest.fixture(scope="module")
def chooser() -> onnx.ModelProto:
    return trace(Chooser(), ["kinds"])


@pytest.mark.parametrize("length", [1, 2, 3, 40, 300])
@pytest.mark.parametrize("order", ["random", "rising", "equal"])
def test_the_graph_chooses_the_same(chooser: onnx.ModelProto, length: int, order: str) -> None:
    rng = np.random.default_rng(length)
    scores = rng.standard_normal((2, length, 4)).astype(np.float32)
    scores = {"random": scores, "rising": np.sort(scores, axis=1), "equal": np.zeros_like(scores)}[order]
    lengths = [length, length // 2]
    given = Session(chooser.SerializeToString()).run({"scores": scores, "lengths": np.array(lengths)})["kinds"]
    wanted = [greedy(row, list(Chooser.sizes), count) for row, count in zip(scores, lengths, strict=True)]
    np.testing.assert_array_equal(given, wanted)


def test_a_graph_without_a_choice_stays_as_it_is(chooser: onnx.ModelProto) -> None:
    before = chooser.SerializeToString()
    place_suppressions(chooser)
    assert chooser.SerializeToString() == before
    assert {opset.domain for opset in chooser.opset_import} == {""}


def test_taps_that_stay_in_place_are_a_convolution() -> None:
    deformable = DeformableConvolution(2, 3)
    torch.nn.init.normal_(deformable.weight)
    row = torch.arange(10.0).reshape(1, 5, 2)
    plain = torch.nn.functional.conv1d(row.transpose(1, 2), deformable.weight[..., 0], padding=1).transpose(1, 2)
    torch.testing.assert_close(deformable(row, torch.ones(1, 5)), plain)


@pytest.mark.parametrize("moved", [-40.0, -1.25, 0.5, 3.0, 1e9])
def test_taps_read_between_positions_and_zeros_beyond_the_ends(moved: float) -> None:
    deformable = DeformableConvolution(1, 1)
    deformable.weight.data[:] = 1
    deformable.offset.bias.data[:] = moved
    row = torch.tensor([3.0, 5.0, 11.0, 2.0])
    places = np.clip(np.arange(4) + moved, -2, 6)
    wanted = np.interp(places, np.arange(-2, 7), [0, 0, *row.tolist(), 0, 0, 0])
    np.testing.assert_allclose(deformable(row[None, :, None], torch.ones(1, 4)).detach().flatten(), wanted, atol=1e-5)


@pytest.mark.parametrize(
    "switch",
    [
        {},
        {"num_key_value_heads": 1, "rope_theta": 500.0},
        {"hidden_act": "gelu", "layer_norm_eps": 0.1},
        {"deformable_conv_kernel_size": 5},
        {"expert_kernel_sizes": [7, 3, 3, 1], "num_local_experts": 4},
        {"expert_kernel_sizes": [4, 2], "num_local_experts": 2},
        {"conversion_layer_idx": 0},
        {"conversion_layer_idx": 2},
        CLASSIFIER,
    ],
    ids=str,
)
def test_every_switch_computes_what_is_published(tmp_path: Path, switch: dict[str, Any]) -> None:
    config = {**CONFIG, **switch}
    tensors = published(config)
    model = read(write(tmp_path / "mxdna", config, tensors))
    rows = ROWS[:3]
    logits = compute(model, rows)["logits"]
    for at, wanted in enumerate(Reference(config, tensors).logits(rows)):
        given = logits[at, : len(wanted)] if logits.ndim == 3 else logits[at]
        torch.testing.assert_close(given, wanted, atol=1e-4, rtol=1e-4)


def test_a_row_depends_on_its_batch_as_published_unless_asked_otherwise(tmp_path: Path) -> None:
    folder = write(tmp_path / "mxdna", CONFIG, published(CONFIG))
    for options, apart in (({}, False), ({"rows": "independent"}, True)):
        model = read(folder, Request(options=options))
        together, alone = compute(model, ROWS)["logits"], compute(model, ROWS[1:2])["logits"][0]
        assert (float((together[1, :7] - alone).abs().max()) < 1e-4) == apart
        assert model.shares_batches == model.pads_exactly == apart


def test_an_embedding_is_the_state_of_its_unit_at_every_base(tmp_path: Path) -> None:
    config = {**CONFIG, "architectures": ["MxDNAModel"], "expert_kernel_sizes": [4], "num_local_experts": 1}
    model = read(write(tmp_path / "mxdna", config, published(config)))
    assert model.task == "embedding"
    hidden = compute(model, [[2, 5, 6, 7, 8, 3]])["last_hidden_state"][0]
    torch.testing.assert_close(hidden[1:5], hidden[1].expand(4, -1))
    assert not torch.allclose(hidden[0], hidden[1])
    assert not torch.allclose(hidden[4], hidden[5])


def test_the_head_that_is_there_says_the_task(tmp_path: Path) -> None:
    tensors = published({**CONFIG, **CLASSIFIER})
    folder = write(tmp_path / "mxdna", {**CONFIG, "architectures": None}, tensors)
    assert read(folder).task == "sequence-classification"
    assert read(folder).labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert read(folder, Request(task="embedding")).task == "embedding"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of one block of bases, one of units, and two kinds of units."""
    config = {**CONFIG, "num_key_value_heads": 1, "expert_kernel_sizes": [1, 4], "num_local_experts": 2}
    return write(tmp_path_factory.mktemp("checkpoint") / "mxdna", config, published(config))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_bundle_scores_each_row_by_itself_at_any_length(folder: Path) -> None:
    output = folder / "lm.edgeseq"
    convert(folder, output, Request(), Naming("m"), outputs=("logits",), progress=lambda _: None)
    bundle = read_bundle(output)
    assert bundle.manifest.input.buckets == ()
    model, session = read(folder), Session(bundle.graph)
    for rows in (ROWS, ROWS[3:4], ROWS[4:], [[5]], [[5, 6]]):
        given, wanted = session.run(padded(rows))["logits"], compute(model, rows)["logits"]
        for at, row in enumerate(rows):
            np.testing.assert_allclose(given[at, : len(row)], wanted[at, : len(row)], atol=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_independent_rows_share_batches(folder: Path) -> None:
    output = folder / "embedding.edgeseq"
    request = Request(task="embedding", options={"rows": "independent"})
    convert(folder, output, request, Naming("m"), progress=lambda _: None)
    bundle = read_bundle(output)
    assert bundle.manifest.input.buckets == (64, 128, 256, 300)
    assert bundle.manifest.input.mixed_lengths
    session = Session(bundle.graph)
    together = session.run(padded(ROWS))["last_hidden_state"]
    for at, row in enumerate(ROWS):
        alone = session.run(padded([row]))["last_hidden_state"][0]
        np.testing.assert_allclose(together[at, : len(row)], alone, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"hidden_act": "mish"}, r"hidden_act is 'mish', which changes"),
        ({"expert_kernel_sizes": []}, r"expert_kernel_sizes is \[\]; each kind of unit needs 1 base"),
        ({"expert_kernel_sizes": [1, 2, 0]}, r"each kind of unit needs 1 base"),
        ({"num_local_experts": 8}, r"num_local_experts is not the number of expert_kernel_sizes, 3"),
        ({"conversion_layer_idx": 3}, r"conversion_layer_idx is 3, which is none of 3 layers"),
        ({"deformable_conv_kernel_size": 2}, r"deformable_conv_kernel_size is 2; an even number"),
        ({"num_attention_heads": 8}, r"num_attention_heads is 8, which does not cut 24 channels"),
        ({"num_key_value_heads": 4}, r"num_key_value_heads is 4, which does not divide 2 heads"),
        ({"expert_kernel_sizes": [1, 2, 6]}, r"experts\.2\.grouped_conv\.weight has shape \(24, 6, 5\)"),
        ({"intermediate_size": 21}, r"ffn\.ffn\.w\d\.weight has shape"),
        ({"rope_theta": None}, r"rope_theta is missing"),
        ({"vocab_size": 10}, r"tensor \S+ has shape \(9,"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    with pytest.raises((CheckpointError, FamilyError), match=problem):
        read(write(tmp_path / "mxdna", {**CONFIG, **change}, published(CONFIG)))


@pytest.mark.parametrize(
    "name",
    [
        "model.conversion_layer.gate.weight",
        "model.conversion_layer.conv_moe.experts.1.grouped_conv.weight",
        "model.conversion_layer.conv_moe.experts.0.norm.bias",
        "model.conversion_layer.deform_conv.offset_conv.bias",
        "model.nucleotide_layers.0.self_attn.projection_k.weight",
        "model.token_layers.0.ffn.ffn.w3.weight",
        "model.token_layers.0.input_layernorm.norm.weight",
        "decoder.cross_attn.projection_q.weight",
        "norm.norm.bias",
        "lm_head.bias",
    ],
)
def test_tensors_that_are_missing_or_not_expected_are_named(tmp_path: Path, name: str) -> None:
    tensors = published(CONFIG)
    value = tensors.pop(name)
    with pytest.raises(TensorsError, match=name.replace(".", r"\.") + " is missing"):
        read(write(tmp_path / "mxdna", CONFIG, tensors))
    more = name.replace("model.", "model.more.") if name.startswith("model.") else name + ".more"
    with pytest.raises(TensorsError, match=more.replace(".", r"\.") + " is not expected"):
        read(write(tmp_path / "mxdna", CONFIG, {**tensors, name: value, more: value.clone()}))


def test_requests_that_it_cannot_meet_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "mxdna", CONFIG, published(CONFIG))
    with pytest.raises(FamilyError, match="option rows is 'mixed'; known: independent"):
        read(folder, Request(options={"rows": "mixed"}))
    with pytest.raises(FamilyError, match="rows of 6000000 tokens; with 3 kinds of units 5592404 at most"):
        read(folder, Request(max_length=6_000_000))
    with pytest.raises(FamilyError, match="has no token-classification head"):
        read(folder, Request(task="token-classification"))


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"model_type": "hnet", "d_model": 8, "n_enc_layer": 1, "target_ratio": 0.3}, "backbone.norm_f.weight"),
        ({"architectures": ["HNet"]}, "model.caduceus.backbone.routing_module_stage1.w_q.weight"),
        ({"model_type": "hnet"}, "routing_module.w_k.weight"),
    ],
)
def test_dnachunker_is_refused_with_the_reason(tmp_path: Path, config: dict[str, Any], name: str) -> None:
    folder = write(tmp_path / "chunker", config, {name: torch.zeros(2)})
    with pytest.raises(FamilyError, match="DNAChunker is known but not read: its published code needs CUDA"):
        find(open_checkpoint(folder))


def test_another_hierarchical_net_is_not_taken_for_dnachunker(tmp_path: Path) -> None:
    folder = write(tmp_path / "other", {"model_type": "hnet", "arch_layout": []}, {"x": torch.zeros(2)})
    with pytest.raises(FamilyError, match="'hnet' is of no family"):
        find(open_checkpoint(folder))


@pytest.mark.parametrize("case", ["single_30", "single_120", "padded_batch", "seqcls_padded_batch"])
def test_golden_outputs(shared: Shared, case: str) -> None:
    folder = shared / "fixtures/mxdna"
    golden = np.load(folder / f"io/{case}.npz")
    model = read(folder / "seqcls" if case.startswith("seqcls") else folder)
    mask = golden["attention_mask"]
    with torch.inference_mode():
        logits = model.network(torch.tensor(golden["input_ids"]), torch.tensor(mask))["logits"].numpy()
    apart = np.abs(logits - golden["logits"])
    assert (apart[mask == 1] if apart.ndim == 3 else apart).max() < 1e-4


def test_golden_choices(shared: Shared) -> None:
    golden = np.load(shared / "fixtures/mxdna/io/nms.npz")
    sizes = json.loads((shared / "fixtures/mxdna/config.json").read_text())["expert_kernel_sizes"]
    assert golden["c0_kernel_sizes"].tolist() == sizes
    for case in ("c0", "c1", "c2", "c3", "c4"):
        lengths = golden[f"{case}_attention_mask"].sum(1).tolist()
        given = best_chain(golden[f"{case}_logits"], golden[f"{case}_kernel_sizes"].tolist(), lengths)
        np.testing.assert_array_equal(given, golden[f"{case}_center"])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_graph_gives_the_golden_outputs(shared: Shared) -> None:
    folder = shared / "fixtures/mxdna"
    session = Session(trace(read(folder).network, ["logits"]).SerializeToString())
    for case in ("single_30", "single_120", "padded_batch"):
        golden = np.load(folder / f"io/{case}.npz")
        logits = session.run({name: golden[name] for name in ("input_ids", "attention_mask")})["logits"]
        assert np.abs(logits - golden["logits"])[golden["attention_mask"] == 1].max() < 1e-4
