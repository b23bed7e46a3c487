"""HyenaDNA in both published layouts: what its checkpoints compute, and which ones are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import Shared
from hyena_checkpoint import (
    BACKBONE,
    HYENADNA,
    Array,
    Tensors,
    compute,
    original_config,
    original_tensors,
    published,
    write,
    write_original,
)
from numpy.typing import NDArray

from edgeseq.errors import EdgeseqError
from export.checkpoint import open_checkpoint
from export.convert import Naming, convert
from export.families import find, hyenadna
from export.network import Model, Request
from export.networks.hyenadna import HyenaNetwork
from export.parity import cases, feed, run_module
from export.pruning.recover import published_tensors
from export.rows import batch_for
from export.tracing import trace

CLASSIFIER: dict[str, Any] = {"architectures": ["HyenaDNAForSequenceClassification"]}
SWITCHES: dict[str, dict[str, Any]] = {
    "as published": {},
    "three features of a position": {"emb_dim": 3},
    "no hidden layer in the filters": {"num_inner_mlps": 0},
    "one hidden layer": {"num_inner_mlps": 1},
    "three hidden layers": {"num_inner_mlps": 3},
    "fixed frequency": {"train_freq": False, "activation_freq": 3},
    "tied decoder": {"tie_word_embeddings": True},
    "another epsilon of the last norm": {"layer_norm_epsilon": 0.1},
    "four taps": {"short_filter_order": 4},
    "one layer": {"n_layer": 1},
    "a vocabulary that needs no padding": {"vocab_size": 16},
    "a vocabulary padded to 32": {"pad_vocab_size_multiple": 32},
}
FIXTURES = ("hyenadna/tiny-lm", "hyenadna/tiny-cls", "hyenadna_hf", "hyenadna_hf/seqcls")
ROWS = np.array([[7, 8, 9, 10, 11, 7, 7, 10, 9, 1], [9, 9, 8, 7, 6, 10, 11, 8, 7, 1]])
Case = tuple[NDArray[np.int64], dict[str, Array]]


def read(path: Path, request: Request | None = None) -> Model:
    checkpoint = open_checkpoint(path)
    model = find(checkpoint).read(checkpoint, request or Request())
    model.network.eval()
    return model


def tiny(folder: Path, **changes: Any) -> tuple[dict[str, Any], Tensors]:
    config = {**HYENADNA, **changes}
    tensors = published(config)
    write(folder, config, tensors)
    return config, tensors


def graph_of(model: Model, *outputs: str) -> onnx.ModelProto:
    return trace(model.network, outputs)


def start(graph: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])


def golden(shared: Shared, name: str) -> dict[str, Case]:
    """Case → ids and expected outputs, for one fixture folder."""
    found: dict[str, Case] = {}
    if name.startswith("hyenadna/"):
        for file in sorted((shared / f"fixtures/{name}").glob("expected_*.npz")):
            tag = file.stem.removeprefix("expected_")
            found[tag] = (np.load(file.with_name(f"input_ids_{tag}.npy")), dict(np.load(file)))
        return found
    for file in sorted((shared / "fixtures/hyenadna_hf/io").glob("*.npz")):
        if file.stem.startswith("seqcls") == name.endswith("seqcls"):
            case = dict(np.load(file))
            case["last_hidden_state"] = case["hidden_states"][-1] if "hidden_states" in case else np.zeros(0)
            found[file.stem] = (case["input_ids"], case)
    return found


def worst(expected: dict[str, Array], given: dict[str, NDArray[Any]]) -> float:
    names = [name for name in ("logits", "last_hidden_state") if name in expected and expected[name].size]
    assert names
    for name in names:
        assert expected[name].shape == given[name].shape
    return max(float(np.abs(expected[name] - given[name]).max()) for name in names)


def logits_of(model: Model, ids: NDArray[np.int64]) -> NDArray[Any]:
    return run_module(model, {"input_ids": ids})["logits"]


@pytest.mark.parametrize("name", FIXTURES)
def test_module_gives_the_golden_outputs(shared: Shared, name: str) -> None:
    model = read(shared / f"fixtures/{name}")
    found = golden(shared, name)
    assert found
    for ids, expected in found.values():
        assert worst(expected, run_module(model, {"input_ids": ids})) < 1e-4


@pytest.mark.parametrize("file", ["weights.ckpt", "weights_grad_ckpt_layout.ckpt"])
def test_original_files_give_the_golden_outputs_of_the_same_weights(shared: Shared, file: str) -> None:
    model = read(shared / f"fixtures/hyenadna/tiny-original-ckpt/{file}")
    for ids, expected in golden(shared, "hyenadna/tiny-lm").values():
        given = run_module(model, {"input_ids": ids})
        assert np.abs(given["last_hidden_state"] - expected["last_hidden_state"]).max() < 1e-4
        decoder = model.network.get_parameter("embeddings.weight").detach().numpy()
        assert np.abs(given["logits"] - expected["last_hidden_state"] @ decoder.T).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", FIXTURES)
def test_graph_gives_the_golden_outputs(shared: Shared, name: str) -> None:
    outputs = ("logits", "last_hidden_state")
    session = start(graph_of(read(shared / f"fixtures/{name}"), *outputs))
    for ids, expected in golden(shared, name).values():
        given = dict(zip(outputs, session.run(list(outputs), {"input_ids": ids}), strict=True))
        assert worst(expected, given) < 1e-4


@pytest.mark.parametrize("name", SWITCHES)
def test_every_switch_computes_what_the_description_says(tmp_path: Path, name: str) -> None:
    config, tensors = tiny(tmp_path, **SWITCHES[name])
    given = run_module(read(tmp_path), {"input_ids": ROWS})
    hidden, logits = compute(config, tensors, ROWS)
    assert np.abs(given["last_hidden_state"] - hidden).max() < 2e-5
    assert np.abs(given["logits"] - logits).max() < 2e-5


@pytest.mark.parametrize("length", [1, 2, 3, 599, 600])
def test_rows_from_one_token_to_the_longest(tmp_path: Path, length: int) -> None:
    config, tensors = tiny(tmp_path)
    ids = np.random.default_rng(length).integers(0, 12, (2, length))
    assert np.abs(logits_of(read(tmp_path), ids) - compute(config, tensors, ids)[1]).max() < 1e-4


@pytest.mark.parametrize("inner", ["", "layer."])
@pytest.mark.parametrize("layer", [{}, {"modulate": False}, {"train_freq": False, "w": 2}])
def test_original_layout_computes_what_the_description_says(tmp_path: Path, inner: str, layer: dict[str, Any]) -> None:
    config = {**HYENADNA, "tie_word_embeddings": True, "train_freq": "w" not in layer}
    config["activation_freq"] = layer.get("w", 10)
    tensors = published(config)
    write_original(tmp_path, original_config(config, **layer), original_tensors(tensors, inner=inner))
    model = read(tmp_path)
    hidden, logits = compute(config, tensors, ROWS, modulated=layer.get("modulate", True))
    given = run_module(model, {"input_ids": ROWS})
    assert np.abs(given["last_hidden_state"] - hidden).max() < 2e-5
    assert np.abs(given["logits"] - logits).max() < 2e-5
    assert model.task == "causal-lm"


def test_changed_positions_of_the_checkpoint_are_used(tmp_path: Path) -> None:
    config, tensors = tiny(tmp_path)
    tensors[BACKBONE + "layers.1.mixer.filter_fn.pos_emb.z"] *= 1.3
    write(tmp_path, config, tensors)
    assert np.abs(logits_of(read(tmp_path), ROWS) - compute(config, tensors, ROWS)[1]).max() < 2e-5


@pytest.mark.parametrize(
    ("row", "position"),
    [
        ([7, 8, 9, 10, 1], 4),  # no padding: the last
        ([7, 8, 9, 4, 4], 2),  # the one before the first padding
        ([4, 4, 7, 8, 9], 4),  # padding on the left: the last
        ([7, 4, 8, 4, 4], 0),
        ([4, 4, 4, 4, 4], 4),
        ([7], 0),
    ],
)
def test_classes_are_those_of_the_position_before_padding(tmp_path: Path, row: list[int], position: int) -> None:
    config, tensors = tiny(tmp_path, **CLASSIFIER)
    ids = np.array([row])
    wanted = compute(config, tensors, ids)[1][:, position]
    assert np.abs(logits_of(read(tmp_path), ids) - wanted).max() < 2e-5


def test_without_a_padding_id_classes_are_those_of_the_last_position(tmp_path: Path) -> None:
    config, tensors = tiny(tmp_path, **CLASSIFIER, pad_token_id=None)
    ids = np.array([[7, 8, 4, 4]])
    model = read(tmp_path)
    assert np.abs(logits_of(model, ids) - compute(config, tensors, ids)[1][:, -1]).max() < 2e-5
    assert not model.pads_exactly


@pytest.mark.parametrize(
    ("changes", "task", "activation"),
    [
        ({}, "sequence-classification", "softmax"),
        ({"problem_type": "multi_label_classification"}, "sequence-classification", "sigmoid"),
        ({"problem_type": "regression"}, "regression", "identity"),
    ],
)
def test_the_task_is_that_of_the_configuration(
    tmp_path: Path, changes: dict[str, Any], task: str, activation: str
) -> None:
    names = {"0": "enhancer", "1": "junk", "2": "promoter"}
    tiny(tmp_path, **CLASSIFIER, **changes, id2label=names)
    model = read(tmp_path)
    assert (model.task, model.activation) == (task, activation)
    assert model.labels == ("enhancer", "junk", "promoter")


def test_an_embedding_leaves_the_heads_out(tmp_path: Path) -> None:
    config, tensors = tiny(tmp_path)
    given = run_module(read(tmp_path, Request(task="embedding")), {"input_ids": ROWS})
    assert list(given) == ["last_hidden_state"]
    bare = {name.removeprefix("hyena."): value for name, value in tensors.items() if name != "lm_head.weight"}
    write(tmp_path, {**config, "architectures": ["HyenaDNAModel"]}, bare)
    model = read(tmp_path)
    assert model.task == "embedding"
    assert (run_module(model, {"input_ids": ROWS})["last_hidden_state"] == given["last_hidden_state"]).all()


@pytest.mark.slow
def test_filters_that_are_too_large_to_store_are_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, tensors = tiny(tmp_path)
    stored = logits_of(read(tmp_path), ROWS)
    monkeypatch.setattr(hyenadna, "LARGEST_TABLES", 0)
    model = read(tmp_path)
    assert "computed from their networks" in " ".join(model.notes)
    assert np.abs(logits_of(model, ROWS) - stored).max() < 1e-5
    session = start(graph_of(model, "logits"))
    for length in (1, 7, 129, 600):
        ids = np.random.default_rng(length).integers(0, 12, (2, length))
        (given,) = session.run(["logits"], {"input_ids": ids})
        assert np.abs(given - compute(config, tensors, ids)[1]).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["as published", "tied decoder", "classifier"])
def test_graph_is_the_module_at_every_length_and_under_padding(tmp_path: Path, name: str) -> None:
    config, _ = tiny(tmp_path, **(CLASSIFIER if name == "classifier" else SWITCHES[name]))
    model = read(tmp_path)
    graph = graph_of(model, "logits")
    session = start(graph)
    for lengths in cases(model):
        inputs = feed(model, *batch_for(model, lengths))
        (given,) = session.run(["logits"], inputs)
        assert np.abs(given - run_module(model, inputs)["logits"]).max() < 1e-4
    rows = [one for one in graph.graph.initializer if sorted(one.dims) == sorted((16, config["d_model"]))]
    assert len(rows) == {"as published": 2, "tied decoder": 1, "classifier": 1}[name]


@pytest.mark.slow
def test_the_command_writes_a_bundle_that_pads_on_the_right(tmp_path: Path) -> None:
    tiny(tmp_path / "published")
    made = convert(
        tmp_path / "published",
        tmp_path / "h.edgeseq",
        Request(max_length=100),
        Naming("h"),
        outputs=("logits", "last_hidden_state"),
        progress=lambda _: None,
    )
    assert made.family == "HyenaDNA"
    assert made.worst < 1e-4
    assert any(one.padded for one in made.compared)
    assert max(one.lengths[0] for one in made.compared) == 100


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hyena_order": 3}, "hyena_order is 3, which changes what the model computes"),
        ({"use_bias": False}, "use_bias is False"),
        ({"attn_layer_idx": [1]}, "attn_layer_idx is"),
        ({"d_model": "eight"}, "d_model is 'eight', not a whole number"),
        ({"max_seq_len": None}, "max_seq_len is missing"),
        ({"train_freq": False, "activation_freq": None}, "activation_freq is missing"),
    ],
)
def test_settings_that_are_unknown_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write(tmp_path, {**HYENADNA, **changes}, published(HYENADNA))
    with pytest.raises(EdgeseqError, match=message):
        read(tmp_path)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"order": 3}, "order is 3"),
        ({"bidirectional": True}, "bidirectional is True"),
        ({"shift": 0.0}, "shift is 0.0"),
        ({"new_trick": 1}, "new_trick is 1, which changes what the model computes"),
    ],
)
def test_settings_of_an_original_layer_that_are_unknown_are_refused(
    tmp_path: Path, layer: dict[str, Any], message: str
) -> None:
    write_original(tmp_path, original_config(HYENADNA, **layer), original_tensors(published(HYENADNA)))
    with pytest.raises(EdgeseqError, match=message):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("layers.1.mixer.in_proj.bias", None, r"tensor hyena\.backbone\.layers\.1\.mixer\.in_proj\.bias is missing"),
        ("layers.0.mixer.filter_fn.pos_emb.t", None, r"tensor .*layers\.0\.mixer\.filter_fn\.pos_emb\.t is missing"),
        ("layers.1.mixer.filter_fn.implicit_filter.4.bias", None, r"layers\.1\..*implicit_filter\.4\.bias is missing"),
        ("layers.1.mixer.filter_fn.implicit_filter.1.freq", None, r"layers\.1\..*implicit_filter\.1\.freq is missing"),
        ("layers.1.mixer.filter_fn.implicit_filter.6.weight", None, r"layers\.1\..*filter\.6\.weight is missing"),
        ("layers.2.norm1.bias", np.zeros(8), r"tensor hyena\.backbone\.layers\.2\.norm1\.bias is not expected"),
        ("ln_f.weight", np.zeros(9), r"tensor hyena\.backbone\.ln_f\.weight has shape \(9,\)"),
        ("ln_f.bias", np.full(8, np.inf), r"tensor hyena\.backbone\.ln_f\.bias holds values that are not finite"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    tmp_path: Path, name: str, value: NDArray[Any] | None, message: str
) -> None:
    config, tensors = tiny(tmp_path)
    tensors.pop(BACKBONE + name, None)
    if value is not None:
        tensors[BACKBONE + name] = value.astype(np.float32)
    write(tmp_path, config, tensors)
    with pytest.raises(EdgeseqError, match=message):
        read(tmp_path)


def test_copies_of_a_frequency_that_differ_are_refused(tmp_path: Path) -> None:
    tensors = original_tensors(published(HYENADNA))
    name = "model.backbone.layers.0.mixer.filter_fn.implicit_filter.5.freq"
    write_original(tmp_path, original_config(HYENADNA), {**tensors, name: tensors[name] + 1})
    with pytest.raises(EdgeseqError, match=r"implicit_filter\.5\.freq and .*implicit_filter\.1\.freq should be one"):
        read(tmp_path)


def test_what_was_asked_for_has_to_be_there(tmp_path: Path) -> None:
    tiny(tmp_path)
    with pytest.raises(EdgeseqError, match="rows of 601 tokens are longer than the model's 600 positions"):
        read(tmp_path, Request(max_length=601))
    with pytest.raises(EdgeseqError, match=r"has no classifier \(tensor score\.weight\)"):
        read(tmp_path, Request(task="sequence-classification"))
    with pytest.raises(EdgeseqError, match="no masked-lm head"):
        read(tmp_path, Request(task="masked-lm"))


@pytest.mark.parametrize("layout", ["transformers", "original"])
def test_what_was_laid_out_anew_is_written_back_as_it_was_published(tmp_path: Path, layout: str) -> None:
    folder = write(tmp_path, HYENADNA, published(HYENADNA))
    if layout == "original":
        config, tensors = original_config(HYENADNA), original_tensors(published(HYENADNA))
        folder = write_original(tmp_path / "original", config, tensors)
    model = read(folder)
    found = published_tensors(model, dict(model.network.named_parameters()))
    stored = open_checkpoint(folder).tensors
    joint = [name for name in found if "in_proj" in name or "short_filter" in name]
    assert len(joint) == 4 * HYENADNA["n_layer"]
    for name in found:
        torch.testing.assert_close(found[name], stored[name])


def test_filters_can_be_trained_once_their_tables_are_taken_back(tmp_path: Path) -> None:
    model = read(write(tmp_path, HYENADNA, published(HYENADNA)))
    network = model.network
    assert isinstance(network, HyenaNetwork)
    ids = torch.from_numpy(ROWS)
    before = network(ids)["logits"]
    assert not [name for name in trained_by(before, network) if "filter_fn" in name]
    network.unfold()
    after = network(ids)["logits"]
    torch.testing.assert_close(after, before)
    names = trained_by(after, network)
    for part in ("linear.0.weight", "last.weight", "freq", "bias"):
        assert f"layers.1.mixer.filter_fn.{part}" in names


def trained_by(logits: torch.Tensor, network: torch.nn.Module) -> set[str]:
    """The parameters that a gradient reaches."""
    network.zero_grad(set_to_none=True)
    logits.square().sum().backward()
    return {name for name, value in network.named_parameters() if value.grad is not None}
