"""Tiny checkpoints of Caduceus' published layout with random weights, and what they compute, in numpy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

Array = NDArray[np.float64]
Ids = NDArray[np.int64]
Tensors = dict[str, NDArray[Any]]

BACKBONE = "caduceus.backbone."
COMPLEMENT = {str(token): {7: 10, 8: 9, 9: 8, 10: 7}.get(token, token) for token in range(16)}
CADUCEUS: dict[str, Any] = {
    "architectures": ["CaduceusForMaskedLM"],
    "model_type": "caduceus",
    "d_model": 12,
    "n_layer": 3,
    "vocab_size": 16,
    "pad_vocab_size_multiple": 8,
    "rcps": False,
    "fused_add_norm": True,
    "rms_norm": True,
    "norm_epsilon": 1e-5,
    "bidirectional": True,
    "bidirectional_strategy": "add",
    "bidirectional_weight_tie": True,
    "complement_map": COMPLEMENT,
    "ssm_cfg": {"d_state": 4, "d_conv": 4, "expand": 2, "dt_rank": "auto", "conv_bias": True, "bias": False},
}


def published(config: Mapping[str, Any], *, labels: int = 3, seed: int = 0) -> Tensors:
    """Tensors under their published names, as many as the configuration asks for."""
    rng = np.random.default_rng(seed)
    width, mixer = config["d_model"], config["ssm_cfg"]
    inner, states, taps = width * mixer["expand"], mixer["d_state"], mixer["d_conv"]
    rank = -(-width // 16) if mixer["dt_rank"] == "auto" else mixer["dt_rank"]
    words = -(-config["vocab_size"] // 8) * 8
    strands, bias = config["rcps"], mixer["bias"]
    shapes: dict[str, tuple[int, ...]] = {
        f"{BACKBONE}embeddings.word_embeddings.{'embedding.' if strands else ''}weight": (words, width)
    }
    norms = [f"{BACKBONE}layers.{layer}.norm." for layer in range(config["n_layer"])] + [f"{BACKBONE}norm_f."]
    for norm in norms:
        norm += "submodule." if strands and not config["fused_add_norm"] else ""
        shapes[norm + "weight"] = (width,)
        if not config["rms_norm"]:
            shapes[norm + "bias"] = (width,)
    for layer in range(config["n_layer"]):
        for way in ("mamba_fwd", "mamba_rev")[: 1 + config["bidirectional"]]:
            at = f"{BACKBONE}layers.{layer}.mixer.{'submodule.' if strands else ''}{way}."
            if way == "mamba_fwd" or not config["bidirectional_weight_tie"]:
                shapes |= {at + "in_proj.weight": (2 * inner, width), at + "out_proj.weight": (width, inner)}
                shapes |= {at + "in_proj.bias": (2 * inner,), at + "out_proj.bias": (width,)} if bias else {}
            shapes |= {at + "conv1d.weight": (inner, 1, taps), at + "x_proj.weight": (rank + 2 * states, inner)}
            shapes |= {at + "conv1d.bias": (inner,)} if mixer["conv_bias"] else {}
            shapes |= {at + "dt_proj.weight": (inner, rank), at + "dt_proj.bias": (inner,)}
            shapes |= {at + "A_log": (inner, states), at + "D": (inner,)}
    if "Classification" in config["architectures"][0]:
        shapes["score.weight"] = (labels, width)
    elif not config.get("tie_word_embeddings", True):
        shapes[f"lm_head.{'lm_head.' if strands else ''}weight"] = (words, width)
    found: Tensors = {}
    for name, shape in shapes.items():
        value = rng.normal(0, 0.3 if len(shape) == 1 else shape[-1] ** -0.5, shape)
        found[name] = (value + 1 if "norm" in name and name.endswith("weight") else value).astype(np.float32)
    if strands:
        buffers = [f"{BACKBONE}embeddings.word_embeddings."] + ["lm_head."] * ("score.weight" not in shapes)
        found |= {name + "complement_map": complement(config) for name in buffers}
    return found


def complement(config: Mapping[str, Any]) -> Ids:
    """Token → its complement, for the whole vocabulary."""
    found = np.arange(-(-config["vocab_size"] // 8) * 8)
    for token, other in config["complement_map"].items():
        found[int(token)] = other
    return found


def write(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Path:
    """A folder as it is published; the tokenizer is known."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(dict(tensors), folder / "model.safetensors")
    return folder


def compute(
    config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]], ids: Ids, pooling: str = "mean"
) -> tuple[Array, Array]:
    """Last hidden state and logits, step by step as the published description has it, in double precision."""
    weights = {name: value.astype(np.float64) for name, value in tensors.items() if value.dtype == np.float32}
    strands, fused = config["rcps"], config["fused_add_norm"]
    table = weights[f"{BACKBONE}embeddings.word_embeddings.{'embedding.' if strands else ''}weight"]

    def norm(name: str, x: Array) -> Array:
        name = f"{BACKBONE}{name}." + ("submodule." if strands and not fused else "")
        if config["rms_norm"]:
            scale = np.sqrt((x**2).mean(-1, keepdims=True) + config["norm_epsilon"])
            return np.asarray(x / scale * weights[name + "weight"])
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + config["norm_epsilon"])
        return np.asarray(scaled * weights[name + "weight"] + weights[name + "bias"])

    def mix(layer: int, x: Array) -> Array:
        at = f"{BACKBONE}layers.{layer}.mixer.{'submodule.' if strands else ''}"
        up = _mamba(weights, at + "mamba_fwd.", at + "mamba_fwd.", x)
        if not config["bidirectional"]:
            return up
        shared = at + ("mamba_fwd." if config["bidirectional_weight_tie"] else "mamba_rev.")
        down = _mamba(weights, at + "mamba_rev.", shared, x[:, ::-1])[:, ::-1]
        return up + down if config["bidirectional_strategy"] == "add" else up * down

    def turn(x: Array) -> Array:
        return x[:, ::-1, ::-1]

    a, carried = table[ids], np.zeros(1)
    if not strands:
        for layer in range(config["n_layer"]):
            carried = a + carried
            a = mix(layer, norm(f"layers.{layer}.norm", carried))
        hidden = norm("norm_f", a + carried)
        if "score.weight" in weights:
            return hidden, _pool(hidden, pooling) @ weights["score.weight"].T
        return hidden, hidden @ weights.get("lm_head.weight", table).T
    b, other = turn(table[complement(config)[ids[:, ::-1]]]), np.zeros(1)
    for layer in range(config["n_layer"]):
        carried, other = a + carried, b + other
        if fused:
            carried, other = other, carried
        a = mix(layer, norm(f"layers.{layer}.norm", carried))
        b = turn(mix(layer, norm(f"layers.{layer}.norm", turn(other))))
    a, b = norm("norm_f", a + carried), turn(norm("norm_f", turn(b + other)))
    hidden = np.concatenate((a, b), axis=-1)
    if "score.weight" in weights:
        return hidden, (_pool(a, pooling) + _pool(turn(b), pooling)) / 2 @ weights["score.weight"].T
    words = weights.get("lm_head.lm_head.weight", table)
    return hidden, a @ words.T + b[..., ::-1] @ words[complement(config)].T


def _mamba(weights: Mapping[str, Array], at: str, shared: str, x: Array) -> Array:
    """One direction, from the first step to the last; ``shared`` has the projections into and out of it."""
    projected = x @ weights[shared + "in_proj.weight"].T + weights.get(shared + "in_proj.bias", 0.0)
    inner, gate = np.split(projected, 2, axis=-1)
    taps = weights[at + "conv1d.weight"][:, 0]
    padded = np.concatenate((np.zeros((len(x), taps.shape[1] - 1, inner.shape[-1])), inner), axis=1)
    seen = sum(padded[:, tap : tap + x.shape[1]] * taps[:, tap] for tap in range(taps.shape[1]))
    c = _silu(np.asarray(seen) + weights.get(at + "conv1d.bias", 0.0))
    states = weights[at + "A_log"].shape[1]
    small, inward, outward = np.split(c @ weights[at + "x_proj.weight"].T, [-2 * states, -states], axis=-1)
    delta = np.log1p(np.exp(small @ weights[at + "dt_proj.weight"].T + weights[at + "dt_proj.bias"]))
    rates = -np.exp(weights[at + "A_log"])
    state = np.zeros((len(x), *rates.shape))
    out = np.empty_like(c)
    for step in range(x.shape[1]):
        now = delta[:, step, :, None]
        state = np.exp(now * rates) * state + now * c[:, step, :, None] * inward[:, step, None]
        out[:, step] = (state * outward[:, step, None]).sum(-1) + weights[at + "D"] * c[:, step]
    gated = out * _silu(gate)
    result: Array = gated @ weights[shared + "out_proj.weight"].T + weights.get(shared + "out_proj.bias", 0.0)
    return result


def _pool(x: Array, pooling: str) -> Array:
    pooled: Array = x.max(axis=1) if pooling == "max" else x.mean(axis=1)
    return pooled


def _silu(x: Array) -> Array:
    return np.asarray(x / (1 + np.exp(-x)))
