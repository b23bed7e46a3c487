"""The sequences of a task as rows of ids: some to find out what matters with, the others to measure on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgeseq.errors import UsageError
from edgeseq.manifest import Task
from edgeseq.tokenizers import load_tokenizer
from export.network import ATTENTION_MASK, INPUT_IDS, Model
from export.parity import feed
from export.pruning.masking import hidden
from export.reading import longest_window
from quantize.sample import Sample, labelled, letters, unlabelled

WINDOW = 1024
"""Bases of a window, where the model takes more."""
HELD_OUT = 0.25
"""Share of the sequences that are only measured on."""
WATCHED = 0.1
"""Share of the sequences that tell recovery when to stop."""
FEWEST = 8
BATCH = 8


@dataclass(frozen=True, slots=True)
class Row:
    """The ids of one window, and what its sequence is (a class's number, or a number to be found), if that is known."""

    ids: NDArray[np.int64]
    target: float | None
    more: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Further inputs of the graph, by their names."""


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

    @classmethod
    def of(
        cls,
        parts: Sequence[Sequence[Row]],
        most: int,
        source: Path,
        *,
        window: int,
        sha256: str,
        sequences: Sequence[bytes],
    ) -> Rows:
        """At most ``most`` rows of the three ``parts`` (to calibrate with, watched, held out), the first of each.

        Raises UsageError where there are too few.
        """
        found = [tuple(part[:room]) for part, room in zip(parts, rooms(most), strict=True)]
        if not all(found) or len(found[0]) < FEWEST:
            raise UsageError(
                f"{source}: {len(found[0])} windows to calibrate with; {FEWEST} of several sequences are needed"
            )
        return cls(found[0], found[1], found[2], window, sha256, tuple(sequences))


def rooms(most: int) -> list[int]:
    """How many of ``most`` rows are for calibration, watched, and held out."""
    held, watched = round(most * HELD_OUT), round(most * WATCHED)
    return [most - held - watched, watched, held]


def divided(order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Sequences in three parts, no one in two: to calibrate with, watched, held out."""
    held, watched = (max(1, round(len(order) * share)) for share in (HELD_OUT, WATCHED))
    return [order[held + watched :], order[held : held + watched], order[:held]]


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
    parts: list[list[Row]] = [[], [], []]
    windows: list[bytes] = []
    for part, places, room in zip(parts, divided(order), rooms(most), strict=True):
        for place in places.tolist():
            text = letters(sample.reads[place], model.alphabet)
            for begin in range(0, max(len(text) - window // 2, 1), window):
                piece = text[begin : begin + window]
                ids = tokenizer.encode(piece)[: model.max_length].astype(np.int64)
                if len(part) < room and len(ids) >= 2:
                    part.append(Row(hidden(model, ids, rng), targets[place]))
                    windows.append(piece)
    return Rows.of(parts, most, source, window=window, sha256=sample.sha256, sequences=windows)


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


def together(model: Model) -> int:
    """How many rows of one length a batch may have: one where rows change each other."""
    return BATCH if model.shares_batches else 1


def inputs_of(model: Model, batch: Sequence[Row]) -> tuple[torch.Tensor, ...]:
    """What the network takes for rows of one length."""
    ids = np.stack([row.ids for row in batch])
    given = feed(model, ids, np.ones_like(ids)) | {
        name: np.stack([row.more[name] for row in batch]) for name in batch[0].more
    }
    if strange := sorted(given.keys() - {INPUT_IDS, ATTENTION_MASK} - batch[0].more.keys()):
        raise UsageError(
            f"the model needs {', '.join(strange)} beside its sequences: --calibrate an .npz file with the arrays "
            f"{', '.join((INPUT_IDS, *strange))}"
        )
    return tuple(torch.from_numpy(given[one.name]) for one in model.network.inputs)
