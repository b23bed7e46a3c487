"""Tiny checkpoints of HyenaDNA's published layouts with random weights, and what they compute, in numpy."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

Array = NDArray[np.float32]
Tensors = dict[str, Array]

BACKBONE = "hyena.backbone."
HYENADNA: dict[str, Any] = {
    "architectures": ["HyenaDNAForCausalLM"],
    "model_type": "hyenadna",
    "activation_freq": 10,
    "d_inner": 24,
    "d_model": 8,
    "emb_dim": 5,
    "filter_order": 6,
    "hyena_order": 2,
    "layer_norm_epsilon": 1e-5,
    "max_seq_len": 600,
    "n_layer": 2,
    "num_inner_mlps": 2,
    "pad_token_id": 4,
    "pad_vocab_size_multiple": 8,
    "short_filter_order": 3,
    "tie_word_embeddings": False,
    "train_freq": True,
    "use_bias": True,
    "vocab_size": 12,
}


def published(config: Mapping[str, Any], *, labels: int = 3, seed: int = 0) -> Tensors:
    """Tensors under the names of the transformers layout, as many as the configuration asks for."""
    rng = np.random.default_rng(seed)
    width, inner, wide, longest = (config[key] for key in ("d_model", "d_inner", "filter_order", "max_seq_len"))
    rows = -(-config["vocab_size"] // config["pad_vocab_size_multiple"]) * config["pad_vocab_size_multiple"]
    shapes: dict[str, tuple[int, ...]] = {BACKBONE + "embeddings.word_embeddings.weight": (rows, width)}
    fixed: Tensors = {}
    norms = [BACKBONE + "ln_f"]
    for layer in range(config["n_layer"]):
        at = f"{BACKBONE}layers.{layer}."
        taps = at + "mixer.filter_fn."
        norms += [at + "norm1", at + "norm2"]
        shapes |= {
            at + "mixer.in_proj.weight": (3 * width, width),
            at + "mixer.in_proj.bias": (3 * width,),
            at + "mixer.out_proj.weight": (width, width),
            at + "mixer.out_proj.bias": (width,),
            at + "mixer.short_filter.weight": (3 * width, 1, config["short_filter_order"]),
            at + "mixer.short_filter.bias": (3 * width,),
            at + "mlp.fc1.weight": (inner, width),
            at + "mlp.fc1.bias": (inner,),
            at + "mlp.fc2.weight": (width, inner),
            at + "mlp.fc2.bias": (width,),
            taps + "bias": (width,),
        }
        count = config["num_inner_mlps"] + 1
        for number in range(count):
            entering = wide if number else config["emb_dim"]
            shapes[f"{taps}implicit_filter.{2 * number}.weight"] = (wide, entering)
            shapes[f"{taps}implicit_filter.{2 * number}.bias"] = (wide,)
        shapes[f"{taps}implicit_filter.{2 * count}.weight"] = (width, wide)
        if config["train_freq"]:
            fixed[taps + "implicit_filter.1.freq"] = (2 + rng.normal(0, 1, (1, wide))).astype(np.float32)
        fixed |= {
            taps + "pos_emb.z": rng.normal(0, 1, (1, longest, config["emb_dim"])).astype(np.float32),
            taps + "pos_emb.t": np.linspace(0, 1, longest, dtype=np.float32)[None, :, None],
            taps + "modulation.deltas": np.linspace(-3, -15, width, dtype=np.float32)[None, None],
        }
    if config["architectures"] == ["HyenaDNAForSequenceClassification"]:
        shapes["score.weight"] = (labels, width)
    elif not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (rows, width)
    for name in norms:
        shapes |= {name + ".weight": (width,), name + ".bias": (width,)}
    scaled = {name: rng.normal(0, shape[-1] ** -0.5, shape) for name, shape in shapes.items()}
    for name in norms:
        scaled[name + ".weight"] += 1
    return fixed | {name: value.astype(np.float32) for name, value in scaled.items()}


def write(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Array]) -> Path:
    """A folder of the transformers layout."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tokenizer = {"tokenizer_class": "HyenaDNATokenizer", "padding_side": "left"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, folder / "model.safetensors")
    return folder


def original_config(config: Mapping[str, Any], **layer: Any) -> dict[str, Any]:
    """The same sizes as the authors' own repository writes them; ``layer`` goes into the settings of a layer."""
    return {
        **{key: config[key] for key in ("d_model", "n_layer", "d_inner", "vocab_size", "pad_vocab_size_multiple")},
        "resid_dropout": 0.0,
        "embed_dropout": 0.1,
        "fused_mlp": False,
        "residual_in_fp32": True,
        "layer": {
            "_name_": "hyena",
            "emb_dim": config["emb_dim"],
            "filter_order": config["filter_order"],
            "short_filter_order": config["short_filter_order"],
            "num_inner_mlps": config["num_inner_mlps"],
            "l_max": config["max_seq_len"],
            "modulate": True,
            "w": config["activation_freq"],
            "lr": 6e-4,
            "wd": 0.0,
            "lr_pos_emb": 0.0,
            **layer,
        },
    }


def original_tensors(tensors: Mapping[str, Array], *, inner: str = "") -> Tensors:
    """The same weights under the names of the authors' own repository: each frequency as often as it is used, and the
    embeddings once more as the decoder. ``inner`` (``layer.``) is what training with checkpoints of gradients adds."""
    found: Tensors = {}
    for name, value in tensors.items():
        if not name.startswith(BACKBONE):
            continue
        name = "model.backbone." + name.removeprefix(BACKBONE)
        name = name.replace(".mixer.", f".mixer.{inner}").replace(".mlp.", f".mlp.{inner}")
        copies = (1, 3, 5) if name.endswith("implicit_filter.1.freq") else (1,)
        for copy in copies:
            found[name.replace("implicit_filter.1.freq", f"implicit_filter.{copy}.freq")] = value
    return {**found, "model.lm_head.weight": found["model.backbone.embeddings.word_embeddings.weight"]}


def write_original(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Array]) -> Path:
    """A folder of the original layout: ``config.json`` and a training checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    state = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in tensors.items()}
    torch.save({"epoch": 3, "global_step": 100, "state_dict": state}, folder / "weights.ckpt")
    return folder


def compute(
    config: Mapping[str, Any], tensors: Mapping[str, Array], ids: NDArray[np.int64], *, modulated: bool = True
) -> tuple[Array, Array]:
    """Last hidden state and logits of a language model, or a classifier's logits at each position, step by step as the
    published description has it: the long convolution as a sum, in double precision."""
    weights = {name.removeprefix(BACKBONE): value.astype(np.float64) for name, value in tensors.items()}
    length = ids.shape[1]

    def linear(name: str, x: Any) -> Any:
        return x @ weights[name + ".weight"].T + weights.get(name + ".bias", 0.0)

    def norm(name: str, x: Any, epsilon: float) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
        return scaled * weights[name + ".weight"] + weights[name + ".bias"]

    x = weights["embeddings.word_embeddings.weight"][ids]
    for layer in range(config["n_layer"]):
        at = f"layers.{layer}."
        taps = at + "mixer.filter_fn."
        z = linear(at + "mixer.in_proj", norm(at + "norm1", x, 1e-5))
        short = weights[at + "mixer.short_filter.weight"][:, 0]
        mixed = shifted_sum(z, short[:, ::-1].T) + weights[at + "mixer.short_filter.bias"]
        x0, x1, v = np.split(mixed, 3, axis=-1)
        count = config["num_inner_mlps"] + 1
        freq = weights.get(taps + "implicit_filter.1.freq", config["activation_freq"])
        q = weights[taps + "pos_emb.z"][0, :length]
        for number in range(count):
            q = np.sin(freq * linear(f"{taps}implicit_filter.{2 * number}", q))
        long = q @ weights[f"{taps}implicit_filter.{2 * count}.weight"].T
        if modulated:
            fading = np.exp(-weights[taps + "pos_emb.t"][0, :length] * np.abs(weights[taps + "modulation.deltas"][0]))
            long = long * (fading + 0.05)
        u = v * x1
        y = shifted_sum(u, long) + weights[taps + "bias"] * u
        x = x + linear(at + "mixer.out_proj", y * x0)
        wide = linear(at + "mlp.fc1", norm(at + "norm2", x, 1e-5))
        bent = 0.5 * wide * (1 + np.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)))
        x = x + linear(at + "mlp.fc2", bent)
    hidden = norm("ln_f", x, config["layer_norm_epsilon"])
    head = next((weights[name] for name in ("score.weight", "lm_head.weight") if name in weights), None)
    return hidden, hidden @ (weights["embeddings.word_embeddings.weight"] if head is None else head).T


def shifted_sum(x: Any, taps: Any) -> Any:
    """``y[t] = sum of taps[s] x[t - s]``, for ``x`` of batch × length × channels and taps × channels."""
    found = np.zeros_like(x)
    for shift in range(min(len(taps), x.shape[1])):
        found[:, shift:] += taps[shift] * x[:, : x.shape[1] - shift]
    return found
