"""The sequences of a task as rows of ids: some to find out what matters with, the others to measure on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgeseq.errors import UsageError
from edgeseq.manifest import Task
from edgeseq.tokenizers import load_tokenizer
from export.network import ATTENTION_MASK, INPUT_IDS, Model
from export.parity import feed
from export.reading import longest_window
from quantize.sample import Sample, labelled, letters, unlabelled

WINDOW = 1024
"""Bases of a window, where the model takes more."""
HELD_OUT = 0.25
"""Share of the sequences that are only measured on."""
WATCHED = 0.1
"""Share of the sequences that tell recovery when to stop."""
FEWEST = 8


@dataclass(frozen=True, slots=True)
class Row:
    """The ids of one window, and what its sequence is (a class's number, or a number to be found), if that is known."""

    ids: NDArray[np.int64]
    target: float | None


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of three parts, no sequence in two of them, and where they come from."""

    calibration: tuple[Row, ...]
    """What importance is found out with, and recovery trains on."""
    watched: tuple[Row, ...]
    """What recovery is stopped by."""
    held: tuple[Row, ...]
    """What figures are reported on, and nothing else."""
    window: int
    sha256: str
    sequences: tuple[bytes, ...]
    """All windows, as the tokenizer gets them."""


def read_rows(
    model: Model, source: Path, *, labels: Path | None, use_labels: bool, window: int | None, most: int, seed: int
) -> Rows:
    """At most ``most`` windows of the sequences of a file, folder or table, drawn with ``seed``.

    Raises UsageError where there are too few, or labels for a task that has one for each base, and SampleError for
    labels that the model does not have.
    """
    if model.alphabet == "signal":
        raise UsageError("a model of raw signal has no sequences to be pruned with")
    tokenizer = load_tokenizer(model.tokenizer)
    window = min(window or WINDOW, longest_window(tokenizer, model.max_length))
    sample, targets = _sample(model, source, labels, use_labels=use_labels, seed=seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(sample))
    held, watched = (max(1, round(len(order) * share)) for share in (HELD_OUT, WATCHED))
    rooms = [most - round(most * HELD_OUT) - round(most * WATCHED), round(most * WATCHED), round(most * HELD_OUT)]
    parts: list[list[Row]] = [[], [], []]
    windows: list[bytes] = []
    for part, places in enumerate((order[held + watched :], order[held : held + watched], order[:held])):
        room = rooms[part]
        for place in places.tolist():
            text = letters(sample.reads[place], model.alphabet)
            for begin in range(0, max(len(text) - window // 2, 1), window):
                piece = text[begin : begin + window]
                ids = tokenizer.encode(piece)[: model.max_length].astype(np.int64)
                if len(parts[part]) < room and len(ids) >= 2:
                    parts[part].append(Row(ids, targets[place]))
                    windows.append(piece)
    if not all(parts) or len(parts[0]) < FEWEST:
        raise UsageError(
            f"{source}: {len(parts[0])} windows to calibrate with; {FEWEST} of several sequences are needed"
        )
    return Rows(tuple(parts[0]), tuple(parts[1]), tuple(parts[2]), window, sample.sha256, tuple(windows))


def _sample(
    model: Model, source: Path, labels: Path | None, *, use_labels: bool, seed: int
) -> tuple[Sample, list[float | None]]:
    if labels is None and not use_labels:
        sample = unlabelled(source, seed=seed)
        return sample, [None] * len(sample)
    if model.task == "sequence-classification" and model.activation == "softmax":
        sample = labelled(source, Task(model.task, model.labels, model.activation), truth=labels)
        places = {label: number for number, label in enumerate(model.labels)}
        return sample, [float(places[str(label)]) for label in sample.truth]
    raise UsageError(
        f"labels of whole sequences say nothing to a {model.task} model with {model.activation} scores; "
        "leave them out: its own predictions are taken instead"
    )


def batches(rows: Sequence[Row], size: int, *, seed: int | None = None) -> Iterator[list[Row]]:
    """Rows of one length together, at most ``size``, short ones first; with a seed, in random order.

    No row is ever padded: not every model hides padding.
    """
    order = list(range(len(rows)))
    rng = np.random.default_rng(seed)
    if seed is not None:
        order = rng.permutation(len(rows)).tolist()
    groups: dict[int, list[Row]] = {}
    for at in order:
        groups.setdefault(len(rows[at].ids), []).append(rows[at])
    cut = [group[first : first + size] for _, group in sorted(groups.items()) for first in range(0, len(group), size)]
    for at in rng.permutation(len(cut)).tolist() if seed is not None else range(len(cut)):
        yield cut[at]


def inputs_of(model: Model, batch: Sequence[Row]) -> tuple[torch.Tensor, ...]:
    """What the network takes for rows of one length."""
    ids = np.stack([row.ids for row in batch])
    given = feed(model, ids, np.ones_like(ids))
    if strange := sorted(given.keys() - {INPUT_IDS, ATTENTION_MASK}):
        raise UsageError(f"the model needs {', '.join(strange)} beside its sequences, so that nothing can be scored")
    return tuple(torch.from_numpy(given[one.name]) for one in model.network.inputs)
