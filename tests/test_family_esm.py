"""ESM and Nucleotide Transformer v1 and v2: what their checkpoints compute, and which ones are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import Shared
from esm_checkpoint import ESM2, compute, published, write
from numpy.typing import NDArray

from edgeseq.errors import EdgeseqError
from edgeseq.tokenizers import load_tokenizer
from export.checkpoint import open_checkpoint
from export.convert import Naming, convert
from export.families import find
from export.network import Model, Request
from export.parity import cases, feed, run_module
from export.rows import batch
from export.tracing import trace

FIXTURES = ("esm2", "esm2/seqcls", "nt_v1", "nt_v1/seqcls", "nt_v2", "nt_v2/seqcls")
SWITCHES: dict[str, dict[str, Any]] = {
    "ESM-2": {},
    "ESM-1b": {"position_embedding_type": "absolute", "emb_layer_norm_before": True},
    "ESM-1v without dropout": {"position_embedding_type": "absolute", "token_dropout": False},
    "rotary behind a norm": {"emb_layer_norm_before": True},
    "own decoder": {"tie_word_embeddings": False},
    "heads of two channels": {"num_attention_heads": 12},
    "one head, one layer": {"num_attention_heads": 1, "num_hidden_layers": 1},
    "sequence classes": {"architectures": ["EsmForSequenceClassification"]},
    "token classes": {"architectures": ["EsmForTokenClassification"]},
    "gated": {"gated": True, "add_bias_fnn": False, "token_dropout": False, "tie_word_embeddings": False},
    "gated with biases": {"gated": True, "add_bias_fnn": True, "position_embedding_type": "absolute"},
}
ROWS = np.array([[0, 5, 9, 32, 20, 4, 4, 2], [0, 7, 32, 2, 1, 1, 1, 1], [0, 19, 6, 11, 8, 17, 2, 1]])
MASK = (ROWS != 1).astype(np.int64)


def read(folder: Path, request: Request | None = None) -> Model:
    checkpoint = open_checkpoint(folder)
    model = find(checkpoint).read(checkpoint, request or Request())
    model.network.eval()
    return model


def tiny(folder: Path, **changes: Any) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    gated = changes.pop("gated", False)
    config = {**ESM2, **changes}
    tensors = published(config, gated=gated)
    write(folder, config, tensors)
    return config, tensors


def run_graph(model: Model, outputs: tuple[str, ...]) -> Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]:
    session = onnxruntime.InferenceSession(
        trace(model.network, outputs).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda inputs: dict(zip(outputs, session.run(list(outputs), inputs), strict=True))


def golden(shared: Shared, name: str) -> dict[str, dict[str, NDArray[Any]]]:
    """Case → its arrays, for one fixture folder."""
    family, _, head = name.partition("/")
    files = sorted((shared / f"fixtures/{family}/io").glob("*.npz"))
    return {file.stem: dict(np.load(file)) for file in files if file.stem.startswith("seqcls") == bool(head)}


def worst(case: dict[str, NDArray[Any]], given: dict[str, NDArray[Any]]) -> float:
    """The largest difference to a golden case, padding left out."""
    ids = case["input_ids"]
    real = case.get("attention_mask", np.ones_like(ids)) == 1
    logits = given["logits"][..., case["logits_cols"]] if "logits_cols" in case else given["logits"]
    pairs = [(logits, case["logits"])]
    if "hidden_states" in case:
        pairs.append((given["last_hidden_state"], case["hidden_states"][-1]))
    return max(float(np.abs(a - b)[real if a.ndim == 3 else ...].max()) for a, b in pairs)


def inputs_of(case: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    ids = case["input_ids"]
    return {"input_ids": ids, "attention_mask": case.get("attention_mask", np.ones_like(ids))}


@pytest.mark.parametrize("name", FIXTURES)
def test_module_gives_the_golden_outputs(shared: Shared, name: str) -> None:
    model = read(shared / f"fixtures/{name}")
    found = golden(shared, name)
    assert found
    for case in found.values():
        assert worst(case, run_module(model, inputs_of(case))) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["esm2", "nt_v1", "nt_v2"])
def test_graph_gives_the_golden_outputs(shared: Shared, name: str) -> None:
    run = run_graph(read(shared / f"fixtures/{name}"), ("logits", "last_hidden_state"))
    for case in golden(shared, name).values():
        assert worst(case, run(inputs_of(case))) < 1e-4


@pytest.mark.parametrize("name", SWITCHES)
def test_every_switch_computes_what_the_description_says(tmp_path: Path, name: str) -> None:
    config, tensors = tiny(tmp_path, **SWITCHES[name])
    given = run_module(read(tmp_path), {"input_ids": ROWS, "attention_mask": MASK})
    hidden, logits = compute(config, tensors, ROWS, MASK)
    assert np.abs(given["last_hidden_state"] - hidden)[MASK == 1].max() < 2e-5
    assert np.abs(given["logits"] - logits)[MASK == 1 if logits.ndim == 3 else ...].max() < 2e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ESM-2", "ESM-1b", "token classes", "gated with biases", "heads of two channels"])
def test_graph_is_the_module_at_every_length_and_under_padding(tmp_path: Path, name: str) -> None:
    config, tensors = tiny(tmp_path, **SWITCHES[name])
    model = read(tmp_path)
    run = run_graph(model, ("logits",))
    tokenizer = load_tokenizer(model.tokenizer)
    for lengths in cases(model):
        ids, mask = batch(tokenizer, model.alphabet, lengths)
        inputs = feed(model, ids, mask)
        difference = np.abs(run(inputs)["logits"] - run_module(model, inputs)["logits"])
        assert difference[mask == 1].max() < 1e-4
    _, logits = compute(config, tensors, ROWS, MASK)
    given = run({"input_ids": ROWS, "attention_mask": MASK})["logits"]
    assert np.abs(given - logits)[MASK == 1].max() < 1e-4


def test_padding_changes_nothing_even_beside_mask_tokens(tmp_path: Path) -> None:
    tiny(tmp_path)
    model = read(tmp_path)
    row = {"input_ids": ROWS[1:2, :4], "attention_mask": MASK[1:2, :4]}
    padded = run_module(model, {"input_ids": ROWS, "attention_mask": MASK})
    assert np.abs(run_module(model, row)["logits"][0] - padded["logits"][1, :4]).max() < 1e-5


def test_a_row_of_mask_tokens_alone_is_finite(tmp_path: Path) -> None:
    tiny(tmp_path)
    given = run_module(read(tmp_path), {"input_ids": np.array([[32]]), "attention_mask": np.array([[1]])})
    assert np.isfinite(given["logits"]).all()


def test_tensors_that_no_output_needs_are_explained(tmp_path: Path) -> None:
    config, tensors = tiny(tmp_path)
    zeros = np.zeros((1, 66), np.float32)
    extra: dict[str, Any] = {
        "esm.embeddings.position_ids": np.arange(66)[None],
        "esm.embeddings.position_embeddings.weight": np.zeros((66, 24), np.float32),
        "esm.encoder.layer.1.attention.self.rotary_embeddings.inv_freq": zeros[0, :4],
        "esm.contact_head.regression.weight": zeros[:, :6],
        "lm_head.decoder.weight": tensors["esm.embeddings.word_embeddings.weight"],
        "lm_head.decoder.bias": tensors["lm_head.bias"],
    }
    write(tmp_path, config, {**tensors, **extra})
    model = read(tmp_path)
    assert model.loaded.used == len(tensors)
    assert "positions are rotary" in model.loaded.explained.values()


def test_names_without_the_prefix_are_the_bare_encoder(tmp_path: Path) -> None:
    config, tensors = tiny(tmp_path)
    bare = {name.removeprefix("esm."): value for name, value in tensors.items() if name.startswith("esm.")}
    write(tmp_path, {**config, "architectures": ["EsmModel"]}, bare)
    model = read(tmp_path)
    assert model.task == "embedding"
    given = run_module(model, {"input_ids": ROWS, "attention_mask": MASK})
    assert list(given) == ["last_hidden_state"]
    assert np.abs(given["last_hidden_state"] - compute(config, tensors, ROWS, MASK)[0])[MASK == 1].max() < 2e-5


def test_an_embedding_of_a_language_model_leaves_its_head_out(tmp_path: Path) -> None:
    tiny(tmp_path)
    model = read(tmp_path, Request(task="embedding"))
    assert getattr(model.network, "head", "absent") is None
    assert "the task that was asked for has no such head" in model.loaded.explained.values()


@pytest.mark.parametrize(
    ("changes", "task", "labels", "activation"),
    [
        ({"id2label": {"0": "coil", "1": "helix", "2": "strand"}}, "token-classification", "coil", "softmax"),
        ({"architectures": ["EsmForSequenceClassification"]}, "sequence-classification", "LABEL_0", "softmax"),
        (
            {
                "architectures": ["EsmForSequenceClassification"],
                "problem_type": "multi_label_classification",
                "num_labels": 3,
            },
            "sequence-classification",
            "LABEL_0",
            "sigmoid",
        ),
        (
            {"architectures": ["EsmForSequenceClassification"], "problem_type": "regression"},
            "regression",
            "LABEL_0",
            "identity",
        ),
    ],
)
def test_heads_and_labels(tmp_path: Path, changes: dict[str, Any], task: str, labels: str, activation: str) -> None:
    tiny(tmp_path, **{"architectures": ["EsmForTokenClassification"], **changes})
    model = read(tmp_path)
    assert (model.task, model.labels[0], len(model.labels), model.activation) == (task, labels, 3, activation)


def test_longest_rows(tmp_path: Path) -> None:
    tiny(tmp_path / "rotary")
    tiny(tmp_path / "learned", position_embedding_type="absolute")
    assert [read(tmp_path / kind).max_length for kind in ("rotary", "learned")] == [64, 64]
    assert read(tmp_path / "rotary", Request(max_length=500)).max_length == 500
    with pytest.raises(EdgeseqError, match="rows of 65 tokens; the model has positions for 64"):
        read(tmp_path / "learned", Request(max_length=65))
    longest = np.full((1, 64), 4)
    given = run_module(read(tmp_path / "learned"), {"input_ids": longest, "attention_mask": np.ones_like(longest)})
    assert given["logits"].shape == (1, 64, 33)


def test_the_gate_is_told_by_shape_whatever_the_configuration_is_called(tmp_path: Path) -> None:
    kinds: list[dict[str, Any]] = [{"model_type": "esm"}, {"model_type": None}]
    for number, kind in enumerate(kinds):
        tiny(tmp_path / str(number), **kind, gated=True, add_bias_fnn=False)
        assert find(open_checkpoint(tmp_path / str(number))).name == "Nucleotide Transformer v2"
        tiny(tmp_path / f"plain{number}", **kind)
        assert find(open_checkpoint(tmp_path / f"plain{number}")).name.startswith("ESM-1b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"is_folding_model": True}, "is_folding_model is True"),
        ({"is_decoder": True}, "is_decoder is True"),
        ({"num_attention_heads": 5}, "num_attention_heads is 5"),
        ({"num_attention_heads": 8}, "num_attention_heads is 8"),
        ({"mask_token_id": None}, "mask_token_id is missing"),
        ({"mask_token_id": 33}, "mask_token_id is 33, beyond the vocabulary of 33"),
        ({"hidden_size": "24"}, "hidden_size is '24'"),
        ({"architectures": ["EsmForCausalLM"]}, "no causal-lm head"),
        ({"add_bias_fnn": False}, "tensor esm.encoder.layer.[01].(intermediate|output).dense.bias is not expected"),
        ({"emb_layer_norm_before": True}, r"tensor esm.embeddings.layer_norm.(bias|weight) is missing"),
        ({"tie_word_embeddings": False}, "tensor lm_head.decoder.weight is missing"),
        ({"num_hidden_layers": 1}, "tensor esm.encoder.layer.1.* is not expected"),
        ({"num_hidden_layers": 3}, r"tensor esm.encoder.layer.2.\S+ is missing"),
    ],
)
def test_configurations_that_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write(tmp_path, {**ESM2, **change}, published(ESM2))
    with pytest.raises(EdgeseqError, match=message):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("esm.encoder.layer.0.LayerNorm.bias", None, "missing"),
        ("esm.encoder.layer.0.LayerNorm.bias", np.zeros(23, np.float32), r"shape \(23,\)"),
        ("esm.encoder.layer.0.LayerNorm.bias", np.full(24, np.nan, np.float32), "not finite"),
        ("esm.encoder.layer.0.adapter.weight", np.zeros(3, np.float32), "not expected"),
        ("encoder.emb_layer_norm_after.bias", np.zeros(24, np.float32), "are the same part of the model"),
        ("lm_head.decoder.weight", np.zeros((33, 24), np.float32), "should be one, but differ"),
    ],
)
def test_tensors_that_are_refused(tmp_path: Path, name: str, value: Any, message: str) -> None:
    tensors = published(ESM2)
    tensors.pop(name, None)
    write(tmp_path, ESM2, tensors if value is None else {**tensors, name: value})
    with pytest.raises(EdgeseqError, match=message):
        read(tmp_path)


@pytest.mark.slow
def test_two_conversions_give_the_same_bytes(tmp_path: Path) -> None:
    tiny(tmp_path / "esm", num_hidden_layers=1)
    torch.manual_seed(1)
    for name in ("a", "b"):
        convert(tmp_path / "esm", tmp_path / name, Request(), Naming("esm"), progress=print)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
