"""Rows of a model that takes more than sequences, such as an alignment beside each of them: arrays in an ``.npz`` file
under the names of the graph's inputs, and ``labels`` (numbers of classes) where they are known."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edgeseq.errors import UsageError
from edgeseq.tokenizers import load_tokenizer
from export.network import ATTENTION_MASK, INPUT_IDS, GraphInput, Model
from export.pruning.masking import hidden, mask_of
from export.pruning.rows import Row, Rows, divided

SUFFIX = ".npz"
_LABELS = "labels"


def read_arrays(model: Model, source: Path, *, use_labels: bool, most: int, seed: int) -> Rows:
    """At most ``most`` rows of a file, drawn with ``seed``; ``use_labels`` asks for its ``labels``.

    Raises UsageError for arrays that are missing, misshapen, or hold what the model does not take, by their names.
    """
    arrays = _arrays(source)
    wanted = [one for one in model.network.inputs if one.name != ATTENTION_MASK]
    sizes: dict[str, int] = {}
    for one in wanted:
        _check(source, arrays, one, sizes, _below(model, one))
    rows = sizes["batch"]
    targets = _targets(source, arrays, model, rows) if use_labels else [None] * rows
    if sizes["length"] > model.max_length:
        raise UsageError(f"{source}: rows of {sizes['length']} tokens; the model takes {model.max_length}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(rows)
    ids = arrays[INPUT_IDS].astype(np.int64)
    if not (ids == mask_of(model)).any():
        ids = np.stack([hidden(model, row, rng) for row in ids])
    found = [
        Row(
            ids[at],
            targets[at],
            {one.name: arrays[one.name][at] for one in wanted if one.name != INPUT_IDS},
        )
        for at in range(rows)
    ]
    parts = [[found[place] for place in part.tolist()] for part in divided(order)]
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    return Rows.of(parts, most, source, window=sizes["length"], sha256=digest, sequences=())


def _arrays(source: Path) -> dict[str, NDArray[Any]]:
    try:
        with source.open("rb") as packed, np.load(packed, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{source}: no arrays of numpy: {error}") from error


def _below(model: Model, wanted: GraphInput) -> int:
    if wanted.name != INPUT_IDS:
        return wanted.below
    table = next((module for module in model.network.modules() if isinstance(module, nn.Embedding)), None)
    if table is not None:
        return model.ids_below or table.num_embeddings
    letters = load_tokenizer(model.tokenizer).encode(b"ACGTN-").tolist()
    return max((*letters, mask_of(model) or 0)) + 1


def _check(source: Path, arrays: dict[str, NDArray[Any]], one: GraphInput, sizes: dict[str, int], below: int) -> None:
    """Raises UsageError; sizes of free axes are noted by their names."""
    array = arrays.get(one.name)
    shape = " × ".join(map(str, one.shape))
    if array is None:
        raise UsageError(f"{source}: has no array {one.name} ({shape}); it has {', '.join(sorted(arrays)) or 'none'}")
    fits = array.ndim == len(one.shape) and array.size and all(
        size == (axis if isinstance(axis, int) else sizes.setdefault(axis, size))
        for axis, size in zip(one.shape, array.shape, strict=True)
    )  # fmt: skip
    if not fits:
        known = ", ".join(f"{axis} {size}" for axis, size in sizes.items())
        raise UsageError(f"{source}: {one.name} has shape {array.shape}; the model takes {shape} ({known})")
    if one.dtype.is_floating_point:
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise UsageError(f"{source}: {one.name} does not hold finite numbers")
    elif array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= below:
        raise UsageError(f"{source}: {one.name} holds something else than whole numbers from 0 to {below - 1}")


def _targets(source: Path, arrays: dict[str, NDArray[Any]], model: Model, rows: int) -> list[float | None]:
    if model.task != "sequence-classification" or model.activation != "softmax":
        raise UsageError(f"labels of whole rows say nothing to a {model.task} model with {model.activation} scores")
    found = arrays.get(_LABELS)
    classes = len(model.labels)
    if found is None or found.shape != (rows,) or found.dtype.kind not in "iu" or not (found >= 0).all():
        raise UsageError(f"{source}: has no array {_LABELS} with the number of a class for each of {rows} rows")
    if found.max() >= classes:
        raise UsageError(f"{source}: {_LABELS} has class {found.max()}; the model has 0 to {classes - 1}")
    return [float(each) for each in found.tolist()]
