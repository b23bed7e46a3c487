"""Tiny checkpoints of GPN's and GPN-MSA's published layouts with random weights, and what they compute, in numpy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import erf
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

Array = NDArray[np.float64]
Ids = NDArray[np.int64]
Tensors = dict[str, NDArray[Any]]
Parts = dict[str, tuple[int, ...]]

HEADS = {
    "GPN": ("cls.transform.0", "cls.transform.2", "cls.decoder"),
    "ConvNet": ("cls.decoder.0", "cls.decoder.2", "cls.decoder.3"),
    "GPNRoFormer": (
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
        "cls.predictions.decoder",
    ),
}
"""Dense layer, norm and decoder of the head for masked bases, by model type."""

GPN: dict[str, Any] = {
    "architectures": ["GPNForMaskedLM"],
    "model_type": "GPN",
    "vocab_size": 7,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "encoder": "convnet",
    "bias": False,
    "first_kernel_size": 9,
    "rest_kernel_size": 5,
    "dilation_base": 2,
    "dilation_cycle": 2,
    "dilation_double_every": 1,
    "dilation_max": 9999,
    "depthwise": False,
    "slim": False,
    "embedding": "one_hot",
    "mlm_head_transform": True,
    "tie_word_embeddings": False,
    "classification_head": "standard",
    "hidden_act": "gelu",
}
FIRST: dict[str, Any] = {
    "architectures": ["ConvNetForMaskedLM"],
    "model_type": "ConvNet",
    "vocab_size": 7,
    "hidden_size": 24,
    "n_layers": 3,
    "kernel_size": 9,
    "dilation_base": 2,
    "dilation_cycle": 6,
    "dilation_double_every": 1,
    "dilation_max": 32,
}
MSA: dict[str, Any] = {
    "architectures": ["GPNRoFormerForMaskedLM"],
    "model_type": "GPNRoFormer",
    "vocab_size": 6,
    "aux_features_vocab_size": 5,
    "n_aux_features": 15,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": 32,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "rotary_value": False,
    "embedding_size": 24,
}


def published(config: Mapping[str, Any], *, labels: int = 0, seed: int = 0) -> Tensors:
    """Tensors under their published names, as many as the configuration asks for; ``labels`` for a classifier."""
    width, words, kind = config["hidden_size"], config["vocab_size"], config["model_type"]
    parts = {"GPNRoFormer": _attention, "ConvNet": _first, "GPN": _layers}[kind](config)
    if labels:
        parts |= {"classifier.dense": (width, width), "classifier.out_proj": (labels, width)}
        parts |= {"classifier.ln": (width,)} if kind == "GPN" else {}
    else:
        dense, norm, decoder = HEADS[kind]
        parts[decoder] = (words, width)
        if config.get("mlm_head_transform", True):
            parts |= {dense: (width, width), norm: (width,)}
    shapes = {name + ".weight": shape for name, shape in parts.items()}
    if config.get("bias", True):
        shapes |= {name + ".bias": shape[:1] for name, shape in parts.items()}
    if config.get("embedding") == "embedding":
        shapes["model.embeddings.word_embeddings.weight"] = (words, width)
    if kind == "GPNRoFormer":
        size = width // config["num_attention_heads"]
        shapes["model.encoder.embed_positions.weight"] = (config["max_position_embeddings"], size)
    rng = np.random.default_rng(seed)
    found: Tensors = {}
    for name, shape in shapes.items():
        value = rng.normal(0, 0.3 if len(shape) == 1 else np.prod(shape[1:]) ** -0.5, shape)
        found[name] = (value + (len(shape) == 1 and name.endswith("weight"))).astype(np.float32)
    if kind == "GPNRoFormer":
        found["cls.predictions.bias"] = found["cls.predictions.decoder.bias"]
    return found


def _attention(config: Mapping[str, Any]) -> Parts:
    width, inner = config["hidden_size"], config["intermediate_size"]
    found: Parts = {}
    for layer in range(config["num_hidden_layers"]):
        at = f"model.encoder.layer.{layer}."
        found |= {f"{at}attention.self.{name}": (width, width) for name in ("query", "key", "value")}
        found |= {at + "attention.output.dense": (width, width), at + "attention.output.LayerNorm": (width,)}
        found |= {at + "intermediate.dense": (inner, width), at + "output.dense": (width, inner)}
        found[at + "output.LayerNorm"] = (width,)
    return found


def _first(config: Mapping[str, Any]) -> Parts:
    width = config["hidden_size"]
    found: Parts = {}
    for layer in range(config["n_layers"]):
        at = f"model.encoder.{layer}."
        found |= {at + "conv.1": (width, width, config["kernel_size"]), at + "conv.4": (width,)}
        found |= {at + "ffn.0": (width, width), at + "ffn.2": (width,)}
    return found


def _layers(config: Mapping[str, Any]) -> Parts:
    width, inner = config["hidden_size"], config["intermediate_size"]
    found: Parts = {"model.ln_f": (width,)}
    for layer in range(config["num_hidden_layers"]):
        at = f"model.encoder.layer.{layer}."
        taps = config["rest_kernel_size" if layer else "first_kernel_size"]
        apart = config["depthwise"] and layer > 0
        if config["encoder"] == "convnet":
            found |= {at + "conv.0": (width,), at + "conv.2": (width, 1 if apart else width, taps)}
            found |= {at + "conv.5": (width, width), at + "ffn.0": (width,)}
            found |= {at + "ffn.1": (inner, width), at + "ffn.3": (width, inner)}
        else:
            half = width // 2 if config["slim"] else width
            found |= {at + "layer.0": (width,), at + "layer.2": (half, width), at + "layer.3": (half,)}
            found |= {at + "layer.6": (half, 1 if apart else half, taps), at + "layer.8": (half,)}
            found[at + "layer.10"] = (width, half)
    return found


def write(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Path:
    """A folder as it is published; the tokenizer is known."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file({name: value.copy() for name, value in tensors.items()}, folder / "model.safetensors")
    return folder


def channels(config: Mapping[str, Any], bases: NDArray[Any], features: Ids | None = None) -> Array:
    """The input of a network without a table of embeddings: channels of the base, of its features, and zeros."""
    x = np.zeros((*bases.shape[:2], config["hidden_size"]))
    words = config["vocab_size"]
    x[..., :words] = bases if bases.ndim == 3 else np.eye(words)[bases]
    if features is not None:
        one_hot = np.eye(config["aux_features_vocab_size"])[features]
        x[..., words : words + config["n_aux_features"]] = one_hot.reshape(*bases.shape[:2], -1)
    return x


class Described:
    """What a checkpoint computes, step by step as the published description has it, in double precision."""

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> None:
        self.config = config
        self.weights = {name: value.astype(np.float64) for name, value in tensors.items()}

    def compute(self, bases: NDArray[Any], features: Ids | None = None) -> tuple[Array, Array]:
        """Last hidden state and logits."""
        if "model.embeddings.word_embeddings.weight" in self.weights:
            x = self.weights["model.embeddings.word_embeddings.weight"][bases]
        else:
            x = channels(self.config, bases, features)
        kind = self.config["model_type"]
        hidden = {"GPNRoFormer": self._attend, "ConvNet": self._convolve_first, "GPN": self._convolve}[kind](x)
        return hidden, self._score(hidden)

    def _convolve(self, x: Array) -> Array:
        config = self.config
        for layer in range(config["num_hidden_layers"]):
            at = f"model.encoder.layer.{layer}."
            power = layer % config["dilation_cycle"] // config["dilation_double_every"]
            dilation = min(config["dilation_max"], config["dilation_base"] ** power)
            if config["encoder"] == "convnet":
                y = self._convolution(at + "conv.2", self._norm(at + "conv.0", x), dilation)
                x = x + self._linear(at + "conv.5", _gelu(y))
                x = x + self._linear(at + "ffn.3", _gelu(self._linear(at + "ffn.1", self._norm(at + "ffn.0", x))))
            else:
                y = self._linear(at + "layer.2", _gelu(self._norm(at + "layer.0", x)))
                y = self._convolution(at + "layer.6", _gelu(self._norm(at + "layer.3", y)), dilation)
                x = x + self._linear(at + "layer.10", _gelu(self._norm(at + "layer.8", y)))
        return self._norm("model.ln_f", x)

    def _convolve_first(self, x: Array) -> Array:
        config = self.config
        for layer in range(config["n_layers"]):
            at = f"model.encoder.{layer}."
            power = layer % config["dilation_cycle"] // config["dilation_double_every"]
            dilation = min(config["dilation_max"], config["dilation_base"] ** power)
            x = x + self._norm(at + "conv.4", _gelu(self._convolution(at + "conv.1", x, dilation)))
            x = x + self._norm(at + "ffn.2", _gelu(self._linear(at + "ffn.0", x)))
        return x

    def _attend(self, x: Array) -> Array:
        config = self.config
        heads = config["num_attention_heads"]
        table = self.weights["model.encoder.embed_positions.weight"][: x.shape[1]]
        sines, cosines = np.split(table, 2, axis=-1)
        turns = (cosines + 1j * sines)[:, None]
        for layer in range(config["num_hidden_layers"]):
            at = f"model.encoder.layer.{layer}."
            split = {
                part: self._linear(f"{at}attention.self.{part}", x).reshape(*x.shape[:2], heads, -1)
                for part in ("query", "key", "value")
            }
            for part in ("query", "key", "value")[: 2 + config["rotary_value"]]:
                turned = (split[part][..., 0::2] + 1j * split[part][..., 1::2]) * turns
                split[part] = np.stack((turned.real, turned.imag), axis=-1).reshape(split[part].shape)
            q, k, v = (each.swapaxes(1, 2) for each in split.values())
            scores = np.exp(q @ k.swapaxes(2, 3) / np.sqrt(q.shape[-1]))
            seen = (scores / scores.sum(-1, keepdims=True) @ v).swapaxes(1, 2).reshape(x.shape)
            x = self._norm(at + "attention.output.LayerNorm", self._linear(at + "attention.output.dense", seen) + x)
            y = self._linear(at + "output.dense", _gelu(self._linear(at + "intermediate.dense", x)))
            x = self._norm(at + "output.LayerNorm", y + x)
        return x

    def _score(self, hidden: Array) -> Array:
        if "classifier.dense.weight" in self.weights:
            row = hidden.mean(axis=1)
            if "classifier.ln.weight" in self.weights:
                row = self._norm("classifier.ln", row)
            activation = np.tanh if self.config.get("hidden_act") == "tanh" else _gelu
            return self._linear("classifier.out_proj", activation(self._linear("classifier.dense", row)))
        dense, norm, decoder = HEADS[self.config["model_type"]]
        if self.config.get("mlm_head_transform", True):
            hidden = self._norm(norm, _gelu(self._linear(dense, hidden)))
        return self._linear(decoder, hidden)

    def _linear(self, name: str, x: Array) -> Array:
        found: Array = x @ self.weights[name + ".weight"].T + self.weights.get(name + ".bias", 0.0)
        return found

    def _norm(self, name: str, x: Array) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + self.config.get("layer_norm_eps", 1e-5))
        found: Array = scaled * self.weights[name + ".weight"] + self.weights.get(name + ".bias", 0.0)
        return found

    def _convolution(self, name: str, x: Array, dilation: int) -> Array:
        """Each tap's share, from as far away as it stands; beyond the ends of a row there is nothing."""
        weight = self.weights[name + ".weight"]
        taps = weight.shape[2]
        found = np.zeros((*x.shape[:2], len(weight)))
        for tap in range(taps):
            shift = dilation * tap - dilation * (taps - 1) // 2
            for position in range(max(0, -shift), min(x.shape[1], x.shape[1] - shift)):
                seen = x[:, position + shift]
                found[:, position] += seen * weight[:, 0, tap] if weight.shape[1] == 1 else seen @ weight[:, :, tap].T
        return found + self.weights.get(name + ".bias", 0.0)


def _gelu(x: Array) -> Array:
    found: Array = x * 0.5 * (1 + np.vectorize(erf)(x / np.sqrt(2)))
    return found
