"""Caduceus: what its checkpoints compute, strand by strand or along one, and which ones are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from caduceus_checkpoint import BACKBONE, CADUCEUS, COMPLEMENT, compute, published, write
from conftest import Shared
from numpy.typing import NDArray

from edgeseq.errors import EdgeseqError
from edgeseq.tokenizers import load_tokenizer
from export.checkpoint import open_checkpoint
from export.convert import Naming, convert
from export.families import find
from export.families.caduceus import FAMILY
from export.network import Model, Request
from export.parity import run_module
from export.tracing import trace

FIXTURES = (
    "ph_tiny",
    "ps_tiny",
    "ps_tiny_unfused",
    "ph_ew_multiply",
    "unidirectional_mamba",
    "ph_cls_mean",
    "ps_cls_mean",
)
CLASSES = {"architectures": ["CaduceusForSequenceClassification"]}
UNTIED = {"bidirectional_weight_tie": False}
PRODUCT = {"bidirectional_strategy": "ew_multiply"}
ONE_WAY = {"bidirectional": False}
OTHER_MIXER = {"d_state": 3, "d_conv": 2, "expand": 3, "dt_rank": 5, "conv_bias": False, "bias": True}
SWITCHES: dict[str, dict[str, Any]] = {
    "Ph": {},
    "Ph, not fused": {"fused_add_norm": False},
    "Ph, untied": UNTIED,
    "Ph, product": PRODUCT,
    "Ph, product, untied": {**PRODUCT, **UNTIED},
    "Ph, one direction": ONE_WAY,
    "Ph, LayerNorm": {"rms_norm": False},
    "Ph, other sizes": {"ssm_cfg": OTHER_MIXER, **UNTIED, "norm_epsilon": 1e-3},
    "Ph, own decoder": {"tie_word_embeddings": False},
    "Ph, classes": CLASSES,
    "PS": {"rcps": True},
    "PS, one layer": {"rcps": True, "n_layer": 1},
    "PS, not fused": {"rcps": True, "fused_add_norm": False},
    "PS, LayerNorm": {"rcps": True, "rms_norm": False},
    "PS, LayerNorm, not fused": {"rcps": True, "rms_norm": False, "fused_add_norm": False},
    "PS, untied": {"rcps": True, **UNTIED},
    "PS, product": {"rcps": True, **PRODUCT},
    "PS, one direction": {"rcps": True, **ONE_WAY},
    "PS, own decoder": {"rcps": True, "tie_word_embeddings": False},
    "PS, classes": {"rcps": True, **CLASSES},
    "PS, classes, not fused": {"rcps": True, "fused_add_norm": False, **CLASSES},
    "PS, other sizes": {"rcps": True, "ssm_cfg": OTHER_MIXER, "d_model": 20},
}
ROWS = np.array([[7, 9, 9, 10, 11, 8, 3, 7, 10, 10, 1], [10, 8, 0, 7, 7, 9, 6, 8, 15, 4, 1]])
MEAN_OF_BOTH = Request(options={"conjoin": "yes"})


def read(folder: Path, request: Request | None = None) -> Model:
    checkpoint = open_checkpoint(folder)
    model = find(checkpoint).read(checkpoint, request or Request())
    model.network.eval()
    return model


def tiny(folder: Path, **changes: Any) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    config = {**CADUCEUS, **changes}
    tensors = published(config)
    write(folder, config, tensors)
    return config, tensors


def run_graph(model: Model, outputs: tuple[str, ...]) -> Callable[[NDArray[np.int64]], dict[str, NDArray[Any]]]:
    session = onnxruntime.InferenceSession(
        trace(model.network, outputs).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda ids: dict(zip(outputs, session.run(list(outputs), {"input_ids": ids}), strict=True))


def differences(given: dict[str, NDArray[Any]], hidden: NDArray[Any], logits: NDArray[Any]) -> float:
    assert given["last_hidden_state"].shape == hidden.shape
    assert given["logits"].shape == logits.shape
    return max(float(np.abs(given[name] - wanted).max()) for name, wanted in zip(given, (hidden, logits), strict=True))


def reverse_complement(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows that end with the token that ends a row, read on the other strand."""
    bases = np.array(list(COMPLEMENT.values()))[rows[:, -2::-1]]
    return np.concatenate((bases, rows[:, -1:]), axis=1)


def golden(folder: Path) -> list[tuple[NDArray[np.int64], dict[str, NDArray[Any]]]]:
    cases = []
    for file in sorted(folder.glob("expected_*.npz")):
        name = file.name.replace("expected_", "input_ids_").replace(".npz", ".npy")
        cases.append((np.load(folder / name), dict(np.load(file))))
    assert cases
    return cases


@pytest.mark.parametrize("name", FIXTURES)
def test_module_gives_the_golden_outputs(shared: Shared, name: str) -> None:
    model = read(shared / f"fixtures/caduceus/{name}")
    for ids, wanted in golden(shared / f"fixtures/caduceus/{name}"):
        given = run_module(model, {"input_ids": ids})
        for output in given.keys() & wanted.keys():
            assert np.abs(given[output] - wanted[output]).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ps_tiny", "ph_ew_multiply"])
def test_graph_gives_the_golden_outputs(shared: Shared, name: str) -> None:
    run = run_graph(read(shared / f"fixtures/caduceus/{name}"), ("logits", "last_hidden_state"))
    for ids, wanted in golden(shared / f"fixtures/caduceus/{name}"):
        given = run(ids)
        assert max(np.abs(given[output] - wanted[output]).max() for output in given) < 1e-4


def test_golden_strands_conjoined_after_training(shared: Shared) -> None:
    folder = shared / "fixtures/caduceus/ph_cls_mean"
    both = np.load(folder / "conjoin_input_ids.npy")
    given = run_module(read(folder, MEAN_OF_BOTH), {"input_ids": both[..., 0]})
    assert np.abs(given["logits"] - np.load(folder / "conjoin_expected.npz")["logits"]).max() < 1e-4


def test_golden_steps_after_a_prefix_are_those_of_the_whole_row(shared: Shared) -> None:
    folder = shared / "fixtures/caduceus/unidirectional_mamba"
    given = run_module(read(folder), {"input_ids": np.load(folder / "stream_b2_p25_n15_input_ids.npy")})
    assert np.abs(given["logits"][:, 25:] - np.load(folder / "stream_b2_p25_n15.npz")["step_logits"]).max() < 1e-4


@pytest.mark.parametrize("name", SWITCHES)
def test_every_switch_computes_what_the_description_says(tmp_path: Path, name: str) -> None:
    config, tensors = tiny(tmp_path, **SWITCHES[name])
    model = read(tmp_path)
    for rows in (ROWS, ROWS[:1, :1]):
        given = run_module(model, {"input_ids": rows})
        assert differences(given, *compute(config, tensors, rows)) < 5e-5


@pytest.mark.parametrize("strands", [False, True])
def test_pooling_is_an_option_or_in_the_name_of_the_folder(tmp_path: Path, strands: bool) -> None:
    config, tensors = tiny(tmp_path / "plain", rcps=strands, **CLASSES)
    tiny(tmp_path / "promoter_cls_max", rcps=strands, **CLASSES)
    wanted = compute(config, tensors, ROWS, "max")
    asked = read(tmp_path / "plain", Request(options={"pooling": "max"}))
    named = read(tmp_path / "promoter_cls_max")
    for model in (asked, named):
        assert differences(run_module(model, {"input_ids": ROWS}), *wanted) < 5e-5
    assert "Pools by max, as the name 'promoter_cls_max' says" in named.notes[0]
    assert "Pools by mean, since the checkpoint does not say" in read(tmp_path / "plain").notes[0]


@pytest.mark.parametrize("key", ["conjoin_train", "conjoin_test", "conjoin_eval", None])
def test_a_conjoined_classifier_is_the_mean_of_both_strands(tmp_path: Path, key: str | None) -> None:
    config, tensors = tiny(tmp_path, **CLASSES, **({key: True} if key else {}))
    model = read(tmp_path, None if key else MEAN_OF_BOTH)
    assert model.strand == "equivariant"
    logits = [compute(config, tensors, rows)[1] for rows in (ROWS, reverse_complement(ROWS))]
    given = run_module(model, {"input_ids": ROWS})["logits"]
    assert np.abs(given - np.mean(logits, axis=0)).max() < 5e-5
    other = run_module(model, {"input_ids": reverse_complement(ROWS)})["logits"]
    assert np.abs(given - other).max() < 1e-6


def test_a_conjoined_row_that_nothing_ends_is_turned_as_a_whole(tmp_path: Path) -> None:
    config, tensors = tiny(tmp_path, **CLASSES)
    rows = ROWS[:, :-1]
    turned = np.array(list(COMPLEMENT.values()))[rows[:, ::-1]]
    mean = (compute(config, tensors, rows)[1] + compute(config, tensors, turned)[1]) / 2
    assert np.abs(run_module(read(tmp_path, MEAN_OF_BOTH), {"input_ids": rows})["logits"] - mean).max() < 5e-5


def test_conjoined_words_are_those_of_the_other_strand_turned_back(tmp_path: Path) -> None:
    config, tensors = tiny(tmp_path)
    model = read(tmp_path, MEAN_OF_BOTH)
    _, forward = compute(config, tensors, ROWS)
    hidden, backward = compute(config, tensors, reverse_complement(ROWS))
    tokens = np.array(list(COMPLEMENT.values()))
    back = [*range(ROWS.shape[1] - 2, -1, -1), ROWS.shape[1] - 1]
    given = run_module(model, {"input_ids": ROWS})
    assert np.abs(given["logits"] - (forward + backward[:, back][..., tokens]) / 2).max() < 5e-5
    assert given["last_hidden_state"].shape == hidden.shape


def test_the_strand_that_is_given_does_not_matter_to_ps(tmp_path: Path) -> None:
    tiny(tmp_path, rcps=True)
    model = read(tmp_path)
    assert model.strand == "equivariant"
    tokens = np.array(list(COMPLEMENT.values()))
    given = run_module(model, {"input_ids": ROWS})["logits"]
    turned = run_module(model, {"input_ids": tokens[ROWS[:, ::-1]]})["logits"]
    assert np.abs(given - turned[:, ::-1][..., tokens]).max() < 1e-4


def test_fused_and_unfused_strands_differ(tmp_path: Path) -> None:
    """Both are the same on both strands, so only the configuration tells which one a checkpoint was trained with."""
    config, tensors = tiny(tmp_path, rcps=True)
    renamed = {
        name.replace("norm.", "norm.submodule.").replace("norm_f.", "norm_f.submodule."): value
        for name, value in tensors.items()
    }
    fused = compute(config, tensors, ROWS)[1]
    unfused = compute({**config, "fused_add_norm": False}, renamed, ROWS)[1]
    assert np.abs(fused - unfused).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "request_"),
    [("PS, untied", Request()), ("PS, classes, not fused", Request()), ("Ph, classes", MEAN_OF_BOTH)],
)
def test_graph_is_the_description_at_every_length_and_batch(tmp_path: Path, name: str, request_: Request) -> None:
    config, tensors = tiny(tmp_path, **{**SWITCHES[name], "n_layer": 1 if request_ is MEAN_OF_BOTH else 2})
    run = run_graph(read(tmp_path, request_), ("last_hidden_state", "logits"))
    rng = np.random.default_rng(0)
    for rows, length in ((1, 1), (1, 2), (5, 7), (1, 8), (3, 9), (1, 16), (2, 61), (1, 300)):
        ids = rng.integers(6, 12, (rows, length))
        hidden, logits = compute(config, tensors, ids)
        given = run(ids)
        if request_ is MEAN_OF_BOTH:
            turned = np.array(list(COMPLEMENT.values()))[ids[:, ::-1]]
            more, other = compute(config, tensors, turned)
            hidden, logits = (hidden + more[:, ::-1]) / 2, (logits + other) / 2
        assert differences(given, hidden, logits) < 1e-4


@pytest.mark.slow
def test_a_bundle_of_one_direction_scores_the_next_base(tmp_path: Path) -> None:
    tiny(tmp_path / "mamba", **ONE_WAY, n_layer=1)
    found = convert(
        tmp_path / "mamba", tmp_path / "m.edgeseq", Request(task="causal-lm"), Naming("mamba"), progress=print
    )
    assert found.family == "Caduceus"
    assert found.manifest.task.kind == "causal-lm"
    assert found.worst < 1e-4


def test_the_tokenizer_writes_upper_case_and_ends_rows(tmp_path: Path) -> None:
    tiny(tmp_path)
    assert load_tokenizer(read(tmp_path).tokenizer).encode(b"acgTn").tolist() == [7, 8, 9, 10, 11, 1]


def test_the_complement_is_read_by_number_in_any_order(tmp_path: Path) -> None:
    shuffled = dict(sorted(COMPLEMENT.items()))
    assert [*shuffled] != [*COMPLEMENT]
    config, tensors = tiny(tmp_path, rcps=True, complement_map=shuffled)
    wanted = compute(config, tensors, ROWS)
    without = {name: value for name, value in tensors.items() if "complement_map" not in name}
    for given in (tensors, without):
        write(tmp_path, config, given)
        assert differences(run_module(read(tmp_path), {"input_ids": ROWS}), *wanted) < 5e-5


def test_the_stored_complement_counts_where_the_configuration_has_none(tmp_path: Path) -> None:
    config, tensors = tiny(tmp_path, rcps=True)
    write(tmp_path, {**config, "complement_map": None}, tensors)
    assert differences(run_module(read(tmp_path), {"input_ids": ROWS}), *compute(config, tensors, ROWS)) < 5e-5


def test_a_vocabulary_is_padded_to_a_multiple_of_eight(tmp_path: Path) -> None:
    twelve = {key: value for key, value in COMPLEMENT.items() if int(key) < 12}
    for strands in (False, True):
        config, tensors = tiny(tmp_path / str(strands), rcps=strands, vocab_size=12, complement_map=twelve)
        given = run_module(read(tmp_path / str(strands)), {"input_ids": ROWS})
        assert given["logits"].shape == (*ROWS.shape, 16)
        assert differences(given, *compute(config, tensors, ROWS)) < 5e-5


def test_copies_of_shared_tensors_are_the_same_part(tmp_path: Path) -> None:
    config, tensors = tiny(tmp_path, rcps=True)
    at = f"{BACKBONE}layers.0.mixer.submodule."
    copies = {
        f"{at}mamba_rev.in_proj.weight": tensors[f"{at}mamba_fwd.in_proj.weight"],
        f"{at}mamba_rev.out_proj.weight": tensors[f"{at}mamba_fwd.out_proj.weight"],
        "lm_head.lm_head.weight": tensors[f"{BACKBONE}embeddings.word_embeddings.embedding.weight"],
    }
    write(tmp_path, config, {**tensors, **copies})
    assert differences(run_module(read(tmp_path), {"input_ids": ROWS}), *compute(config, tensors, ROWS)) < 5e-5


def test_names_without_the_prefix_are_the_bare_backbone(tmp_path: Path) -> None:
    config, tensors = tiny(tmp_path)
    bare = {name.removeprefix("caduceus."): value for name, value in tensors.items()}
    write(tmp_path, {**config, "architectures": ["Caduceus"]}, bare)
    model = read(tmp_path)
    assert model.task == "embedding"
    given = run_module(model, {"input_ids": ROWS})
    assert list(given) == ["last_hidden_state"]
    assert np.abs(given["last_hidden_state"] - compute(config, tensors, ROWS)[0]).max() < 5e-5


def test_a_language_model_of_a_classifier_and_the_reverse(tmp_path: Path) -> None:
    tiny(tmp_path, **CLASSES)
    model = read(tmp_path, Request(task="masked-lm"))
    assert model.loaded.explained[r"score\.weight"] == "head of another task"
    tiny(tmp_path)
    with pytest.raises(EdgeseqError, match=r"has no trained classifier: sequence-classification needs score\.weight"):
        read(tmp_path, Request(task="sequence-classification"))


def test_one_output_is_a_regression(tmp_path: Path) -> None:
    config = {**CADUCEUS, **CLASSES, "problem_type": "regression", "id2label": {"0": "expression"}}
    write(tmp_path, config, published(config, labels=1))
    model = read(tmp_path)
    assert (model.task, model.labels) == ("regression", ("expression",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bidirectional_strategy": "concat"}, "bidirectional_strategy is 'concat'; known: add, ew_multiply"),
        ({"ssm_cfg": {**CADUCEUS["ssm_cfg"], "layer": "Mamba2"}}, "layer is 'Mamba2'; only Mamba1"),
        ({"ssm_cfg": 4}, "ssm_cfg is 4, not a group"),
        ({"d_model": None}, "d_model is missing"),
        ({"rms_norm": "yes"}, "rms_norm is 'yes', neither true nor false"),
        ({"complement_map": {"7": 20}}, "complement_map sends '7' to 20; tokens go from 0 to 15"),
        ({"complement_map": {"7": 8, "8": 9}}, "does not lead back to each token"),
        ({"rcps": True}, r"tensor caduceus\.backbone\.\S+ is not expected"),
        ({"rms_norm": False}, r"norm\S*\.bias is missing"),
        ({"bidirectional": False}, r"mamba_rev\S* is not expected"),
        ({"bidirectional_weight_tie": False}, r"mamba_rev\.(in|out)_proj\.weight is missing"),
        ({"n_layer": 4}, r"tensor caduceus\.backbone\.layers\.3\.\S+ is missing"),
        ({"n_layer": 2}, r"tensor caduceus\.backbone\.layers\.2\.\S+ is not expected"),
        ({"tie_word_embeddings": False}, r"tensor lm_head\.weight is missing"),
        ({"pooling": "last"}, "pooling is 'last'; known: mean, max"),
        ({"architectures": ["CaduceusForTokenClassification"]}, "no token-classification head"),
        ({"architectures": ["CaduceusForCausalLM"]}, "both directions, so it cannot be a causal-lm"),
    ],
)
def test_configurations_that_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write(tmp_path, {**CADUCEUS, **change}, published(CADUCEUS))
    with pytest.raises(EdgeseqError, match=message):
        read(tmp_path)


@pytest.mark.parametrize(
    ("strands", "options", "message"),
    [
        (False, {"conjoin": "maybe"}, "conjoin is 'maybe'; known: yes, no"),
        (True, {"conjoin": "yes"}, "PS reads both strands already"),
        (False, {"pooling": "first"}, "pooling is 'first'"),
    ],
)
def test_options_that_are_refused(tmp_path: Path, strands: bool, options: dict[str, str], message: str) -> None:
    tiny(tmp_path, rcps=strands)
    with pytest.raises(EdgeseqError, match=message):
        read(tmp_path, Request(options=options))


@pytest.mark.parametrize(
    ("trained", "said"),
    [
        ({"rcps": True}, {"rcps": False}),
        ({"rcps": True}, {"fused_add_norm": False}),
        ({"rcps": True, "fused_add_norm": False}, {"fused_add_norm": True}),
        ({"rcps": True, "fused_add_norm": False}, {"rcps": False}),
    ],
)
def test_names_that_say_something_else_than_the_configuration_are_refused(
    tmp_path: Path, trained: dict[str, Any], said: dict[str, Any]
) -> None:
    config, tensors = tiny(tmp_path, **trained)
    write(tmp_path, {**config, **said}, tensors)
    with pytest.raises(EdgeseqError, match=r"tensor \S+ is not expected by this configuration"):
        read(tmp_path)


@pytest.mark.parametrize("strands", [False, True])
def test_both_strands_need_a_complement(tmp_path: Path, strands: bool) -> None:
    config, tensors = tiny(tmp_path, rcps=strands)
    plain = {name: value for name, value in tensors.items() if "complement_map" not in name}
    write(tmp_path, {**config, "complement_map": None}, plain)
    with pytest.raises(EdgeseqError, match="complement_map is missing, and the model reads both strands"):
        read(tmp_path, None if strands else MEAN_OF_BOTH)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("layers.1.mixer.mamba_fwd.D", None, r"tensor caduceus\.backbone\.layers\.1\.mixer\.mamba_fwd\.D is missing"),
        ("layers.1.mixer.mamba_fwd.D", np.zeros(23, np.float32), r"mamba_fwd\.D has shape \(23,\).*\(24,\)"),
        ("layers.1.mixer.mamba_fwd.D", np.full(24, np.inf, np.float32), r"mamba_fwd\.D holds values .* not finite"),
        ("layers.1.mixer.mamba_fwd.E", np.zeros(24, np.float32), r"mamba_fwd\.E is not expected"),
        ("layers.1.mixer.mamba_rev.in_proj.weight", np.zeros((48, 12), np.float32), "should be one, but differ"),
        ("norm_f.weight", np.zeros(12, np.int64), r"norm_f\.weight is torch\.int64"),
    ],
)
def test_tensors_that_are_refused(tmp_path: Path, name: str, value: Any, message: str) -> None:
    tensors = published(CADUCEUS)
    tensors.pop(BACKBONE + name, None)
    write(tmp_path, CADUCEUS, tensors if value is None else {**tensors, BACKBONE + name: value})
    with pytest.raises(EdgeseqError, match=message):
        read(tmp_path)


def test_a_configuration_of_this_name_without_its_tensors_is_not_taken(tmp_path: Path) -> None:
    write(tmp_path, CADUCEUS, {"backbone.layers.0.mixer.A_log": np.zeros((24, 4), np.float32)})
    assert not FAMILY.recognises(open_checkpoint(tmp_path))
    write(tmp_path, {**CADUCEUS, "model_type": "mamba", "architectures": ["MambaForCausalLM"]}, published(CADUCEUS))
    assert not FAMILY.recognises(open_checkpoint(tmp_path))
