"""Nucleotide Transformer v3: what its checkpoints compute at any length, and which ones are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import Shared
from safetensors.torch import save_file

from edgeseq.errors import EdgeseqError
from export.checkpoint import open_checkpoint
from export.families import find
from export.network import Model, Request
from export.networks.ntv3 import Ntv3Network, Shape, _Doubling
from export.tracing import trace

FIXTURES = ("ntv3_repeat_conv", "ntv3_conv_transpose")
VOCABULARY = ("<unk>", "<pad>", "<mask>", "<cls>", "<eos>", "<bos>", *"ATCGN")
CONFIG: dict[str, Any] = {
    "architectures": ["NTv3PreTrained"],
    "model_type": "ntv3",
    "alphabet_size": 11,
    "num_downsamples": 2,
    "attention_heads": 2,
    "key_size": 6,
    "token_embed_dim": 5,
    "conv_init_embed_dim": 8,
    "embed_dim": 13,
    "ffn_embed_dim": 9,
    "num_layers": 1,
    "use_skip_connection": True,
    "deconv_upsample_type": "conv_transpose",
    "deconv_phase": "odd",
}


def published(config: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Random tensors with the published names and shapes."""
    network = Ntv3Network(
        Shape(
            vocabulary=11,
            token=config["token_embed_dim"],
            first=config["conv_init_embed_dim"],
            width=config["embed_dim"],
            halvings=config["num_downsamples"],
            layers=config["num_layers"],
            heads=config["attention_heads"],
            head_size=config.get("key_size") or config["embed_dim"] // config["attention_heads"],
            feed_forward=config["ffn_embed_dim"],
            eps=1e-5,
            repeats="repeat" in config["deconv_upsample_type"],
            odd=True,
            skips=True,
            head=True,
            head_layers=config.get("num_hidden_layers_head", 0),
            filler=10,
        )
    )
    random = torch.Generator().manual_seed(1)
    state = network.state_dict()
    return {f"core.{name}": 0.3 * torch.randn(value.shape, generator=random) for name, value in state.items()}


def write(folder: Path, config: dict[str, Any], tensors: dict[str, torch.Tensor] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "NTv3Tokenizer"}))
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(VOCABULARY)}))
    save_file(published(config) if tensors is None else tensors, folder / "model.safetensors")
    return folder


def read(folder: Path) -> Model:
    checkpoint = open_checkpoint(folder)
    model = find(checkpoint).read(checkpoint, Request())
    model.network.eval()
    return model


def compute(model: Model, ids: Any) -> dict[str, Any]:
    with torch.inference_mode():
        return {name: value.numpy() for name, value in model.network(torch.as_tensor(ids)).items()}


@pytest.mark.parametrize("name", FIXTURES)
def test_golden_outputs(shared: Shared, name: str) -> None:
    model = read(shared / f"fixtures/{name}")
    files = sorted((shared / f"fixtures/{name}/io").glob("*.npz"))
    assert len(files) == 3
    for file in files:
        case = np.load(file)
        given = compute(model, case["input_ids"])
        assert np.abs(given["logits"] - case["logits"]).max() < 1e-4
        assert np.abs(given["last_hidden_state"] - case["hidden_7"]).max() < 1e-4


@pytest.mark.parametrize(("repeats", "odd"), [(True, True), (False, True), (False, False)])
def test_the_folded_kernel_doubles_a_row_as_the_published_one_does(repeats: bool, odd: bool) -> None:
    torch.manual_seed(0)
    doubling = _Doubling(3, 4, repeats=repeats, odd=odd)
    torch.nn.init.normal_(doubling.weight)
    torch.nn.init.normal_(doubling.bias)
    for length in (1, 2, 7):
        row = torch.randn(2, length, 3)
        torch.testing.assert_close(doubling.folded()(row), doubling(row))


def test_zeros_come_before_or_behind_the_positions() -> None:
    doubling = _Doubling(1, 1, repeats=False, odd=True)
    doubling.weight.data[:] = torch.tensor([0.0, 0.0, 1.0, 10.0, 0.0])
    row = torch.tensor([[[1.0], [2.0]]])
    assert doubling(row).flatten().tolist() == [10.0, 1.0, 20.0, 2.0]
    doubling.odd = False
    assert doubling(row).flatten().tolist() == [1.0, 20.0, 2.0, 0.0]


def test_a_row_of_any_length_is_filled_up_with_n_and_cut_back(tmp_path: Path) -> None:
    model = read(write(tmp_path / "ntv3", CONFIG))
    ids = np.array([[6, 7, 8, 9, 6]])
    filled = np.array([[6, 7, 8, 9, 6, 10, 10, 10]])
    for name, value in compute(model, ids).items():
        assert value.shape[1] == 5
        np.testing.assert_allclose(value, compute(model, filled)[name][:, :5], atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"deconv_phase": "even"},
        {"use_skip_connection": False},
        {"deconv_upsample_type": "repeat+conv"},
        {"num_downsamples": 4},
        {"key_size": None, "attention_heads": 1, "embed_dim": 14},
        {"conv_init_embed_dim": 13, "num_hidden_layers_head": 2},
    ],
)
def test_every_switch_changes_what_is_computed(tmp_path: Path, change: dict[str, Any]) -> None:
    ids = np.array([[6, 7, 8, 9, 6, 6, 9, 8, 7, 10, 2, 6, 7, 7, 7, 7]])
    plain = compute(read(write(tmp_path / "plain", CONFIG)), ids)["logits"]
    changed = compute(read(write(tmp_path / "changed", {**CONFIG, **change})), ids)["logits"]
    assert changed.shape == plain.shape == (1, 16, 11)
    assert np.abs(changed - plain).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "halvings"), [("conv_transpose", 2), ("repeat+conv", 7)])
def test_the_graph_gives_what_the_module_gives(tmp_path: Path, kind: str, halvings: int) -> None:
    change = {"deconv_upsample_type": kind, "deconv_phase": "even", "num_downsamples": halvings}
    model = read(write(tmp_path / "ntv3", {**CONFIG, **change}))
    graph = trace(model.network, ("logits", "last_hidden_state")).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    for rows, length in ((1, 1), (2, 3), (1, 8), (3, 61), (1, 300)):
        ids = random.integers(0, 11, (rows, length))
        for name, value in compute(model, ids).items():
            np.testing.assert_allclose(session.run([name], {"input_ids": ids})[0], value, atol=1e-5)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "species": ({"architectures": ["NTv3PostTrained"]}, "a post-trained NTv3 (NTv3PostTrained)"),
    "stretch": ({"deconv_upsample_type": "bilinear"}, "deconv_upsample_type is 'bilinear'"),
    "phase": ({"deconv_phase": "both"}, "deconv_phase is 'both'"),
    "heads": ({"key_size": None}, "key_size is missing, and embed_dim 13 is no multiple of attention_heads 2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_known_is_refused(tmp_path: Path, case: str) -> None:
    change, message = REFUSED[case]
    write(tmp_path / "ntv3", {**CONFIG, **change}, published(CONFIG))
    with pytest.raises(EdgeseqError) as refused:
        read(tmp_path / "ntv3")
    assert message in str(refused.value)


def test_tensors_are_used_or_named(tmp_path: Path) -> None:
    tensors = published(CONFIG)
    missing = {name: value for name, value in tensors.items() if name != "core.stem.conv.bias"}
    with pytest.raises(EdgeseqError, match=r"tensor core\.stem\.conv\.bias is missing"):
        read(write(tmp_path / "missing", CONFIG, missing))
    with pytest.raises(EdgeseqError, match=r"tensor core\.extra is not expected"):
        read(write(tmp_path / "extra", CONFIG, {**tensors, "core.extra": torch.zeros(1)}))
    turned = {**tensors, "core.transformer_blocks.0.sa_layer.rotary_embedding.inv_freq": torch.ones(3)}
    with pytest.raises(EdgeseqError, match="not of a rotary embedding with base 10000"):
        read(write(tmp_path / "turned", CONFIG, turned))
