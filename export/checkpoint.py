"""A published checkpoint: its configuration and its tensors, read as data.

A checkpoint is a folder as it was published (``config.json`` or ``config.yml``, tokenizer files, weights), or one
weight file in such a folder. Code beside it is never run.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml

from export.errors import CheckpointError
from export.tensors import files_of, read_tensors

WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "weights.ckpt",
)
"""Published names of weights, best first."""
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_CONFIGS = ("config.json", "config.yml", "config.yaml")
_FLOAT = re.compile(r"^[-+]?(\d[\d_]*)?\.?\d*[eE][-+]?\d+$")


@dataclass(frozen=True)
class Checkpoint:
    """What was published: ``config`` (of ``config_file``), and the weights at ``weights``."""

    folder: Path
    config_file: Path
    config: Mapping[str, Any]
    weights: Path

    @cached_property
    def tensors(self) -> Mapping[str, torch.Tensor]:
        """Name → tensor, in the published precision. Raises `CheckpointError`."""
        return read_tensors(self.weights)

    @cached_property
    def sha256(self) -> str:
        """The hash of configuration and weights, file by file in the order of their names."""
        digest = hashlib.sha256()
        for file in sorted({self.config_file, *files_of(self.weights)}):
            digest.update(file.name.encode() + b"\0")
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()

    @property
    def architecture(self) -> str:
        """The first of the configuration's ``architectures``, such as ``EsmForMaskedLM``, or nothing."""
        named = self.config.get("architectures") or [""]
        return str(named[0])

    def __str__(self) -> str:
        return str(self.folder)


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in a folder, or that of a weight file with its configuration beside it.

    Raises `CheckpointError` where either is missing, damaged, or could be one of several files.
    """
    if not path.exists():
        raise CheckpointError(path, "there is no such file or folder")
    folder = path if path.is_dir() else path.parent
    config_file = next((folder / name for name in _CONFIGS if (folder / name).is_file()), None)
    if config_file is None:
        others = sorted(file for pattern in ("*.yml", "*.yaml") for file in folder.glob(pattern))
        if len(others) != 1:
            raise CheckpointError(folder, "no configuration", remedy=f"put {' or '.join(_CONFIGS)} beside the weights")
        config_file = others[0]
    weights = path if path.is_file() and path != config_file else _find_weights(folder)
    return Checkpoint(folder, config_file, _read_config(config_file), weights)


def _find_weights(folder: Path) -> Path:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    files = sorted(file for file in folder.iterdir() if file.is_file())
    found = [file for file in files if file.suffix in _SUFFIXES or file.name.endswith(".part0")]
    if not found:
        raise CheckpointError(folder, "no weights", remedy=f"put {WEIGHTS[0]} or {WEIGHTS[2]} into it")
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise CheckpointError(folder, f"several weight files ({names})", remedy="name the file itself")
    return found[0]


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        config = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        kind = "JSON" if path.suffix == ".json" else "YAML"
        raise CheckpointError(path, f"not {kind}: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict):
        raise CheckpointError(path, "holds no settings")
    if path.suffix != ".json":  # YAML 1.1 takes 1e-6 for a word
        config = {
            key: float(value) if isinstance(value, str) and _FLOAT.match(value) else value
            for key, value in config.items()
        }
    return config
