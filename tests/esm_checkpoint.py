"""Tiny checkpoints of ESM's published layout with random weights, and what they compute, in numpy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import product
from math import erf
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

Array = NDArray[np.float32]
Tensors = dict[str, Array]

RESIDUES = ("<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-", "<null_1>", "<mask>")
SIX_MERS = ("<unk>", "<pad>", "<mask>", "<cls>", *map("".join, product("ATCG", repeat=6)), *"ATCGN")

ESM2: dict[str, Any] = {
    "architectures": ["EsmForMaskedLM"],
    "model_type": "esm",
    "hidden_size": 24,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "intermediate_size": 32,
    "vocab_size": 33,
    "max_position_embeddings": 66,
    "position_embedding_type": "rotary",
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
    "mask_token_id": 32,
    "token_dropout": True,
    "emb_layer_norm_before": False,
}


def published(config: Mapping[str, Any], *, gated: bool = False, labels: int = 3, seed: int = 0) -> Tensors:
    """Tensors under their published names, as many as the configuration asks for."""
    rng = np.random.default_rng(seed)
    width, inner = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {"esm.embeddings.word_embeddings.weight": (config["vocab_size"], width)}
    norms = ["esm.encoder.emb_layer_norm_after"]
    linears: dict[str, tuple[int, int, bool]] = {}
    if config["position_embedding_type"] == "absolute":
        shapes["esm.embeddings.position_embeddings.weight"] = (config["max_position_embeddings"], width)
    if config.get("emb_layer_norm_before"):
        norms.append("esm.embeddings.layer_norm")
    for layer in range(config["num_hidden_layers"]):
        at = f"esm.encoder.layer.{layer}."
        norms += [at + "attention.LayerNorm", at + "LayerNorm"]
        linears |= {f"{at}attention.self.{part}": (width, width, True) for part in ("query", "key", "value")}
        linears[at + "attention.output.dense"] = (width, width, True)
        linears[at + "intermediate.dense"] = (inner * (1 + gated), width, config.get("add_bias_fnn", True))
        linears[at + "output.dense"] = (width, inner, config.get("add_bias_fnn", True))
    architecture = config["architectures"][0]
    if architecture == "EsmForMaskedLM":
        linears["lm_head.dense"] = (width, width, True)
        norms.append("lm_head.layer_norm")
        shapes["lm_head.bias"] = (config["vocab_size"],)
        if not config.get("tie_word_embeddings", True):
            linears["lm_head.decoder"] = (config["vocab_size"], width, False)
    elif architecture == "EsmForSequenceClassification":
        linears |= {"classifier.dense": (width, width, True), "classifier.out_proj": (labels, width, True)}
    elif architecture == "EsmForTokenClassification":
        linears["classifier"] = (labels, width, True)
    for name, (rows, columns, bias) in linears.items():
        shapes[name + ".weight"] = (rows, columns)
        if bias:
            shapes[name + ".bias"] = (rows,)
    for name in norms:
        shapes |= {name + ".weight": (width,), name + ".bias": (width,)}
    scaled = {name: rng.normal(0, shape[-1] ** -0.5, shape) for name, shape in shapes.items()}
    for name in norms:
        scaled[name + ".weight"] += 1
    return {name: value.astype(np.float32) for name, value in scaled.items()}


def write(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Array]) -> Path:
    """A folder as it is published, with the tokenizer that belongs to the size of the vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    six_mers = config["vocab_size"] > 4000
    tokens = [*SIX_MERS][: config["vocab_size"]] if six_mers else RESIDUES
    (folder / "vocab.txt").write_text("\n".join(tokens), encoding="utf-8")
    tokenizer = {"tokenizer_class": "EsmTokenizer", "eos_token": None if six_mers else "<eos>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    save_file(dict(tensors), folder / "model.safetensors")
    return folder


def compute(
    config: Mapping[str, Any], tensors: Mapping[str, Array], ids: NDArray[np.int64], mask: NDArray[np.int64]
) -> tuple[Array, Array]:
    """Last hidden state and logits, step by step as the published description has it, in double precision."""
    weights = {name: value.astype(np.float64) for name, value in tensors.items()}

    def linear(name: str, x: Any) -> Any:
        return x @ weights[name + ".weight"].T + weights.get(name + ".bias", 0.0)

    def norm(name: str, x: Any) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + config["layer_norm_eps"])
        return scaled * weights[name + ".weight"] + weights[name + ".bias"]

    x = weights["esm.embeddings.word_embeddings.weight"][ids]
    if config["token_dropout"]:
        hidden = ids == config["mask_token_id"]
        x[hidden] = 0
        x *= (0.88 / (1 - hidden.sum(1) / mask.sum(1)))[:, None, None]
    if config["position_embedding_type"] == "absolute":
        real = ids != config["pad_token_id"]
        x = x + weights["esm.embeddings.position_embeddings.weight"][real.cumsum(1) * real + config["pad_token_id"]]
    if config.get("emb_layer_norm_before"):
        x = norm("esm.embeddings.layer_norm", x)
    x = x * mask[:, :, None]
    heads = config["num_attention_heads"]
    size = x.shape[-1] // heads
    for layer in range(config["num_hidden_layers"]):
        at = f"esm.encoder.layer.{layer}."
        y = norm(at + "attention.LayerNorm", x)
        q, k, v = (
            linear(f"{at}attention.self.{part}", y).reshape(*ids.shape, heads, size).swapaxes(1, 2)
            for part in ("query", "key", "value")
        )
        if config["position_embedding_type"] == "rotary":
            angles = np.arange(ids.shape[1])[:, None] * 10000.0 ** (-np.arange(0, size, 2) / size)
            turns = np.exp(1j * angles)
            for part in (q, k):
                turned = (part[..., : size // 2] + 1j * part[..., size // 2 :]) * turns
                part[...] = np.concatenate((turned.real, turned.imag), -1)
        scores = q @ k.swapaxes(2, 3) / np.sqrt(size) - 1e9 * (1 - mask[:, None, None, :])
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        seen = (shares / shares.sum(-1, keepdims=True)) @ v
        x = x + linear(at + "attention.output.dense", seen.swapaxes(1, 2).reshape(x.shape))
        wide = linear(at + "intermediate.dense", norm(at + "LayerNorm", x))
        x = x + linear(at + "output.dense", _gelu(wide) if _plain(config, wide) else _gate(wide))
    hidden_state = norm("esm.encoder.emb_layer_norm_after", x)
    architecture = config["architectures"][0]
    if architecture == "EsmForSequenceClassification":
        logits = linear("classifier.out_proj", np.tanh(linear("classifier.dense", hidden_state[:, 0])))
    elif architecture == "EsmForTokenClassification":
        logits = linear("classifier", hidden_state)
    else:
        y = norm("lm_head.layer_norm", _gelu(linear("lm_head.dense", hidden_state)))
        decoder = weights.get("lm_head.decoder.weight", weights["esm.embeddings.word_embeddings.weight"])
        logits = y @ decoder.T + weights["lm_head.bias"]
    return hidden_state, logits


def _plain(config: Mapping[str, Any], wide: Any) -> bool:
    return bool(wide.shape[-1] == config["intermediate_size"])


def _gelu(x: Any) -> Any:
    return x * 0.5 * (1 + np.vectorize(erf)(x / np.sqrt(2)))


def _gate(x: Any) -> Any:
    first, second = np.split(x, 2, axis=-1)
    return first / (1 + np.exp(-first)) * second
