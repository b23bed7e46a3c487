"""A net of one's own: a torch module from a factory, with its weights, as a model to pack.

Naming a factory runs its code, as ``python`` does with any module that is named to it. The weights are still read as
data, and every tensor of them has to find its place.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgeseq.manifest import SIGNAL, Activation, Alphabet, Strand, TaskKind
from export.errors import FamilyError, ParityError
from export.letters import LetterIds
from export.network import ATTENTION_MASK, INPUT_IDS, GraphInput, Model, Network, Outputs
from export.parity import feed, run_module
from export.rows import batch_for
from export.tensors import read_tensors
from export.tracing import TorchExporter
from export.weights import Layout, load_weights

PER_BASE: tuple[TaskKind, ...] = ("token-classification", "masked-lm", "causal-lm")
_TRIED = (7, 64)
_EXAMPLE = 512
"""Longest row of letters that the exporter sees; a signal's is a window."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What goes into a net and what comes out of it, as its user says."""

    task: TaskKind
    window: int
    """Bases (residues, samples) of a window: the longest row."""
    letters: LetterIds | None
    """How letters become ids. None: the net takes raw signal."""
    one_hot: bool = False
    """The net takes a channel for each letter (batch × letters × length), not ids."""
    stride: int | None = None
    minimum: int = 1
    """Shortest row of a signal."""
    labels: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ("logits",)
    """Names for what the net gives, in order."""
    activation: Activation = "softmax"
    alphabet: Alphabet = "dna"
    strand: Strand = "forward"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """For the factory."""


class OwnNetwork(Network):
    """A module behind the inputs and before the outputs that every graph has."""

    table: torch.Tensor

    def __init__(self, module: nn.Module, reading: Reading) -> None:
        super().__init__()
        self.module = module
        self.names = reading.outputs
        self.one_hot = reading.one_hot
        if reading.letters is None:
            self.inputs = (GraphInput(SIGNAL, dtype=torch.float32),)
            return
        self.register_buffer("table", torch.from_numpy(reading.letters.one_hot()), persistent=False)
        self.inputs = (GraphInput(INPUT_IDS, below=reading.letters.below),)
        if ATTENTION_MASK in inspect.signature(module.forward).parameters:
            self.inputs += (GraphInput(ATTENTION_MASK),)

    def forward(self, *inputs: torch.Tensor) -> Outputs:
        first, *others = inputs
        if self.one_hot:
            first = nn.functional.embedding(first, self.table).transpose(1, 2)
        mask = {ATTENTION_MASK: others[0]} if others else {}
        return _named(self.module(first, **mask), self.names)


def _named(given: object, names: Sequence[str]) -> Outputs:
    """A module's outputs by name: one tensor, several in order, or a dictionary that has the names."""
    if isinstance(given, torch.Tensor):
        given = (given,)
    if isinstance(given, Mapping):
        found = {name: given[name] for name in names if name in given}
    else:
        values = list(given) if isinstance(given, (tuple, list)) else []
        found = dict(zip(names, values, strict=False))
    if len(found) != len(names) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise FamilyError("the module", f"gives no {', '.join(names)}: a tensor, a tuple in this order or a dictionary")
    return found


def read_own(factory: str, weights: Path, reading: Reading) -> Model:
    """The model that ``factory`` (``package.module:function``) makes, filled with the tensors of ``weights``.

    Raises `CheckpointError` and `TensorsError` for the weights, `FamilyError` for a factory that cannot be called or
    makes no module, or whose module does not give what the task needs, and `ParityError` for one whose rows depend on
    their neighbours in a batch.
    """
    tensors = read_tensors(weights)
    module = _make(factory, tensors, reading.arguments)
    loaded = load_weights(module, tensors, Layout(), weights)
    network = OwnNetwork(module, reading).eval()
    model = Model(
        network=network,
        task=reading.task,
        tokenizer=reading.letters.spec() if reading.letters else {},
        max_length=reading.window + (reading.letters.added if reading.letters else 0),
        loaded=loaded,
        labels=reading.labels,
        activation=reading.activation,
        alphabet=reading.alphabet if reading.letters else "signal",
        strand=reading.strand,
        pads_exactly=False,
        min_length=reading.minimum,
        window=reading.window,
        stride=reading.stride,
        notes=(f"Module made by {factory}.",),
        exporter=TorchExporter(reading.window if not reading.letters else min(reading.window, _EXAMPLE), proven=False),
    )
    return measured(model, reading.outputs)


def _make(factory: str, tensors: Mapping[str, torch.Tensor], arguments: Mapping[str, Any]) -> nn.Module:
    name, _, function = factory.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        make = getattr(importlib.import_module(name), function)
    except (ImportError, AttributeError) as error:
        remedy = "run from its folder, or set PYTHONPATH"
        raise FamilyError(factory, f"cannot be imported: {error}", remedy=remedy) from error
    known = inspect.signature(make).parameters
    given = {**arguments, **({"tensors": tensors} if "tensors" in known else {})}
    try:
        inspect.signature(make).bind(**given)
    except TypeError as error:
        raise FamilyError(factory, f"cannot be called with {', '.join(given) or 'nothing'}: {error}") from error
    try:
        module = make(**given)
    except (ValueError, KeyError, OSError, IndexError) as error:
        raise FamilyError(factory, f"refuses the checkpoint: {error}") from error
    if not isinstance(module, nn.Module):
        raise FamilyError(factory, f"gives a {type(module).__name__}, not a torch.nn.Module")
    return module.float().eval()


def measured(model: Model, outputs: Sequence[str]) -> Model:
    """The model with what its rows show: outputs of the right shape, whether batches are fair, whether padding shows.

    Raises `FamilyError` for outputs of another shape than the task's, and `ParityError` where a row's outputs depend on
    which rows it shares a batch with.
    """
    lengths = sorted({max(model.min_length, min(length, model.max_length)) for length in _TRIED})
    for length in lengths:
        _check_shapes(model, length, outputs)
    together = _run(model, (lengths[-1],) * 3)
    alone = [_run(model, (lengths[-1],), seed=at) for at in range(3)]
    worst = max(_gap(together[name][at], alone[at][name][0]) for name in outputs for at in range(3))
    if not worst <= model.tolerance:
        raise ParityError(str(model.notes[0]), f"a row's outputs change by {worst:.2e} with its neighbours in a batch")
    if model.alphabet == "signal" or len(lengths) < 2:
        return model
    padding = _padding(model, lengths[0], lengths[1], outputs)
    if padding <= model.tolerance / 10:
        return replace(model, pads_exactly=True)
    note = f"Padding changes outputs by up to {padding:.1e}: rows share a batch only where they are equally long."
    return replace(model, notes=(*model.notes, note))


def _padding(model: Model, short: int, long: int, outputs: Sequence[str]) -> float:
    """How much the outputs of a short row change when a longer one shares its batch."""
    ids, mask = batch_for(model, (short, long))
    padded = run_module(model, feed(model, ids, mask))
    real = mask[0] == 1
    alone = run_module(model, feed(model, ids[:1, real], mask[:1, real]))
    gaps = []
    for name in outputs:
        row = padded[name][0]
        per_token = row.ndim == 2 and len(row) == len(real) and alone[name].shape[1] == short
        gaps.append(_gap(row[real] if per_token else row, alone[name][0]))
    return max(gaps)


def _run(model: Model, lengths: tuple[int, ...], seed: int = 0) -> dict[str, Any]:
    ids, mask = batch_for(model, lengths, seed=seed)
    inputs = feed(model, ids, mask)
    if model.alphabet == "signal":
        generator = torch.Generator().manual_seed(0)
        rows = torch.randn((3, max(lengths)), generator=generator)
        inputs = {SIGNAL: rows.numpy() if len(lengths) == 3 else rows[seed : seed + 1].numpy()}
    return run_module(model, inputs)


def _gap(one: Any, other: Any) -> float:
    return float(abs(one - other).max()) if one.shape == other.shape else float("inf")


def _check_shapes(model: Model, length: int, outputs: Sequence[str]) -> None:
    try:
        given = _run(model, (length,))
    except (RuntimeError, IndexError) as error:
        reason = str(error).splitlines()[0]
        remedy = "let the module pad short rows itself" if model.alphabet != "signal" else "set --minimum"
        raise FamilyError(f"a row of {length}", f"the net fails: {reason}", remedy=remedy) from error
    shape = given[outputs[0]].shape
    labels = len(model.labels)
    if model.task in PER_BASE:
        good = len(shape) == 3 and shape[:2] == (1, length) and (not labels or shape[2] == labels)
        wanted = f"(1, {length}, {labels or 'values'})"
    elif model.task == "embedding":
        good, wanted = len(shape) in (2, 3) and shape[0] == 1, "(1, values) or (1, length, values)"
    else:
        good = len(shape) == 2 and shape[0] == 1 and (not labels or shape[1] == labels)
        wanted = f"(1, {labels or 'values'})"
    if not good:
        raise FamilyError(
            f"a row of {length}",
            f"{outputs[0]} has shape {tuple(shape)}; {model.task} needs {wanted}",
            remedy="turn channels-first outputs round with transpose(1, 2), or name as many labels as there are values",
        )
