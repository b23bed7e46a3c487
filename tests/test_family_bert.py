"""DNABERT, DNABERT-2 and GENA-LM: what their checkpoints compute, and which ones are refused."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Shared
from safetensors.torch import save_file

from edgeseq.session import Session
from edgeseq.tokenizers import load_tokenizer
from export.checkpoint import open_checkpoint
from export.errors import CheckpointError, FamilyError, TensorsError
from export.families import find
from export.network import Model, Outputs, Request
from export.operators.alibi import alibi_slopes
from export.parity import compare
from export.tracing import trace

FIXTURES = ("dnabert6", "dnabert6/seqcls", "dnabert2", "dnabert2/seqcls", "gena_lm")
STOCK = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": 8,
    "intermediate_size": 12,
    "max_position_embeddings": 20,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": 69,
}
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def linear(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (8,), f"{name}.bias": (8,)}


def shapes(style: str, task: str, last_norm: bool) -> dict[str, tuple[int, ...]]:
    """The published names of a tiny checkpoint, with their shapes."""
    found: dict[str, tuple[int, ...]] = {
        "bert.embeddings.word_embeddings.weight": (69, 8),
        "bert.embeddings.token_type_embeddings.weight": (2, 8),
        **norm("bert.embeddings.LayerNorm"),
    }
    if style != "mosaic":
        found["bert.embeddings.position_embeddings.weight"] = (20, 8)
    for number in range(2):
        block = f"bert.encoder.layer.{number}."
        found |= linear(block + "attention.output.dense", 8, 8)
        if style == "mosaic":
            found |= linear(block + "attention.self.Wqkv", 24, 8) | norm(block + "attention.output.LayerNorm")
            found |= {block + "mlp.gated_layers.weight": (24, 8)}
            found |= linear(block + "mlp.wo", 8, 12) | norm(block + "mlp.layernorm")
            continue
        for part in ("query", "key", "value"):
            found |= linear(block + f"attention.self.{part}", 8, 8)
        found |= linear(block + "intermediate.dense", 12, 8) | linear(block + "output.dense", 8, 12)
        first = style == "first"
        found |= norm(block + ("pre_attention_ln" if first else "attention.output.LayerNorm"))
        found |= norm(block + ("post_attention_ln" if first else "output.LayerNorm"))
    if last_norm:
        found |= norm("bert.encoder.last_layer_ln")
    if task == "masked-lm":
        found |= linear("cls.predictions.transform.dense", 8, 8) | norm("cls.predictions.transform.LayerNorm")
        found |= {"cls.predictions.decoder.bias" if style == "mosaic" else "cls.predictions.bias": (69,)}
    if task.startswith("sequence"):
        found |= linear("bert.pooler.dense", 8, 8)
    if task.endswith("classification"):
        found |= linear("classifier", 3, 8)
    return found


def write(
    folder: Path,
    style: str = "behind",
    task: str = "masked-lm",
    *,
    last_norm: bool = False,
    without: str = "",
    extra: dict[str, torch.Tensor] | None = None,
    **config: Any,
) -> Path:
    """A tiny checkpoint in the published layout: words of three bases, random weights."""
    generator = torch.Generator().manual_seed(5)
    tensors = {
        name: 0.4 * torch.randn(shape, generator=generator) + (1.0 if "orm.weight" in name or "_ln.w" in name else 0.0)
        for name, shape in shapes(style, task, last_norm).items()
        if name != without
    }
    save_file({**tensors, **(extra or {})}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**STOCK, **config}))
    (folder / "vocab.txt").write_text("\n".join((*SPECIAL, *map("".join, product("ATCG", repeat=3)))) + "\n")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true, "tokenizer_class": "BertTokenizer"}')
    return folder


def norms(style: str) -> dict[str, Any]:
    """The switches of a checkpoint that normalises first."""
    return {"pre_layer_norm": True, "last_layer_norm": False} if style == "first" else {}


def read(folder: Path, request: Request | None = None) -> Model:
    checkpoint = open_checkpoint(folder)
    model = find(checkpoint).read(checkpoint, request or Request())
    model.network.eval()
    return model


def logits(model: Model, ids: list[list[int]], mask: list[list[int]] | None = None) -> torch.Tensor:
    rows = torch.tensor(ids)
    with torch.inference_mode():
        outputs: Outputs = model.network(rows, torch.ones_like(rows) if mask is None else torch.tensor(mask))
        return outputs["logits"]


@pytest.mark.slow
@pytest.mark.parametrize("name", FIXTURES)
def test_the_graph_gives_the_golden_outputs(shared: Shared, name: str) -> None:
    folder = shared / f"fixtures/{name}"
    model = read(folder)
    outputs = ("logits", "last_hidden_state")
    session = Session(trace(model.network, outputs).SerializeToString())
    classifier = name.endswith("seqcls")
    files = sorted(((folder.parent if classifier else folder) / "io").glob("*.npz"))
    files = [file for file in files if file.name.startswith("seqcls") == classifier]
    assert files
    for file in files:
        gold = np.load(file)
        mask = gold["attention_mask"]
        given = session.run({"input_ids": gold["input_ids"], "attention_mask": mask})
        scores = given["logits"][..., gold["logits_cols"]] if "logits_cols" in gold else given["logits"]
        wanted = gold["logits"]
        real = mask == 1
        where = ... if classifier else real
        np.testing.assert_allclose(scores[where], wanted[where], atol=1e-4)
        if "hidden_states" in gold:
            np.testing.assert_allclose(
                given["last_hidden_state"][real], gold["hidden_states"][-1][real], atol=1e-4, rtol=0
            )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("style", "task", "config"),
    [
        ("behind", "masked-lm", {}),
        ("behind", "token-classification", {"hidden_act": "gelu_new"}),
        ("first", "sequence-classification", {"pre_layer_norm": True, "last_layer_norm": True, "last_norm": True}),
        ("mosaic", "masked-lm", {"num_attention_heads": 4}),
        ("mosaic", "sequence-classification", {"num_attention_heads": 1}),
    ],
)
def test_graph_and_module_agree_at_every_length(tmp_path: Path, style: str, task: str, config: dict[str, Any]) -> None:
    model = read(write(tmp_path, style, task, **config))
    outputs = ("logits", "last_hidden_state")
    compared = compare(model, trace(model.network, outputs).SerializeToString(), outputs)
    assert model.task == task
    longest = 512 if style == "mosaic" else 20  # DNABERT-2 has no table of positions that ends
    assert {1, 7, longest} <= {length for one in compared for length in one.lengths}
    assert any(one.padded for one in compared)


def test_slopes_of_heads_that_are_no_power_of_two() -> None:
    """As published for twelve heads."""
    assert alibi_slopes(8) == (0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625)
    assert alibi_slopes(12)[8:] == pytest.approx((0.70710677, 0.35355338, 0.17677669, 0.08838835))
    assert alibi_slopes(6)[4:] == (2**-1.0, 2**-3.0)
    assert alibi_slopes(1) == (2**-8.0,)


@pytest.mark.parametrize("style", ["behind", "first", "mosaic"])
def test_padding_changes_nothing(tmp_path: Path, style: str) -> None:
    model = read(write(tmp_path, style, **norms(style)))
    alone = logits(model, [[2, 7, 30, 3]])
    padded = logits(model, [[2, 7, 30, 3, 0, 0]], [[1, 1, 1, 1, 0, 0]])
    torch.testing.assert_close(padded[:, :4], alone, atol=1e-5, rtol=0)


def test_gena_has_a_last_norm_unless_its_configuration_says_no(tmp_path: Path) -> None:
    with pytest.raises(TensorsError, match=r"tensor bert\.encoder\.last_layer_ln\.bias is missing|last_norm"):
        read(write(tmp_path, "first", pre_layer_norm=True))
    model = read(write(tmp_path, "first", pre_layer_norm=True, last_norm=True))
    hidden = model.network(torch.tensor([[2, 9, 3]]), torch.ones(1, 3, dtype=torch.int64))["last_hidden_state"]
    norm_of = open_checkpoint(tmp_path).tensors
    weight, bias = (norm_of[f"bert.encoder.last_layer_ln.{kind}"] for kind in ("weight", "bias"))
    centred = (hidden - bias) / weight
    torch.testing.assert_close(centred.mean(-1), torch.zeros(1, 3), atol=1e-5, rtol=0)


def test_gena_without_the_place_of_its_norms_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FamilyError, match=r"pre_layer_norm is missing.*without them and give wrong results"):
        read(write(tmp_path, "first", vocab_size=69))


@pytest.mark.parametrize(
    "config",
    [
        {"rotary_dim": 32},
        {"position_embedding_type": "rotary"},
        {"sparse_config_cls": "BigBirdSparsityConfig"},
        {"sparse_attention": {"num_local_blocks": 3}},
    ],
)
def test_sparse_and_rotary_gena_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(FamilyError, match=rf"{next(iter(config))} is .*sparse attention or rotary positions"):
        read(write(tmp_path, "first", pre_layer_norm=True, last_layer_norm=False, **config))


def test_lower_case_of_the_published_tokenizer_is_not_honoured(tmp_path: Path) -> None:
    """With it, every word of the upper-case vocabulary would be unknown."""
    tokenizer = load_tokenizer(read(write(tmp_path)).tokenizer)
    assert tokenizer.encode(b"AAATC").tolist() == [2, 5, 6, 11, 3]
    assert tokenizer.encode(b"aaa").tolist() == [2, 1, 3]


@pytest.mark.parametrize("style", ["behind", "first"])
def test_rows_longer_than_the_table_of_positions_are_refused(tmp_path: Path, style: str) -> None:
    folder = write(tmp_path, style, **norms(style))
    assert read(folder, Request(max_length=20)).max_length == 20
    with pytest.raises(FamilyError, match=r"rows of 21 tokens were asked for, but the table of positions ends at 20"):
        read(folder, Request(max_length=21))


def test_rows_without_positions_have_no_limit(tmp_path: Path) -> None:
    model = read(write(tmp_path, "mosaic"), Request(max_length=3000))
    assert model.max_length == 3000


def test_either_name_of_the_decoders_bias_will_do(tmp_path: Path) -> None:
    plain = logits(read(write(tmp_path)), [[2, 8, 3]])
    bias = open_checkpoint(tmp_path).tensors["cls.predictions.bias"].clone()
    words = open_checkpoint(tmp_path).tensors["bert.embeddings.word_embeddings.weight"].clone()
    other = {"cls.predictions.decoder.bias": bias}
    assert torch.equal(plain, logits(read(write(tmp_path, without="cls.predictions.bias", extra=other)), [[2, 8, 3]]))
    both = {**other, "cls.predictions.decoder.weight": words}
    assert torch.equal(plain, logits(read(write(tmp_path, extra=both)), [[2, 8, 3]]))
    with pytest.raises(TensorsError, match=r"decoder\.bias and cls\.predictions\.bias should be one, but differ"):
        read(write(tmp_path, extra={"cls.predictions.decoder.bias": bias + 1}))


def test_an_untied_decoder_has_its_own_weight(tmp_path: Path) -> None:
    own = {"cls.predictions.decoder.weight": torch.zeros(69, 8)}
    model = read(write(tmp_path, extra=own, tie_word_embeddings=False))
    bias = open_checkpoint(tmp_path).tensors["cls.predictions.bias"]
    torch.testing.assert_close(logits(model, [[2, 8, 3]]), bias.expand(1, 3, 69))


@pytest.mark.parametrize("style", ["behind", "mosaic"])
def test_an_embedding_leaves_the_heads_out_and_says_so(tmp_path: Path, style: str) -> None:
    model = read(write(tmp_path, style), Request(task="embedding"))
    given = model.network(torch.tensor([[2, 9, 3]]), torch.ones(1, 3, dtype=torch.int64))
    assert set(given) == {"last_hidden_state"}
    assert "head of the masked language model" in model.loaded.explained.values()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"without": "bert.encoder.layer.1.attention.self.key.bias"}, r"layer\.1\.\S*key\.bias is missing"),
        ({"extra": {"bert.encoder.layer.2.output.dense.bias": torch.zeros(8)}}, r"layer\.2\.output.dense.bias is not"),
        ({"extra": {"cls.predictions.bias": torch.zeros(70)}}, r"cls\.predictions\.bias has shape \(70,\)"),
        ({"extra": {"bert.embeddings.position_ids": torch.tensor([[0, 2, 1]])}}, r"position_ids does not count"),
        ({"intermediate_size": 13}, r"intermediate\.dense\.\w+ has shape \(12"),
        ({"num_attention_heads": 3}, r"num_attention_heads is 3, which does not divide 8"),
        ({"position_embedding_type": "relative_key"}, r"position_embedding_type is 'relative_key', which changes"),
        ({"hidden_act": "mish"}, r"hidden_act is 'mish', which changes"),
        ({"is_decoder": True}, r"is_decoder is True, which changes"),
        ({"pruned_heads": {"0": [2]}}, r"pruned_heads has .0.: \[2\]; the model has 2 layers of 2 heads"),
        ({"pruned_heads": {"0": [1]}}, r"layer\.0\.attention\.\S+ has shape \(8"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises((CheckpointError, FamilyError), match=message):
        read(write(tmp_path, **change))


def test_a_pretrained_file_is_no_classifier(tmp_path: Path) -> None:
    with pytest.raises(TensorsError, match=r"has no trained classifier: sequence-classification needs \S+ classifier"):
        read(write(tmp_path, "mosaic"), Request(task="sequence-classification"))


@pytest.mark.parametrize(
    ("style", "config", "name"),
    [
        ("behind", {}, "DNABERT"),
        ("first", {"pre_layer_norm": True}, "GENA-LM"),
        ("mosaic", {"model_type": None}, "DNABERT-2"),
        ("behind", {"pre_layer_norm": False}, "GENA-LM"),
        ("behind", {"vocab_size": 70}, "any other transformers architecture"),
    ],
)
def test_families_are_told_apart(tmp_path: Path, style: str, config: dict[str, Any], name: str) -> None:
    assert find(open_checkpoint(write(tmp_path, style, **config))).name == name
