"""A pruned checkpoint as a folder: whole, or not there at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file

from export.checkpoint import WEIGHTS, Checkpoint
from export.errors import CheckpointError
from export.tensors import files_of

REPORT = "prune_report.json"
_LARGEST_COMPANION = 32 << 20
_COMPANIONS = (".json", ".txt", ".yml", ".yaml", ".model", ".md", "")
"""Endings of what belongs to a checkpoint beside weights: tokenizers, licences, cards."""


@contextmanager
def folder_for(output: Path) -> Iterator[Path]:
    """A new folder beside ``output`` that takes its name when all went well, and is gone otherwise.

    Raises `CheckpointError` where there is something already.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise CheckpointError(output, "exists already", remedy="name a folder that does not")
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        yield partial
        partial.chmod(0o755)
        partial.replace(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_checkpoint(
    folder: Path,
    source: Checkpoint,
    config: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    files: Mapping[str, str],
) -> None:
    """Configuration, weights as safetensors, and tokenizer files, licences and cards of the source; ``files`` (name →
    text) stand in for those of the source. Code is left behind: it is never run."""
    weights = {file.name for file in files_of(source.weights)} | set(WEIGHTS)
    for file in sorted(source.folder.iterdir()):
        written = file.name in weights or file == source.config_file or file.name == REPORT
        if file.is_file() and not written and file.suffix in _COMPANIONS and file.stat().st_size <= _LARGEST_COMPANION:
            shutil.copyfile(file, folder / file.name)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    if source.config_file.suffix == ".json":
        text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    else:
        text = yaml.safe_dump(dict(config), sort_keys=False)
    (folder / source.config_file.name).write_text(text, encoding="utf-8")
    own = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    save_file(own, folder / WEIGHTS[0], metadata={"format": "pt"})


def pruning_of(folder: Path) -> dict[str, Any]:
    """What the report in a checkpoint's folder says was done to it, in short; nothing where there is none.

    Raises `CheckpointError` for a report that is none.
    """
    file = folder / REPORT
    if not file.is_file():
        return {}
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
        left = {
            kind: found.get("removed") or [part["after"] for part in found["parts"]]
            for kind, found in report["removed"].items()
        }
        told = {key: report[key] for key in ("source_sha256", "seed", "importance", "calibration")}
        told |= {key: report[key] for key in ("vocabulary", "recovery") if key in report}
        told |= {key: report[key][key] for key in ("modes", "taps") if key in report}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            file, f"no report of pruning: {error}", remedy="prune again, or remove the file"
        ) from error
    layers = {"layers_removed": left.pop("layers")} if "layers" in left else {}
    return {"pruned": {**told, "left": left, **layers}}


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """``prune_report.json``."""
    (folder / REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
