"""Whether a graph, run by onnxruntime alone, gives what its torch module gives.

Compared over rows of several lengths and batch sizes, including one token, the longest row, and padded batches; at
padding, outputs are not defined and not compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgeseq.session import Session
from export.errors import ParityError
from export.network import ATTENTION_MASK, INPUT_IDS, Model
from export.rows import batch_for
from export.tracing import example_input

LENGTHS = (1, 2, 7, 64, 257)
COMPARED_TOKENS = 8192
"""A longer row than this is not compared: one pass of a large model over it takes minutes and gigabytes."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One comparison: rows of these token lengths, and the largest absolute difference of each output."""

    lengths: tuple[int, ...]
    padded: bool
    differences: Mapping[str, float]

    @property
    def worst(self) -> float:
        """The largest of the differences."""
        return max(self.differences.values())

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        return asdict(self)


def cases(model: Model) -> list[tuple[int, ...]]:
    """The token lengths of the rows of each comparison."""
    longest = min(model.max_length, COMPARED_TOKENS)
    shortest = model.min_length
    fitting = sorted({length for length in LENGTHS if shortest < length < longest} | {shortest, longest})
    found: list[tuple[int, ...]] = [(length,) for length in fitting]
    middle = max(shortest, min(64, longest))
    found += [(middle,) * 3, (max(shortest, min(7, longest)),) * 8]
    if model.pads_exactly and longest > 1:
        found.append((middle, max(1, middle // 3), max(1, middle - 1)))
    return found


def compare(model: Model, graph: bytes, outputs: Sequence[str]) -> list[Compared]:
    """Each of `cases`, compared. Raises `ParityError` where a difference is larger than the model's tolerance."""
    session = Session(graph)
    found = []
    for lengths in cases(model):
        ids, mask = batch_for(model, lengths)
        inputs = feed(model, ids, mask)
        compared = _compare_one(model, session, inputs, lengths, mask, outputs)
        if not compared.worst <= model.tolerance:
            raise ParityError(
                f"rows of {', '.join(map(str, lengths))} tokens",
                f"graph and module differ by {compared.worst:.2e}; {model.tolerance:.0e} is allowed",
            )
        found.append(compared)
    if model.pads_exactly:
        _check_padding(model, session, outputs)
    return found


def feed(model: Model, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The graph's inputs for a batch of ids; inputs that no tokenizer gives hold numbers that they may hold."""
    inputs: dict[str, NDArray[Any]] = {}
    for number, wanted in enumerate(model.network.inputs):
        if wanted.name == INPUT_IDS:
            inputs[wanted.name] = ids
        elif wanted.name == ATTENTION_MASK:
            inputs[wanted.name] = mask
        else:
            inputs[wanted.name] = example_input(model.network, number, *ids.shape).numpy()
    return inputs


def run_module(model: Model, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """All outputs of the module for the inputs of its graph."""
    with torch.inference_mode():
        found = model.network(*(torch.from_numpy(inputs[one.name]) for one in model.network.inputs))
    return {name: value.numpy() for name, value in found.items()}


def _check_padding(model: Model, session: Session, outputs: Sequence[str]) -> None:
    """Compares padded rows with what the graph gives for each of them alone. Raises `ParityError`.

    Module and graph may agree and both be wrong: padding that is not hidden changes what a read's neighbours in a
    batch make of it.
    """
    for lengths in cases(model):
        if len(set(lengths)) == 1:
            continue
        ids, mask = batch_for(model, lengths)
        together = session.run(feed(model, ids, mask))
        for at in range(len(lengths)):
            real = mask[at] == 1
            alone = session.run(feed(model, ids[at : at + 1, real], mask[at : at + 1, real]))
            for name in outputs:
                padded = together[name][at]
                padded = padded[real] if padded.ndim == 2 and len(padded) == len(real) else padded
                gap = float(np.abs(padded.astype(np.float64) - alone[name][0]).max())
                if not gap <= model.tolerance:
                    raise ParityError(
                        f"{name} of a row of {lengths[at]} tokens",
                        f"padding to {len(real)} tokens changes it by {gap:.2e}; {model.tolerance:.0e} is allowed",
                    )


def _compare_one(
    model: Model,
    session: Session,
    inputs: Mapping[str, NDArray[Any]],
    lengths: tuple[int, ...],
    mask: NDArray[np.int64],
    outputs: Sequence[str],
) -> Compared:
    wanted, given = run_module(model, inputs), session.run(inputs)
    differences = {}
    for name in outputs:
        if wanted[name].shape != given[name].shape:
            raise ParityError(
                name, f"for {mask.shape} ids the graph gives {given[name].shape}, not {wanted[name].shape}"
            )
        gap = np.abs(wanted[name].astype(np.float64) - given[name])
        if gap.ndim == 3 and gap.shape[:2] == mask.shape:
            gap = gap[mask == 1]
        differences[name] = float(gap.max()) if np.isfinite(gap).all() else float("inf")
    return Compared(lengths, bool((mask == 0).any()), differences)
