"""Evo 1 and Evo 2 (StripedHyena 1 and 2): what their checkpoints compute, and which ones are refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import Shared
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import save_file
from striped_checkpoint import EVO1, EVO2, Array, Tensors, blob, compute, published, write, write_parts

from edgeseq.errors import EdgeseqError
from export.checkpoint import open_checkpoint
from export.convert import Naming, convert
from export.families import find, striped_hyena
from export.network import Model, Request
from export.operators.float8 import rounded
from export.parity import cases, feed, run_module
from export.rows import batch_for
from export.tracing import trace

FIXTURES = ("evo1/evo1_tiny_131k", "evo2/evo2_tiny_8k", "evo2/evo2_tiny_40b_style")
STRETCHED = {"use_interpolated_rotary_pos_emb": True, "rotary_emb_scaling_factor": 16}
SWITCHES: dict[str, dict[str, Any]] = {
    "Evo 1, 8k": EVO1,
    "Evo 1, 131k": EVO1 | STRETCHED,
    "Evo 1, gates in thirds": EVO1 | {"column_split_hyena": False},
    "Evo 1, attention head by head": EVO1 | {"column_split": True},
    "Evo 1, own decoder": EVO1 | {"tie_embeddings": False},
    "Evo 1, no biases": EVO1
    | {
        "qkv_proj_bias": False,
        "short_filter_bias": False,
        "mha_out_proj_bias": False,
        "hyena_out_proj_bias": False,
    },
    "Evo 1, another base": EVO1 | {"rotary_emb_base": 500},
    "Evo 2, 8k": EVO2,
    "Evo 2, 1M": EVO2 | {**STRETCHED, "rotary_emb_scaling_factor": 128},
    "Evo 2, gelu in each block": EVO2 | {"evo2_style_activations": False},
    "Evo 2, gates in thirds": EVO2 | {"interleave": False},
    "Evo 2, gates by heads": EVO2 | {"interleave": False, "column_split_hyena": True},
    "Evo 2, gates exchanged": EVO2 | {"hyena_flip_x1x2": True},
    "Evo 2, attention in thirds": EVO2 | {"column_split": False},
    "Evo 2, one filter for all": EVO2 | {"hcs_filter_groups": 1, "hcm_filter_groups": 1},
    "Evo 2, a filter a channel": EVO2 | {"hcs_filter_groups": 16, "hcm_filter_groups": 16},
    "Evo 2, few long filters": EVO2 | {"hcl_filter_groups": 4},
    "Evo 2, other taps": EVO2 | {"hcs_filter_length": 5, "hcm_filter_length": 150, "short_filter_length": 4},
    "Evo 2, medium filters below 128 taps": EVO2 | {"hcm_filter_length": 127},
    "Evo 2, own decoder, no last norm": EVO2 | {"tie_embeddings": False, "final_norm": False},
    "Evo 2, biases": EVO2 | {"qkv_proj_bias": True, "short_filter_bias": True, "mha_out_proj_bias": False},
    "Evo 2, convolutions alone": EVO2 | {"attn_layer_idxs": [], "hcs_layer_idxs": [0, 3]},
    "Evo 2, attention alone": EVO2
    | {
        "num_layers": 2,
        "attn_layer_idxs": [0, 1],
        "hcs_layer_idxs": [],
        "hcm_layer_idxs": [],
        "hcl_layer_idxs": [],
    },
    "Evo 2, another epsilon": EVO2 | {"eps": 0.3},
}
ROWS = np.frombuffer(b"ACGTNACGTTGCAACGGTTAacgtCGCGATATTAGACCATACCAGTTTGCAAACGTAAGC", np.uint8).astype(np.int64)
ROWS = np.stack((ROWS, ROWS[::-1]))


def read(path: Path, request: Request | None = None) -> Model:
    checkpoint = open_checkpoint(path)
    model = find(checkpoint).read(checkpoint, request or Request())
    model.network.eval()
    return model


def tiny(folder: Path, config: Mapping[str, Any] = EVO2) -> Tensors:
    tensors = published(config)
    write(folder, config, tensors, prefix="backbone." if config.get("model_type") else "")
    return tensors


def start(graph: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])


def random_rows(length: int, batch: int = 2) -> NDArray[np.int64]:
    return np.random.default_rng(length).choice(np.frombuffer(b"ACGT", np.uint8), (batch, length)).astype(np.int64)


def golden(folder: Path) -> dict[str, tuple[NDArray[np.int64], dict[str, Array]]]:
    """Case → ids and expected outputs."""
    tags = [file.stem.removeprefix("expected_") for file in sorted(folder.glob("expected_*.npz"))]
    return {
        tag: (np.load(folder / f"input_ids_{tag}.npy"), dict(np.load(folder / f"expected_{tag}.npz"))) for tag in tags
    }


def worst(expected: Mapping[str, Array], given: Mapping[str, NDArray[Any]]) -> float:
    """The largest difference to a golden case, whatever part of the logits it holds."""
    gaps = [np.abs(given["last_hidden_state"] - expected["last_hidden_state"]).max()]
    for name, value in expected.items():
        if name == "logits":
            gaps.append(np.abs(given["logits"] - value).max())
        elif name.startswith("logits_cols_"):
            columns = [int(part) for part in name.split("_")[2:]]
            gaps.append(np.abs(given["logits"][..., columns] - value).max())
        elif name == "logits_last4":
            gaps.append(np.abs(given["logits"][:, -4:] - value).max())
    assert len(gaps) > 1
    return float(max(gaps))


@pytest.mark.parametrize("name", FIXTURES)
def test_module_gives_the_golden_outputs(shared: Shared, name: str) -> None:
    folder = shared / f"fixtures/{name}"
    model = read(folder)
    found = golden(folder)
    assert found
    for ids, expected in found.values():
        assert worst(expected, run_module(model, {"input_ids": ids})) < 1e-4


@pytest.mark.parametrize("name", ["evo2_tiny_8k", "evo2_tiny_40b_style"])
def test_torch_files_give_the_golden_outputs(shared: Shared, name: str) -> None:
    folder = shared / f"fixtures/evo2/{name}"
    ids, expected = golden(folder)["b1_l64"]
    assert worst(expected, run_module(read(folder / f"{name}.pt"), {"input_ids": ids})) < 1e-4


@pytest.mark.parametrize("name", FIXTURES[:2])
def test_steps_of_a_generation_are_those_of_one_pass(shared: Shared, name: str) -> None:
    folder = shared / f"fixtures/{name}"
    model = read(folder)
    for file in sorted(folder.glob("stream_*_input_ids.npy")):
        ids, stream = np.load(file), np.load(str(file).replace("_input_ids.npy", ".npz"))
        logits = run_module(model, {"input_ids": ids})["logits"]
        known = stream["parallel_logits_at_steps"]
        steps = known.shape[1]
        assert np.abs(logits[:, ids.shape[1] - steps :] - known).max() < 1e-4


def test_padding_under_a_mask_is_that_of_the_golden_outputs(shared: Shared) -> None:
    folder = shared / "fixtures/evo2/evo2_tiny_8k"
    expected, ids = np.load(folder / "padmask_expected.npz"), np.load(folder / "padmask_input_ids.npy")
    mask = expected["padding_mask"].astype(np.int64)
    model = read(folder, Request(options={"mask": "yes"}))
    given = run_module(model, {"input_ids": ids, "attention_mask": mask})["logits"]
    assert np.abs(given - expected["logits"])[mask == 1].max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", FIXTURES)
def test_graph_gives_the_golden_outputs(shared: Shared, name: str) -> None:
    folder = shared / f"fixtures/{name}"
    outputs = ["logits", "last_hidden_state"]
    session = start(trace(read(folder).network, outputs))
    for ids, expected in golden(folder).values():
        given = dict(zip(outputs, session.run(outputs, {"input_ids": ids}), strict=True))
        assert worst(expected, given) < 1e-4


@pytest.mark.parametrize("name", SWITCHES)
def test_every_switch_computes_what_the_description_says(tmp_path: Path, name: str) -> None:
    config = SWITCHES[name]
    tensors = tiny(tmp_path, config)
    given = run_module(read(tmp_path), {"input_ids": ROWS})
    hidden, logits = compute(config, tensors, ROWS)
    assert np.abs(given["last_hidden_state"] - hidden).max() < 2e-5 * np.abs(hidden).max()
    assert np.abs(given["logits"] - logits).max() < 2e-5 * np.abs(logits).max()


def test_long_filters_stored_a_channel_are_used_as_they_are(tmp_path: Path) -> None:
    tensors = published(EVO2)
    write(tmp_path, EVO2 | {"hcl_filter_groups": 4}, tensors)
    given = run_module(read(tmp_path), {"input_ids": ROWS})["last_hidden_state"]
    assert np.abs(given - compute(EVO2, tensors, ROWS)[0]).max() < 5e-5


@pytest.mark.parametrize("name", ["Evo 1, 131k", "Evo 2, 1M"])
@pytest.mark.parametrize("length", [1, 2, 6, 7, 128, 129, 600])
def test_rows_from_one_byte_to_the_longest(tmp_path: Path, name: str, length: int) -> None:
    tensors, ids = tiny(tmp_path, SWITCHES[name]), random_rows(length)
    hidden, _ = compute(SWITCHES[name], tensors, ids)
    assert np.abs(run_module(read(tmp_path), {"input_ids": ids})["last_hidden_state"] - hidden).max() < 1e-4


def test_a_mask_hides_padding_wherever_it_is(tmp_path: Path) -> None:
    tensors = tiny(tmp_path)
    mask = np.ones_like(ROWS)
    mask[0, :9] = mask[1, 40:] = 0
    model = read(tmp_path, Request(options={"mask": "yes"}))
    given = run_module(model, {"input_ids": ROWS, "attention_mask": mask})
    hidden, _ = compute(EVO2, tensors, ROWS, mask)
    assert np.abs(given["last_hidden_state"] - hidden)[mask == 1].max() < 5e-5


def test_evo_2_turns_by_the_stored_angles_and_evo_1_by_its_base(tmp_path: Path) -> None:
    for config, used in ((EVO2, True), (EVO1, False)):
        folder = tmp_path / str(used)
        name = next(name for name in published(config) if name.endswith("inv_freq"))
        tensors = published(config)
        tensors[name] = np.array([1.0, 0.5, 0.3, 0.2], np.float32)
        write(folder, config, tensors, halves=(name,))
        rounded_to_half = {**tensors, name: torch.from_numpy(tensors[name]).bfloat16().float().numpy()}
        hidden, _ = compute(config, rounded_to_half, ROWS)
        given = run_module(read(folder), {"input_ids": ROWS})["last_hidden_state"]
        assert np.abs(given - hidden).max() < 5e-5


def test_without_stored_angles_the_base_counts(tmp_path: Path) -> None:
    tensors = {name: value for name, value in published(EVO2).items() if not name.endswith("inv_freq")}
    write(tmp_path, EVO2, tensors)
    given = run_module(read(tmp_path), {"input_ids": ROWS})["last_hidden_state"]
    assert np.abs(given - compute(EVO2, tensors, ROWS)[0]).max() < 5e-5


@pytest.mark.parametrize("parts", [1, 3])
def test_torch_files_whole_and_in_byte_ranges(tmp_path: Path, parts: int) -> None:
    tensors: dict[str, Any] = dict(published(EVO2))
    extra = {"blocks.2.mixer.mixer.filter.t": np.zeros((1, 1, 32), np.float32)}
    extra["unembed.weight"] = np.zeros((512, 16), np.float32)
    blobs = {f"blocks.{number}.projections._extra_state": blob(16.0, 100.0) for number in range(3)}
    write_parts(tmp_path, EVO2, {**tensors, **extra}, blobs, parts)
    model = read(tmp_path)
    given = run_module(model, {"input_ids": ROWS})["last_hidden_state"]
    assert np.abs(given - compute(EVO2, tensors, ROWS)[0]).max() < 5e-5
    assert "the decoder is the table of embeddings" in model.loaded.explained.values()


def test_shards_with_an_index(tmp_path: Path) -> None:
    tensors = tiny(tmp_path, EVO1)
    (tmp_path / "model.safetensors").unlink()
    names: dict[str, str] = {}
    for number in (0, 1):
        shard = {f"backbone.{name}": torch.from_numpy(tensors[name].copy()) for name in sorted(tensors)[number::2]}
        file = f"model-0000{number + 1}-of-00002.safetensors"
        save_file(shard, tmp_path / file)
        names |= dict.fromkeys(shard, file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}), encoding="utf-8")
    model = read(tmp_path)
    given = run_module(model, {"input_ids": ROWS})["last_hidden_state"]
    assert np.abs(given - compute(EVO1, tensors, ROWS)[0]).max() < 5e-5


@pytest.mark.slow
@pytest.mark.parametrize("config", [EVO1, EVO2], ids=["Evo 1", "Evo 2"])
def test_filters_that_are_too_large_to_store_are_computed(
    tmp_path: Path, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config | {"max_seqlen": 700}
    tensors = tiny(tmp_path, config)
    monkeypatch.setattr(striped_hyena, "LARGEST_TABLES", 0)
    model = read(tmp_path)
    assert "computed from their exponentials" in " ".join(model.notes)
    session = start(trace(model.network, ["last_hidden_state"]))
    for length in (1, 7, 129, 300, 700):
        ids = random_rows(length)
        (given,) = session.run(None, {"input_ids": ids})
        assert np.abs(given - compute(config, tensors, ids)[0]).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Evo 2, 1M", "Evo 2, own decoder, no last norm", "under a mask"])
def test_graph_is_the_module_at_every_length_and_under_padding(tmp_path: Path, name: str) -> None:
    tiny(tmp_path, SWITCHES.get(name, EVO2))
    model = read(tmp_path, Request(options={"mask": "yes"} if name == "under a mask" else {}))
    graph = trace(model.network, ["logits"])
    session = start(graph)
    for lengths in cases(model):
        ids, mask = batch_for(model, lengths)
        inputs = feed(model, ids, mask)
        (given,) = session.run(None, inputs)
        wanted = run_module(model, inputs)["logits"]
        assert np.abs(given - wanted)[mask == 1].max() < 2e-5 * max(1.0, np.abs(wanted).max())
    tables = [one for one in graph.graph.initializer if sorted(one.dims) == [16, 512]]
    assert len(tables) == (2 if "own decoder" in name else 1)


@pytest.mark.slow
def test_the_command_writes_a_bundle(tmp_path: Path) -> None:
    tiny(tmp_path / "published")
    made = convert(
        tmp_path / "published", tmp_path / "e.edgeseq", Request(max_length=200), Naming("e"), progress=lambda _: None
    )
    assert made.family == "Evo 2"
    assert any(one.padded for one in made.compared)
    assert max(one.lengths[0] for one in made.compared) == 200


def test_the_families_do_not_take_each_others_checkpoints(tmp_path: Path) -> None:
    tiny(tmp_path / "1", EVO1)
    tiny(tmp_path / "2", EVO2)
    assert [find(open_checkpoint(tmp_path / name)).name for name in "12"] == ["Evo 1", "Evo 2"]


@given(st.floats(-1000, 1000, width=32))
def test_eight_bits_are_those_of_torch(number: float) -> None:
    value = torch.tensor([number])
    known = value.clamp(-448, 448).to(torch.float8_e4m3fn).float()
    assert torch.equal(rounded(value), known)


def test_products_in_eight_bits_are_emulated_when_asked(tmp_path: Path) -> None:
    tensors = published(EVO2)
    blobs = {f"blocks.{number}.projections._extra_state": blob(16.0, 100.0) for number in range(3)}
    write_parts(tmp_path, EVO2, tensors, blobs, 1)
    plain = run_module(read(tmp_path, Request(options={"fp8": "ignore"})), {"input_ids": ROWS})
    model = read(tmp_path, Request(options={"fp8": "emulate"}))
    emulated = run_module(model, {"input_ids": ROWS})
    first = tensors["blocks.0.projections.weight"]
    column = torch.from_numpy(first[[0, 3, 6]]) * 100  # of x2, which come first in the module
    known = column.clamp(-448, 448).to(torch.float8_e4m3fn).float() / 100
    stored = model.network.get_parameter("blocks.0.mixer.projections.weight")[:3]
    assert torch.equal(stored, known)
    gap = np.abs(plain["last_hidden_state"] - emulated["last_hidden_state"]).max()
    assert 1e-3 < gap < 2
    assert np.abs(plain["last_hidden_state"] - compute(EVO2, tensors, ROWS)[0]).max() < 5e-5
    assert "rounded to eight bits" in " ".join(model.notes)


WIDE = EVO2 | {"hidden_size": 1920, "num_attention_heads": 15, "inner_mlp_size": 8, "num_layers": 1}
WIDE |= {"hcs_layer_idxs": [0], "hcm_layer_idxs": [], "hcl_layer_idxs": [], "attn_layer_idxs": []}


def test_models_that_need_eight_bits_are_refused_with_the_reason(tmp_path: Path) -> None:
    tiny(tmp_path / "wide", WIDE)
    with pytest.raises(EdgeseqError, match=r"hidden_size is 1920, as in Evo 2 1B.* close to random.*--option fp8=emul"):
        read(tmp_path / "wide")
    assert read(tmp_path / "wide", Request(options={"fp8": "ignore"})).max_length == 600
    tiny(tmp_path / "plain", WIDE | {"use_fp8_input_projections": False})
    assert read(tmp_path / "plain").max_length == 600
    path = write_parts(tmp_path / "more", EVO2, published(EVO2), {"blocks.1.mlp.l1._extra_state": blob(1, 1)}, 1)
    with pytest.raises(EdgeseqError, match=r"products in eight bits \(holds blocks\.1\.mlp\.l1\._extra_state\)"):
        read(path)


@pytest.mark.parametrize(
    ("blobs", "message"),
    [
        ({}, r"blocks\.0\.projections\._extra_state is missing"),
        ({"blocks.0.projections._extra_state": blob(0.0, 1.0)}, r"scales 0\.0 and 1\.0, which are not positive"),
        ({"blocks.0.projections._extra_state": blob(float("inf"), 1.0)}, "scales inf and"),
    ],
)
def test_scales_that_cannot_be_used_are_refused(tmp_path: Path, blobs: Mapping[str, Any], message: str) -> None:
    path = write_parts(tmp_path, EVO2, published(EVO2), blobs, 1)
    with pytest.raises(EdgeseqError, match=message):
        read(path, Request(options={"fp8": "emulate"}))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (EVO1 | {"smeared_gqa": True}, "smeared_gqa is True, which changes what the model computes"),
        (EVO1 | {"mlp_activation": "silu"}, "mlp_activation is 'silu'"),
        (EVO1 | {"hyena_layer_idxs": [0]}, "do not name each of 3 layers once"),
        (EVO2 | {"proj_groups": 2}, "proj_groups is 2"),
        (EVO2 | {"hcm_layer_idxs": [1, 2]}, "do not name each of 4 layers once"),
        (EVO2 | {"hcs_filter_groups": 3}, "hcs_filter_groups is 3, which does not divide hidden_size 16"),
        (EVO2 | {"num_attention_heads": 3}, "num_attention_heads is 3"),
        (EVO2 | {"use_interpolated_rotary_pos_emb": True}, "rotary_emb_scaling_factor is missing"),
        (EVO2 | {"column_split_hyena": True}, "column_split_hyena is True, and interleave as well"),
        (EVO2 | {"max_seqlen": 0}, "max_seqlen is 0"),
    ],
)
def test_settings_that_are_unknown_are_refused(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    tensors = published(EVO1 if config.get("model_type") else EVO2)
    write(tmp_path, config, tensors)
    with pytest.raises(EdgeseqError, match=message):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("blocks.1.filter.D", None, r"tensor blocks\.1\.filter\.D is missing"),
        ("blocks.0.filter.D", np.zeros(16), r"tensor blocks\.0\.filter\.D is not expected"),
        ("blocks.2.filter.log_poles", np.zeros((16, 4, 1)), r"tensor blocks\.2\.filter\.log_poles has shape"),
        ("norm.scale", np.full(16, np.nan), r"tensor norm\.scale holds values that are not finite"),
        ("blocks.3.inner_mha_cls.rotary_emb.inv_freq", np.zeros(5), r"inv_freq is not what this configuration"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    tmp_path: Path, name: str, value: NDArray[Any] | None, message: str
) -> None:
    tensors = published(EVO2)
    tensors.pop(name, None)
    if value is not None:
        tensors[name] = value.astype(np.float32)
    write(tmp_path, EVO2, tensors)
    with pytest.raises(EdgeseqError, match=message):
        read(tmp_path)


def test_what_was_asked_for_has_to_be_known(tmp_path: Path) -> None:
    tiny(tmp_path)
    for request, message in (
        (Request(max_length=601), "rows of 601 tokens are longer than max_seqlen 600"),
        (Request(options={"fp8": "maybe"}), "option fp8 is 'maybe'; known: emulate, ignore"),
        (Request(options={"mask": "maybe"}), "option mask is 'maybe', not yes or no"),
        (Request(task="masked-lm"), "no masked-lm head"),
    ):
        with pytest.raises(EdgeseqError, match=message):
            read(tmp_path, request)
