"""Tiny checkpoints of Evo 1 and Evo 2 as they are published, with random weights, and what they compute, in numpy."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from math import erf
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from hyena_checkpoint import shifted_sum
from numpy.typing import NDArray
from safetensors.torch import save_file

Array = NDArray[np.float32]
Tensors = dict[str, Array]

_COMMON: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "inner_mlp_size": 24,
    "short_filter_length": 3,
    "eps": 1e-6,
    "proj_groups": 1,
    "hyena_filter_groups": 1,
    "mlp_activation": "gelu",
    "tie_embeddings": True,
    "final_norm": True,
    "mha_out_proj_bias": True,
    "hyena_out_proj_bias": True,
}
EVO1: dict[str, Any] = {
    **_COMMON,
    "architectures": ["StripedHyenaModelForCausalLM"],
    "model_type": "stripedhyena",
    "num_layers": 3,
    "attn_layer_idxs": [1],
    "hyena_layer_idxs": [0, 2],
    "state_size": 3,
    "qkv_proj_bias": True,
    "short_filter_bias": True,
    "column_split": False,
    "column_split_hyena": True,
    "rotary_emb_base": 10000,
    "rotary_emb_scaling_factor": 16,
    "use_interpolated_rotary_pos_emb": False,
    "smeared_gqa": False,
    "max_seqlen": 600,
}
EVO2: dict[str, Any] = {
    **_COMMON,
    "num_layers": 4,
    "hcs_layer_idxs": [0],
    "hcm_layer_idxs": [1],
    "hcl_layer_idxs": [2],
    "attn_layer_idxs": [3],
    "hcs_filter_length": 7,
    "hcm_filter_length": 128,
    "hcs_filter_groups": 4,
    "hcm_filter_groups": 2,
    "hcl_filter_groups": 16,
    "state_size": 5,
    "qkv_proj_bias": False,
    "short_filter_bias": False,
    "column_split": True,
    "column_split_hyena": False,
    "interleave": True,
    "hyena_flip_x1x2": False,
    "evo2_style_activations": True,
    "use_fp8_input_projections": True,
    "rotary_emb_base": 1000000,
    "max_seqlen": 600,
    "tokenizer_type": "CharLevelTokenizer",
}


def kinds(config: Mapping[str, Any]) -> list[str]:
    """What mixes positions in each block: ``attn``, ``hyena`` (Evo 1), ``hcs``, ``hcm`` or ``hcl``."""
    named = {at: kind for kind in ("attn", "hyena", "hcs", "hcm", "hcl") for at in config.get(f"{kind}_layer_idxs", ())}
    return [named[at] for at in range(config["num_layers"])]


def published(config: Mapping[str, Any], *, seed: int = 0) -> Tensors:
    """Tensors under their published names (Evo 1's without ``backbone.``), as many as the configuration asks for."""
    rng = np.random.default_rng(seed)
    width, inner, modes = config["hidden_size"], config["inner_mlp_size"], config["state_size"]
    size = width // config["num_attention_heads"]
    shapes: dict[str, tuple[int, ...]] = {"embedding_layer.weight": (config["vocab_size"], width)}
    fixed: Tensors = {}
    scales = ["norm.scale"] if config["final_norm"] else []
    if not config["tie_embeddings"]:
        shapes["unembed.weight"] = (config["vocab_size"], width)
    for layer, kind in enumerate(kinds(config)):
        at = f"blocks.{layer}."
        scales += [at + "pre_norm.scale", at + "post_norm.scale"]
        shapes |= {
            at + "mlp.l1.weight": (inner, width),
            at + "mlp.l2.weight": (inner, width),
            at + "mlp.l3.weight": (width, inner),
        }
        if kind == "attn":
            into, out, biased = "inner_mha_cls.Wqkv", "inner_mha_cls.out_proj", config["mha_out_proj_bias"]
            base = config.get("rotary_emb_base", 1e6)
            speeds = base ** -(np.arange(0, size, 2) / size)
            fixed[at + "inner_mha_cls.rotary_emb.inv_freq"] = speeds.astype(np.float32)
        else:
            into, out, biased = "projections", "out_filter_dense", config["hyena_out_proj_bias"]
            shapes[at + "filter.short_filter_weight"] = (3 * width, 1, config["short_filter_length"])
            if config["short_filter_bias"]:
                shapes[at + "filter.short_filter_bias"] = (3 * width,)
        shapes |= {at + into + ".weight": (3 * width, width), at + out + ".weight": (width, width)}
        if config["qkv_proj_bias"]:
            shapes[at + into + ".bias"] = (3 * width,)
        if biased:
            shapes[at + out + ".bias"] = (width,)
        if kind in ("hcs", "hcm"):
            taps = config[f"{kind}_filter_length"]
            shapes[at + "filter.h"] = (config[f"{kind}_filter_groups"], 1, taps)
            if taps >= 128:
                shapes[at + "filter.D"] = (width,)
        elif kind == "hcl":
            groups = config["hcl_filter_groups"]
            fixed[at + "filter.log_poles"] = -rng.uniform(0.01, 1, (groups, modes, 1)).astype(np.float32)
            fixed[at + "filter.residues"] = rng.normal(0, 0.3, (groups, modes)).astype(np.float32)
            shapes[at + "filter.D"] = (width,)
        elif kind == "hyena":
            poles = rng.uniform(0.3, 0.95, (width, modes)) * np.exp(1j * rng.uniform(-3, 3, (width, modes)))
            residues = rng.normal(0, 0.3, (width, modes)) + 1j * rng.normal(0, 0.3, (width, modes))
            for name, value in (("poles", poles), ("residues", residues)):
                fixed[at + "filter." + name] = np.stack((value.real, value.imag), -1)[:, :, None].astype(np.float32)
            shapes[at + "filter.D"] = (width,)
    scaled = {name: rng.normal(0, 2 * shape[-1] ** -0.5, shape) for name, shape in shapes.items()}
    scaled |= {name: 1 + 0.2 * rng.normal(0, 1, width) for name in scales}
    return fixed | {name: value.astype(np.float32) for name, value in scaled.items()}


def write(
    folder: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, Any],
    *,
    prefix: str = "",
    halves: tuple[str, ...] = (),
) -> Path:
    """A folder with ``config.json`` (Evo 1) or ``config.yml`` and safetensors; the names in ``halves`` as bfloat16."""
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder, config)
    found = {prefix + name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in tensors.items()}
    for name in halves:
        found[prefix + name] = found[prefix + name].to(torch.bfloat16)
    save_file(found, folder / "model.safetensors")
    return folder


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """The configuration as it is published."""
    if config.get("model_type"):
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    else:
        (folder / "config.yml").write_text(yaml.safe_dump(dict(config)), encoding="utf-8")


def blob(inputs: float, weights: float) -> io.BytesIO:
    """The state of a product in eight bits, as it is stored beside its weights."""
    stream = io.BytesIO()
    torch.save({"scale_fwd": torch.tensor([inputs, weights, 1.0]), "scale_bwd": torch.ones(2)}, stream)
    stream.seek(0)
    return stream


def write_parts(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Any], blobs: Mapping[str, io.BytesIO], parts: int
) -> Path:
    """A folder with one torch file, cut into so many byte ranges, that holds tensors and ``blobs``. Returns its first
    (or only) weight file."""
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder, config)
    stream = io.BytesIO()
    torch.save({**{name: torch.from_numpy(value) for name, value in tensors.items()}, **blobs}, stream)
    content = stream.getvalue()
    if parts == 1:
        (folder / "evo.pt").write_bytes(content)
        return folder / "evo.pt"
    step = len(content) // parts + 1
    for number in range(parts):
        (folder / f"evo.pt.part{number}").write_bytes(content[number * step : (number + 1) * step])
    return folder / "evo.pt.part0"


def compute(
    config: Mapping[str, Any],
    tensors: Mapping[str, Array],
    ids: NDArray[np.int64],
    mask: NDArray[np.int64] | None = None,
) -> tuple[Array, Array]:
    """Last hidden state and logits, step by step as the published description has it: convolutions as sums, attention
    over all pairs, in double precision."""
    weights = {name: value.astype(np.float64) for name, value in tensors.items()}
    width, heads = config["hidden_size"], config["num_attention_heads"]
    size = width // heads
    real = np.ones((*ids.shape, 1)) if mask is None else mask[:, :, None].astype(np.float64)
    evo2 = "hcs_layer_idxs" in config

    def linear(name: str, x: Any) -> Any:
        return x @ weights[name + ".weight"].T + weights.get(name + ".bias", 0.0)

    def norm(name: str, x: Any) -> Any:
        return weights[name] * x / (np.sqrt((x**2).mean(-1, keepdims=True)) + config["eps"])

    def attention(at: str, x: Any) -> Any:
        found = linear(at + "inner_mha_cls.Wqkv", x)
        order = (heads, 3, size) if config["column_split"] else (3, heads, size)
        split = found.reshape(*ids.shape, *order)
        q, k, v = (np.take(split, part, axis=3 if config["column_split"] else 2) for part in range(3))
        step = config["rotary_emb_scaling_factor"] if config.get("use_interpolated_rotary_pos_emb") else 1
        speeds = weights.get(at + "inner_mha_cls.rotary_emb.inv_freq") if evo2 else None
        if speeds is None:
            speeds = config.get("rotary_emb_base", 1e6) ** -(np.arange(0, size, 2) / size)
        turns = np.exp(1j * np.arange(ids.shape[1])[:, None] / step * speeds)[:, None]
        for part in (q, k):
            turned = (part[..., : size // 2] + 1j * part[..., size // 2 :]) * turns
            part[...] = np.concatenate((turned.real, turned.imag), -1)
        scores = np.einsum("bqhc,bkhc->bhqk", q, k) / np.sqrt(size)
        scores[:, :, ~np.tri(ids.shape[1], dtype=bool)] = -np.inf
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        seen = np.einsum("bhqk,bkhc->bqhc", shares / shares.sum(-1, keepdims=True), v)
        return linear(at + "inner_mha_cls.out_proj", seen.reshape(*ids.shape, width))

    def convolution(at: str, kind: str, x: Any) -> Any:
        projected = linear(at + "projections", x) * real
        short = weights[at + "filter.short_filter_weight"][:, 0]
        z = shifted_sum(projected, short[:, ::-1].T) + weights.get(at + "filter.short_filter_bias", 0.0)
        z = z * real
        if config.get("interleave"):
            x2, x1, v = z[..., 0::3], z[..., 1::3], z[..., 2::3]
        elif config["column_split_hyena"]:
            split = z.reshape(*ids.shape, heads, 3, size)
            x2, x1, v = (split[:, :, :, part].reshape(*ids.shape, width) for part in range(3))
        else:
            x2, x1, v = np.split(z, 3, -1)
        if config.get("hyena_flip_x1x2"):
            x1, x2 = x2, x1
        u = x1 * v
        times = np.arange(ids.shape[1])
        if kind in ("hcs", "hcm"):
            taps = weights[at + "filter.h"][:, 0].T
            taps = taps if len(taps) >= 128 else taps[::-1]
        elif kind == "hcl":
            exponents = times[:, None, None] * weights[at + "filter.log_poles"][:, :, 0]
            taps = (weights[at + "filter.residues"] * np.exp(exponents)).sum(-1)
        else:
            poles, residues = (weights[at + "filter." + name][:, :, 0] @ [1, 1j] for name in ("poles", "residues"))
            taps = (residues * poles ** times[:, None, None]).sum(-1).real
        taps = np.repeat(taps, width // taps.shape[1], axis=1)
        found = shifted_sum(u, taps) + weights.get(at + "filter.D", 0.0) * u
        return linear(at + "out_filter_dense", x2 * found * real)

    x = weights["embedding_layer.weight"][ids] * real
    for layer, kind in enumerate(kinds(config)):
        at = f"blocks.{layer}."
        y = norm(at + "pre_norm.scale", x)
        x = (x + (attention(at, y) if kind == "attn" else convolution(at, kind, y))) * real
        y = norm(at + "post_norm.scale", x)
        gate = linear(at + "mlp.l1", y)
        if layer == 0 or not config.get("evo2_style_activations"):
            gate = gate * 0.5 * (1 + np.vectorize(erf)(gate / np.sqrt(2)))
        x = x + linear(at + "mlp.l3", gate * linear(at + "mlp.l2", y))
    hidden = norm("norm.scale", x) if config["final_norm"] else x
    decoder = weights["embedding_layer.weight"] if config["tie_embeddings"] else weights["unembed.weight"]
    return np.asarray(hidden), np.asarray(hidden @ decoder.T)
