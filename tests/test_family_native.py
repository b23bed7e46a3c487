"""Architectures of the transformers library: exported by optimum-onnx under the same checks, or refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from export.checkpoint import open_checkpoint
from export.convert import Naming, convert
from export.errors import CheckpointError, FamilyError, TensorsError
from export.families import find
from export.families.native import FAMILY
from export.network import Request

transformers = pytest.importorskip("transformers")
SIZES = {
    "vocab_size": 9,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
}
DISTIL = {"vocab_size": 9, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 40}


def write(folder: Path, kind: str, head: str, **settings: Any) -> Path:
    """A tiny checkpoint as the library saves it, with a vocabulary of single bases."""
    torch.manual_seed(3)
    config = transformers.AutoConfig.for_model(kind, **settings)
    module = getattr(transformers, f"AutoModel{head}").from_config(config)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    module.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"ACGT")) + "\n")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    return folder


def change(folder: Path, **settings: Any) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "head", "settings", "longest"),
    [
        ("bert", "ForMaskedLM", SIZES, 40),
        ("roberta", "ForSequenceClassification", {**SIZES, "pad_token_id": 0, "num_labels": 3}, 39),
        ("distilbert", "ForTokenClassification", DISTIL, 40),
    ],
)
def test_the_graph_is_proven_against_the_module_of_the_library(
    tmp_path: Path, kind: str, head: str, settings: dict[str, Any], longest: int
) -> None:
    folder = write(tmp_path / "checkpoint", kind, head, **settings)
    naming, outputs = Naming("tiny"), ("logits", "last_hidden_state")
    made = convert(folder, tmp_path / "a.edgeseq", Request(), naming, outputs=outputs, progress=lambda _: None)
    assert made.worst <= 1e-4
    assert {1, 7, longest} == {length for one in made.compared for length in one.lengths} & {1, 7, longest, 41}
    assert any(one.padded for one in made.compared)
    assert {len(one.lengths) for one in made.compared} == {1, 3, 8}
    with zipfile.ZipFile(tmp_path / "a.edgeseq") as bundle:
        assert json.loads(bundle.read("report.json"))["exporter"] == "optimum-onnx 0.1.0 (optimum 2.1.0)"
    assert {tuple(one.shape) for one in made.manifest.graph.inputs} == {("batch", "length")}
    again = convert(folder, tmp_path / "b.edgeseq", Request(), naming, outputs=outputs, progress=lambda _: None)
    assert made.path.read_bytes() == again.path.read_bytes()


def test_code_beside_the_weights_is_refused_unless_told(tmp_path: Path) -> None:
    folder = change(write(tmp_path, "bert", "ForMaskedLM", **SIZES), auto_map={"AutoModel": "modeling_own.Own"})
    (folder / "modeling_own.py").write_text("raise SystemExit('ran')")
    checkpoint = open_checkpoint(folder)
    family = find(checkpoint)
    with pytest.raises(FamilyError, match=r"auto_map names code of its own \(modeling_own\.Own\), which is never run"):
        family.read(checkpoint, Request())
    assert family.read(checkpoint, Request(options={"auto_map": "ignore"})).task == "masked-lm"


def test_weights_are_filled_in_strictly(tmp_path: Path) -> None:
    folder = change(write(tmp_path, "bert", "ForMaskedLM", **SIZES), num_hidden_layers=1)
    checkpoint = open_checkpoint(folder)
    with pytest.raises(TensorsError, match=r"tensor bert\.encoder\.layer\.1\.\S+ is not expected"):
        find(checkpoint).read(checkpoint, Request())


def test_the_encoder_of_a_language_model_is_an_embedding(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write(tmp_path, "bert", "ForMaskedLM", **SIZES))
    model = find(checkpoint).read(checkpoint, Request(task="embedding"))
    assert "head of another task" in model.loaded.explained.values()


def test_code_in_a_pickle_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, "bert", "ForMaskedLM", **SIZES)
    (folder / "model.safetensors").unlink()
    torch.save({"weight": torch.zeros(1), "code": Path("x")}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"holds Python objects"):
        find(open_checkpoint(folder))


@pytest.mark.parametrize(("kind", "reason"), [("esm", "token dropout"), ("big_bird", "sparse"), ("t5", "a decoder")])
def test_types_that_would_come_out_wrong_are_refused(tmp_path: Path, kind: str, reason: str) -> None:
    folder = change(write(tmp_path, "bert", "ForMaskedLM", **SIZES), model_type=kind, is_encoder_decoder=kind == "t5")
    checkpoint = open_checkpoint(folder)
    assert FAMILY.recognises(checkpoint)
    with pytest.raises(FamilyError, match=reason):
        FAMILY.read(checkpoint, Request())


def test_rows_longer_than_the_table_of_positions_are_refused(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write(tmp_path, "bert", "ForMaskedLM", **SIZES))
    with pytest.raises(FamilyError, match=r"rows of 41 tokens were asked for, but the table of positions ends at 40"):
        find(checkpoint).read(checkpoint, Request(max_length=41))


def test_a_head_for_the_next_token_is_known_by_either_name(tmp_path: Path) -> None:
    sizes = {"vocab_size": 9, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 40, "pad_token_id": 0}
    checkpoint = open_checkpoint(write(tmp_path, "gpt2", "ForCausalLM", bos_token_id=2, eos_token_id=3, **sizes))
    assert checkpoint.architecture == "GPT2LMHeadModel"
    assert find(checkpoint).read(checkpoint, Request()).task == "causal-lm"
