"""Tiny checkpoints of MxDNA's published layout with random weights, and what they compute, row by row and rule by rule.

The greedy choice is made here as it is described: candidates one after another, from the best score down.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch.nn import functional

Tensors = dict[str, torch.Tensor]
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"ATCG")
CONFIG: dict[str, Any] = {
    "architectures": ["MxDNAForMaskedLM"],
    "model_type": "mxdna",
    "pad_token_id": 0,
    "cls_token_id": 2,
    "sep_token_id": 3,
    "hidden_act": "silu",
    "hidden_size": 24,
    "intermediate_size": 20,
    "max_position_embeddings": 300,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_local_experts": 3,
    "num_hidden_layers": 3,
    "conversion_layer_idx": 1,
    "layer_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "vocab_size": 9,
    "expert_kernel_sizes": [1, 2, 5],
    "deformable_conv_kernel_size": 3,
}
GROUPS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 4, 7: 8}
"""The divisor of 24 next to a kernel; of 6 and 8, the published rule takes 8."""


def published(config: dict[str, Any], seed: int = 0) -> Tensors:
    """Tensors under their published names, as many as the configuration asks for."""
    generator = torch.Generator().manual_seed(seed)
    found: Tensors = {}
    width, inner = config["hidden_size"], config["intermediate_size"]
    kept = width // config["num_attention_heads"] * config["num_key_value_heads"]

    def tensor(name: str, *shape: int) -> None:
        found[name] = 0.2 * torch.randn(shape, generator=generator)

    def norm(name: str) -> None:
        tensor(f"{name}.weight", width)
        tensor(f"{name}.bias", width)
        found[f"{name}.weight"] += 1

    def block(name: str, attention: str) -> None:
        for part in ("q", "o"):
            tensor(f"{name}.{attention}.projection_{part}.weight", width, width)
        for part in ("k", "v"):
            tensor(f"{name}.{attention}.projection_{part}.weight", kept, width)
        for part, shape in (("w1", (inner, width)), ("w2", (width, inner)), ("w3", (inner, width))):
            tensor(f"{name}.ffn.ffn.{part}.weight", *shape)
        norm(f"{name}.input_layernorm.norm")
        norm(f"{name}.post_attention_layernorm.norm")

    tensor("model.embed_tokens.weight", config["vocab_size"], width)
    for layer in range(config["conversion_layer_idx"]):
        block(f"model.nucleotide_layers.{layer}", "self_attn")
    for layer in range(config["num_hidden_layers"] - config["conversion_layer_idx"] - 1):
        block(f"model.token_layers.{layer}", "self_attn")
    conversion = "model.conversion_layer."
    tensor(conversion + "basic_unit_masked_token_embedding", width)
    tensor(conversion + "gate.weight", len(config["expert_kernel_sizes"]), width)
    norm(conversion + "input_layernorm")
    for number, size in enumerate(config["expert_kernel_sizes"]):
        expert = f"{conversion}conv_moe.experts.{number}."
        tensor(expert + "pointwise_conv_pre.weight", 2 * width, width)
        tensor(expert + "grouped_conv.weight", width, width // GROUPS[size], size)
        tensor(expert + "pointwise_conv_post.weight", width, width)
        norm(expert + "norm")
    taps = config["deformable_conv_kernel_size"]
    norm(conversion + "deform_conv.input_layernorm")
    for part in ("offset", "modulator"):
        tensor(f"{conversion}deform_conv.{part}_conv.weight", taps, width, taps)
        tensor(f"{conversion}deform_conv.{part}_conv.bias", taps)
    tensor(conversion + "deform_conv.regular_conv.weight", width, width, taps, 1)
    norm("model.norm.norm")
    if config["architectures"] == ["MxDNAModel"]:
        return found
    norm("norm.norm")
    if config["architectures"] == ["MxDNAForSequenceClassification"]:
        for name, rows in (("dense", width), ("out_proj", 3)):
            tensor(f"task_head.{name}.weight", rows, width)
            tensor(f"task_head.{name}.bias", rows)
        return found
    block("decoder", "cross_attn")
    norm("lm_head.layer_norm")
    tensor("lm_head.dense.weight", width, width)
    tensor("lm_head.dense.bias", width)
    tensor("lm_head.decoder.weight", config["vocab_size"], width)
    tensor("lm_head.bias", config["vocab_size"])
    return found


def write(folder: Path, config: dict[str, Any], tensors: Tensors) -> Path:
    """A checkpoint as it is published."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false, "tokenizer_class": "BertTokenizer"}')
    save_file(tensors, folder / "model.safetensors")
    return folder


def greedy(scores: NDArray[np.float32], sizes: list[int], length: int) -> NDArray[np.int64]:
    """The kind of the window centred at each position of a row (positions × kinds), or -1."""
    centres = np.full(len(scores), -1)
    used = np.zeros(len(scores), bool)
    used[:1] = used[max(length - 1, 0) :] = True
    candidates = [(-scores[at, kind], at, kind) for at in range(len(scores)) for kind in range(len(sizes))]
    for _, at, kind in sorted(candidates):
        begin = at - sizes[kind] // 2
        window = used[max(begin, 0) : begin + sizes[kind]]
        if begin >= 0 and len(window) == sizes[kind] and not window.any():
            window[:] = True
            centres[at] = kind
    return centres


class Reference:
    """What a checkpoint computes, as published: rows of a batch, of which those with fewer units are filled up."""

    def __init__(self, config: dict[str, Any], tensors: Tensors) -> None:
        self.config, self.tensors = config, tensors

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.linear(x, self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias"))

    def norm(self, x: torch.Tensor, name: str, epsilon: float | None = None) -> torch.Tensor:
        weight, bias = self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
        return functional.layer_norm(x, weight.shape, weight, bias, epsilon or self.config["layer_norm_eps"])

    def turned(self, x: torch.Tensor, heads: int) -> torch.Tensor:
        x = x.unflatten(-1, (heads, -1)).transpose(0, 1)
        size = x.shape[-1]
        speeds = self.config["rope_theta"] ** (-torch.arange(0, size, 2) / size)
        angles = torch.arange(x.shape[1])[:, None] * torch.cat((speeds, speeds))
        first, second = x.chunk(2, -1)
        return x * angles.cos() + torch.cat((-second, first), -1) * angles.sin()

    def attention(self, x: torch.Tensor, seen: torch.Tensor, name: str) -> torch.Tensor:
        heads, shared = self.config["num_attention_heads"], self.config["num_key_value_heads"]
        query = self.turned(self.linear(x, f"{name}.projection_q"), heads)
        key = self.turned(self.linear(seen, f"{name}.projection_k"), shared).repeat_interleave(heads // shared, 0)
        value = self.linear(seen, f"{name}.projection_v").unflatten(-1, (shared, -1)).transpose(0, 1)
        value = value.repeat_interleave(heads // shared, 0)
        shares = (query @ key.transpose(1, 2) / query.shape[-1] ** 0.5).softmax(-1)
        return self.linear((shares @ value).transpose(0, 1).flatten(1), f"{name}.projection_o")

    def feed(self, x: torch.Tensor, name: str) -> torch.Tensor:
        act = functional.gelu if self.config["hidden_act"] == "gelu" else functional.silu
        x = self.norm(x, f"{name}.post_attention_layernorm.norm")
        wide = act(self.linear(x, f"{name}.ffn.ffn.w1")) * self.linear(x, f"{name}.ffn.ffn.w3")
        return self.linear(wide, f"{name}.ffn.ffn.w2")

    def block(self, x: torch.Tensor, name: str) -> torch.Tensor:
        normed = self.norm(x, f"{name}.input_layernorm.norm")
        x = x + self.attention(normed, normed, f"{name}.self_attn")
        return x + self.feed(x, name)

    def units(self, x: torch.Tensor, special: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The merged units of one row, and which of them are no bases."""
        name, sizes = "model.conversion_layer.", self.config["expert_kernel_sizes"]
        hidden = self.norm(x, name + "input_layernorm")
        scores = self.linear(hidden * ~special[:, None], name + "gate")
        centres = greedy(scores.numpy(), sizes, len(x))
        found, bare = [], []
        for at, kind in enumerate(centres):
            if kind < 0 and not special[at]:
                continue
            unit = x[at]
            if kind >= 0:
                size, expert = sizes[kind], f"{name}conv_moe.experts.{kind}."
                rows = hidden[at - size // 2 : at - size // 2 + size]
                rows = functional.glu(self.linear(rows, expert + "pointwise_conv_pre"), -1)
                taps = self.tensors[expert + "grouped_conv.weight"]
                merged = functional.conv1d(rows.T[None], taps, groups=len(taps) // taps.shape[1])[0, :, 0]
                merged = functional.silu(self.norm(merged, expert + "norm", 1e-5))
                unit = unit + self.linear(merged, expert + "pointwise_conv_post") * scores[at].softmax(-1)[kind]
            found.append(unit)
            bare.append(bool(special[at]))
        return torch.stack(found), torch.tensor(bare)

    def deformed(self, units: torch.Tensor, bare: torch.Tensor, filled: int) -> torch.Tensor:
        """Units of one row, which ``filled`` places of padding follow."""
        name, taps = "model.conversion_layer.deform_conv.", self.config["deformable_conv_kernel_size"]
        normed = self.norm(functional.pad(units, (0, 0, 0, filled)), name + "input_layernorm")
        offsets, factors = (
            functional.conv1d(
                normed.T[None],
                self.tensors[f"{name}{part}_conv.weight"],
                self.tensors[f"{name}{part}_conv.bias"],
                padding=taps // 2,
            )[0]
            for part in ("offset", "modulator")
        )
        read = normed[: len(units)] * ~bare[:, None]
        out = units.clone()
        for at in range(len(units)):
            for tap in range(taps):
                place = at + tap - taps // 2 + float(offsets[tap, at])
                left, between = int(np.floor(place)), place - np.floor(place)
                for row, share in ((left, 1 - between), (left + 1, between)):
                    if 0 <= row < len(units):
                        weight = self.tensors[name + "regular_conv.weight"][:, :, tap, 0]
                        out[at] += share * 2 * torch.sigmoid(factors[tap, at]) * (weight @ read[row])
        return out

    def logits(self, rows: list[list[int]]) -> list[torch.Tensor]:
        """The logits of each row of a batch, without those of padding."""
        bases, units, bare = [], [], []
        for ids in rows:
            x = self.tensors["model.embed_tokens.weight"][torch.tensor(ids)]
            for layer in range(self.config["conversion_layer_idx"]):
                x = self.block(x, f"model.nucleotide_layers.{layer}")
            bases.append(x)
            merged, special = self.units(x, torch.tensor([one in (0, 2, 3) for one in ids]))
            units.append(merged)
            bare.append(special)
        most = max(map(len, units))
        return [
            self.head(x, self.deformed(merged, special, most - len(merged)))
            for x, merged, special in zip(bases, units, bare, strict=True)
        ]

    def head(self, x: torch.Tensor, units: torch.Tensor) -> torch.Tensor:
        for layer in range(self.config["num_hidden_layers"] - self.config["conversion_layer_idx"] - 1):
            units = self.block(units, f"model.token_layers.{layer}")
        units = self.norm(units, "model.norm.norm")
        if self.config["architectures"] == ["MxDNAForSequenceClassification"]:
            first = self.norm(units[:1], "norm.norm")
            return self.linear(torch.tanh(self.linear(first, "task_head.dense")), "task_head.out_proj")[0]
        seen = self.norm(units, "decoder.input_layernorm.norm")
        x = x + self.attention(self.norm(x, "decoder.input_layernorm.norm"), seen, "decoder.cross_attn")
        x = self.norm(x + self.feed(x, "decoder"), "norm.norm")
        x = self.norm(functional.gelu(self.linear(x, "lm_head.dense")), "lm_head.layer_norm")
        return self.linear(x, "lm_head.decoder") + self.tensors["lm_head.bias"]
