"""GPN in its three encoders, and GPN-MSA: what their checkpoints compute, and which ones are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from conftest import Shared
from gpn_checkpoint import FIRST, GPN, MSA, Described, published, write
from numpy.typing import NDArray

from edgeseq.errors import EdgeseqError, UsageError
from edgeseq.read import Read
from edgeseq.scorer import load
from edgeseq.tokenizers import load_tokenizer
from export.checkpoint import open_checkpoint
from export.convert import Naming, convert
from export.families import find
from export.network import Model, Request
from export.parity import run_module
from export.tracing import trace

BYTENET = {"encoder": "bytenet", "bias": True, "embedding": "embedding"}
FEATURES = {"n_aux_features": 6, "aux_features_vocab_size": 3}
PROBABILITIES = Request(options={"input": "probabilities"})
SWITCHES: dict[str, dict[str, Any]] = {
    "ConvNet": {},
    "ConvNet with biases": {"bias": True},
    "ConvNet, depthwise": {"depthwise": True},
    "ConvNet with a table": {"embedding": "embedding"},
    "ConvNet, decoder alone": {"mlm_head_transform": False},
    "ConvNet, doubled every second layer": {"dilation_double_every": 2, "dilation_cycle": 4, "num_hidden_layers": 5},
    "ConvNet, dilations of powers of three up to five": {"dilation_base": 3, "dilation_cycle": 3, "dilation_max": 5},
    "ConvNet, other taps": {"first_kernel_size": 3, "rest_kernel_size": 7, "num_hidden_layers": 2},
    "ConvNet, one layer": {"num_hidden_layers": 1},
    "ByteNet": BYTENET,
    "ByteNet, slim": {**BYTENET, "slim": True},
    "ByteNet, depthwise": {**BYTENET, "depthwise": True},
    "ByteNet without biases or table": {"encoder": "bytenet"},
    "first models": FIRST,
    "first models, short cycle": {**FIRST, "dilation_cycle": 2, "kernel_size": 5, "n_layers": 4},
}
CLASSIFIERS: dict[str, dict[str, Any]] = {
    "ConvNet": {},
    "ConvNet, tanh": {"hidden_act": "tanh", "bias": True},
    "ByteNet, slim": {**BYTENET, "slim": True},
    "first models": FIRST,
}
ROWS = np.array([[3, 4, 5, 6, 2, 1, 6, 6, 3, 5, 4, 0, 3], [6, 5, 3, 3, 4, 6, 5, 5, 2, 3, 1, 4, 6]])


def read(folder: Path, request: Request | None = None) -> Model:
    checkpoint = open_checkpoint(folder)
    model = find(checkpoint).read(checkpoint, request or Request())
    model.network.eval()
    return model


def tiny(folder: Path, changes: Mapping[str, Any], *, labels: int = 0) -> Described:
    """A checkpoint of GPN with some of its settings changed, or one of another model type."""
    config = dict(changes) if "model_type" in changes else {**GPN, **changes}
    tensors = published(config, labels=labels)
    write(folder, config, tensors)
    return Described(config, tensors)


def run_graph(model: Model) -> Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]:
    names = ["last_hidden_state", "logits"]
    graph = trace(model.network, names).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))


def difference(given: dict[str, NDArray[Any]], wanted: tuple[NDArray[Any], NDArray[Any]]) -> float:
    pairs = [(given["last_hidden_state"], wanted[0]), (given["logits"], wanted[1])]
    assert [a.shape for a, _ in pairs] == [b.shape for _, b in pairs]
    return max(float(np.abs(a - b).max()) for a, b in pairs)


@pytest.mark.parametrize(
    ("family", "checkpoint", "cases"),
    [
        ("gpn_convnet", "", ("single_64", "single_130", "batch2_100")),
        ("gpn_convnet", "seqcls", ("seqcls",)),
        ("gpn_bytenet", "", ("single_64",)),
        ("gpn_msa", "", ("single_64", "single_130", "batch2_100")),
    ],
)
def test_module_gives_the_golden_outputs(shared: Shared, family: str, checkpoint: str, cases: tuple[str, ...]) -> None:
    model = read(shared / f"fixtures/{family}/{checkpoint}")
    for case in cases:
        wanted = dict(np.load(shared / f"fixtures/{family}/io/{case}.npz"))
        given = run_module(model, {one.name: wanted[one.name] for one in model.network.inputs})
        for output in given.keys() & wanted.keys():
            assert np.abs(given[output] - wanted[output]).max() < 1e-4


def test_golden_probabilities_of_bases(shared: Shared) -> None:
    wanted = np.load(shared / "fixtures/gpn_convnet/io/input_probs.npz")
    inputs = {"input_ids": np.zeros((1, 40), np.int64), "input_probs": wanted["input_probs"]}
    given = run_module(read(shared / "fixtures/gpn_convnet", PROBABILITIES), inputs)
    assert np.abs(given["logits"] - wanted["logits"]).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpn_convnet", "gpn_bytenet", "gpn_msa"])
def test_graph_gives_the_golden_outputs(shared: Shared, family: str) -> None:
    model = read(shared / f"fixtures/{family}")
    run = run_graph(model)
    for file in sorted((shared / f"fixtures/{family}/io").glob("[sb]*[0-9].npz")):
        wanted = np.load(file)
        given = run({one.name: wanted[one.name] for one in model.network.inputs})
        assert difference(given, (wanted["last_hidden_state"], wanted["logits"])) < 1e-4


@pytest.mark.parametrize("name", SWITCHES)
def test_every_switch_computes_what_the_description_says(tmp_path: Path, name: str) -> None:
    described = tiny(tmp_path, SWITCHES[name])
    model = read(tmp_path)
    for rows in (ROWS, ROWS[:1, :1], ROWS[:, :2]):
        assert difference(run_module(model, {"input_ids": rows}), described.compute(rows)) < 5e-5


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_score_the_mean_of_all_positions(tmp_path: Path, name: str) -> None:
    described = tiny(tmp_path, CLASSIFIERS[name], labels=3)
    model = read(tmp_path)
    assert (model.task, len(model.labels)) == ("sequence-classification", 3)
    assert difference(run_module(model, {"input_ids": ROWS}), described.compute(ROWS)) < 5e-5


def test_one_output_is_a_regression(tmp_path: Path) -> None:
    tiny(tmp_path, {}, labels=1)
    assert read(tmp_path).task == "regression"


def test_a_head_of_another_task_is_left_out(tmp_path: Path) -> None:
    described = tiny(tmp_path, FIRST)
    model = read(tmp_path, Request(task="embedding"))
    assert model.loaded.explained[r"cls\..+"] == "head of another task"
    given = run_module(model, {"input_ids": ROWS})
    assert [*given] == ["last_hidden_state"]
    assert np.abs(given["last_hidden_state"] - described.compute(ROWS)[0]).max() < 5e-5


def test_features_take_the_channels_behind_the_bases(tmp_path: Path) -> None:
    features = np.random.default_rng(0).integers(0, 3, (*ROWS.shape, 2))
    for kind in (GPN, FIRST):
        described = tiny(tmp_path, {**kind, **FEATURES})
        model = read(tmp_path)
        given = run_module(model, {"input_ids": ROWS, "aux_features": features})
        assert difference(given, described.compute(ROWS, features)) < 5e-5
        assert "Needs aux_features beside the bases: 2 whole numbers below 3" in model.notes[0]


def test_probabilities_of_bases_stand_in_for_bases(tmp_path: Path) -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(7), ROWS.shape).astype(np.float32)
    described = tiny(tmp_path, {})
    model = read(tmp_path, PROBABILITIES)
    given = run_module(model, {"input_ids": np.zeros_like(ROWS), "input_probs": probabilities})
    assert difference(given, described.compute(probabilities)) < 5e-5
    probabilities[:, 5:] = 0
    mixed = np.where(probabilities.any(-1, keepdims=True), probabilities, np.eye(7)[ROWS])
    given = run_module(model, {"input_ids": ROWS, "input_probs": probabilities})
    assert difference(given, described.compute(mixed)) < 5e-5


@pytest.mark.parametrize("change", [{}, {"rotary_value": True}, {"n_aux_features": 0}, {"num_attention_heads": 1}])
def test_alignments_are_attended_to_as_the_description_says(tmp_path: Path, change: dict[str, Any]) -> None:
    described = tiny(tmp_path, {**MSA, **change})
    model = read(tmp_path)
    rows = ROWS % 6
    species = described.config["n_aux_features"] // 5
    features = np.random.default_rng(0).integers(0, 5, (*rows.shape, species)) if species else None
    inputs = {"input_ids": rows, **({"aux_features": features} if features is not None else {})}
    assert [one.name for one in model.network.inputs] == [*inputs]
    assert difference(run_module(model, inputs), described.compute(rows, features)) < 5e-5
    assert model.max_length == 32


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ConvNet, depthwise", "ConvNet, other taps", "ByteNet, slim", "first models"])
def test_graph_is_the_description_at_every_length_and_batch(tmp_path: Path, name: str) -> None:
    described = tiny(tmp_path, SWITCHES[name])
    run = run_graph(read(tmp_path))
    rng = np.random.default_rng(0)
    for rows, length in ((1, 1), (1, 2), (3, 5), (1, 63), (2, 64), (1, 130)):
        ids = rng.integers(0, 7, (rows, length))
        assert difference(run({"input_ids": ids}), described.compute(ids)) < 1e-4


@pytest.mark.slow
def test_bundles_of_features_and_probabilities_pass_their_own_comparison(tmp_path: Path) -> None:
    tiny(tmp_path / "gpn", {**FEATURES, "num_hidden_layers": 1})
    found = convert(tmp_path / "gpn", tmp_path / "g", PROBABILITIES, Naming("gpn"), progress=print)
    assert [(one.name, one.shape) for one in found.manifest.graph.inputs] == [
        ("input_ids", ("batch", "length")),
        ("input_probs", ("batch", "length", 7)),
        ("aux_features", ("batch", "length", 2)),
    ]
    tiny(tmp_path / "msa", {**MSA, "num_hidden_layers": 1})
    found = convert(tmp_path / "msa", tmp_path / "m", Request(), Naming("msa"), progress=print)
    assert found.worst < 1e-4
    assert max(length for one in found.compared for length in one.lengths) == 32


def test_the_tokenizer_adds_nothing_and_knows_no_n(tmp_path: Path) -> None:
    tiny(tmp_path / "gpn", {})
    tiny(tmp_path / "first", FIRST)
    for kind in ("gpn", "first"):
        assert load_tokenizer(read(tmp_path / kind).tokenizer).encode(b"ACGTNacgt").tolist() == [
            *(3, 4, 5, 6, 2),
            *(3, 4, 5, 6),
        ]


def test_names_without_the_prefix_are_the_bare_encoder(tmp_path: Path) -> None:
    for number, changes in enumerate((GPN, FIRST)):
        config = {**changes, "architectures": ["GPNModel"]}
        tensors = published(config)
        bare = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
        write(tmp_path / str(number), config, bare)
        model = read(tmp_path / str(number))
        given = run_module(model, {"input_ids": ROWS})
        assert model.task == "embedding"
        assert np.abs(given["last_hidden_state"] - Described(config, tensors).compute(ROWS)[0]).max() < 5e-5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "transformer"}, "encoder is 'transformer'; known: convnet, bytenet"),
        ({**BYTENET, "slim": True, "depthwise": True}, "slim is true, and depthwise as well"),
        ({"embedding": "learned"}, "embedding is 'learned'"),
        ({"dilation_cycle": None}, "dilation_cycle is missing"),
        ({"rest_kernel_size": 0}, "rest_kernel_size is 0"),
        ({"n_aux_features": 7, "aux_features_vocab_size": 3}, "n_aux_features is 7, not a multiple"),
        ({"n_aux_features": 20, "aux_features_vocab_size": 5}, "hidden_size is 24; .* need 27 channels"),
        ({"n_aux_features": 5}, "aux_features_vocab_size is missing"),
        ({"bias": True}, r"tensor \S+\.bias is missing"),
        ({"embedding": "embedding"}, "tensor .*embedding.* is missing"),
        ({"num_hidden_layers": 2}, r"tensor model\.encoder\.layer\.2\.\S+ is not expected"),
        ({"num_hidden_layers": 4}, r"tensor model\.encoder\.layer\.3\.\S+ is missing"),
        ({"rest_kernel_size": 7}, r"conv\.2\.weight has shape \(24, 24, 5\).*\(24, 24, 7\)"),
        ({"depthwise": True}, r"conv\.2\.weight has shape \(24, 24, 5\).*\(24, 1, 5\)"),
        ({"architectures": ["GPNForTokenClassification"]}, "no token-classification head"),
    ],
)
def test_configurations_that_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write(tmp_path, {**GPN, **changes}, published(GPN))
    with pytest.raises(EdgeseqError, match=message):
        read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 5}, "num_attention_heads is 5; 24 channels"),
        ({"n_aux_features": 14}, "n_aux_features is 14, not a multiple of aux_features_vocab_size"),
        ({"n_aux_features": 20}, "n_aux_features is 20; with 6 bases that is more than hidden_size"),
        ({"embedding_size": 12}, "embedding_size differs from hidden_size"),
        ({"hidden_act": "mish"}, "hidden_act is 'mish'"),
        ({"max_position_embeddings": 16}, r"embed_positions\.weight has shape \(32, 8\)"),
    ],
)
def test_alignment_models_that_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write(tmp_path, {**MSA, **changes}, published(MSA))
    with pytest.raises(EdgeseqError, match=message):
        read(tmp_path)


def test_rows_longer_than_the_table_of_positions_are_refused(tmp_path: Path) -> None:
    tiny(tmp_path, MSA)
    with pytest.raises(EdgeseqError, match="table has 32 positions; 33 were asked for"):
        read(tmp_path, Request(max_length=33))


def test_the_table_of_positions_is_needed(tmp_path: Path) -> None:
    tensors = published(MSA)
    del tensors["model.encoder.embed_positions.weight"]
    write(tmp_path, MSA, tensors)
    with pytest.raises(EdgeseqError, match=r"positions\S* is missing"):
        read(tmp_path)


def test_options_that_are_refused(tmp_path: Path) -> None:
    tiny(tmp_path, BYTENET)
    with pytest.raises(EdgeseqError, match="looks bases up in a table, so it takes no probabilities"):
        read(tmp_path, PROBABILITIES)
    with pytest.raises(EdgeseqError, match="input is 'text'; known: ids, probabilities"):
        read(tmp_path, Request(options={"input": "text"}))
    tiny(tmp_path, {"classification_head": "attention"}, labels=3)
    with pytest.raises(EdgeseqError, match="classification_head is 'attention'; known: standard"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model.encoder.layer.1.conv.2.weight", None, r"tensor model\.encoder\.layer\.1\.conv\.2\.weight is missing"),
        ("model.ln_f.weight", np.zeros(23, np.float32), r"model\.ln_f\.weight has shape \(23,\).*\(24,\)"),
        ("model.ln_f.weight", np.full(24, np.nan, np.float32), r"model\.ln_f\.weight holds values .* not finite"),
        ("model.encoder.layer.0.conv.7.weight", np.zeros(24, np.float32), r"conv\.7\.weight is not expected"),
        ("ln_f.weight", np.ones(24, np.float32), "are the same part of the model"),
    ],
)
def test_tensors_that_are_refused(tmp_path: Path, name: str, value: Any, message: str) -> None:
    tensors = published(GPN)
    if value is None or name != "ln_f.weight":
        tensors.pop(name, None)
    write(tmp_path, GPN, tensors if value is None else {**tensors, name: value})
    with pytest.raises(EdgeseqError, match=message):
        read(tmp_path)


@pytest.mark.slow
def test_a_bundle_with_further_inputs_runs_from_python_and_refuses_reads(tmp_path: Path, shared: Shared) -> None:
    folder = shared / "fixtures/gpn_msa"
    convert(folder, tmp_path / "msa.edgeseq", Request(), Naming("msa"), progress=print)
    gold = np.load(next(iter(sorted((folder / "io").glob("*.npz")))))
    with load(tmp_path / "msa.edgeseq") as scorer:
        given = scorer.run_ids(gold["input_ids"], aux_features=gold["aux_features"].astype(np.int64))
        np.testing.assert_allclose(given["logits"], gold["logits"], atol=1e-4)
        with pytest.raises(UsageError, match=r"takes aux_features beside input_ids, which no read has; run it from Py"):
            next(scorer.score([Read("r", b"ACGT" * 30)]))
