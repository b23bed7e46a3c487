"""From the model's output for windows to one set of scores for each read.

The rule for classes: log-probabilities of each window (after temperature; never below `FLOOR`), their mean weighted by
window length, and normalisation to a sum of 1; in other words the normalised geometric mean. Values that are not class
scores (regression, embeddings) are averaged with the same weights. Sums are made in double precision, row by row in the
order of the windows, so that the company a read was scored in does not change its result.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeseq.manifest import Task
from edgeseq.prediction import Scores

FLOOR = -12.0
"""The lowest log-probability that one window can give a label: no window alone outvotes all others."""

Rows = NDArray[np.float32]


def log_probabilities(logits: Rows, task: Task) -> Rows:
    """Log-probabilities (windows × labels) within [`FLOOR`, 0].

    ``softmax``: the labels of a window share a probability of 1. ``sigmoid``: each label has its own. ``identity``: the
    graph gives probabilities already, and temperature does not apply.
    """
    if task.activation == "identity":
        values = np.log(np.maximum(logits, np.float32(1e-30)))
    else:
        scaled = logits / np.float32(task.temperature)
        if task.activation == "softmax":
            scaled = scaled - scaled.max(axis=1, keepdims=True)
            values = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
        else:
            values = -np.logaddexp(np.float32(0), -scaled)
    clipped: Rows = np.clip(values, FLOOR, 0.0).astype(np.float32, copy=False)
    return clipped


def probabilities(mean_log: NDArray[np.floating], task: Task) -> Rows:
    """Probabilities (… × labels) from mean log-probabilities: normalised over the labels, but for ``sigmoid``."""
    if task.activation == "sigmoid":
        values = np.exp(mean_log)
    else:
        values = np.exp(mean_log - mean_log.max(axis=-1, keepdims=True))
        values /= values.sum(axis=-1, keepdims=True)
    result: Rows = values.astype(np.float32)
    return result


def strand_means(rows: Rows, strands: int) -> Rows:
    """One row for each window: the mean of its strands, whose rows follow each other."""
    if strands == 1:
        return rows
    means: Rows = rows.reshape(-1, strands, rows.shape[1]).mean(axis=1, dtype=np.float32)
    return means


class Windows:
    """The places of the windows of one read, and how many of them, from the first on, have been ``scored``."""

    __slots__ = ("ends", "n_fraction", "scored", "starts")

    def __init__(
        self, starts: NDArray[np.int64], ends: NDArray[np.int64], n_fraction: float, scored: int | None = None
    ) -> None:
        self.starts = starts
        self.ends = ends
        self.n_fraction = n_fraction
        self.scored = len(starts) if scored is None else scored


def aggregate(reads: Sequence[Windows], rows: Rows, task: Task) -> list[Scores]:
    """One `Scores` for each read, in order; ``rows`` is the model's output for all their scored windows.

    A read without scored windows gets scores without entries.
    """
    scored = [read for read in reads if read.scored]
    found = _aggregate(scored, rows, task) if scored else []
    if len(scored) == len(reads):
        return found
    following = iter(found)
    return [next(following) if read.scored else _empty(read) for read in reads]


def _aggregate(reads: Sequence[Windows], rows: Rows, task: Task) -> list[Scores]:
    """`aggregate` for reads that all have scored windows."""
    of_windows = rows
    if task.kind == "sequence-classification":
        rows = log_probabilities(rows, task)
        of_windows = probabilities(rows.astype(np.float64), task)
    of_reads = of_windows
    if len(rows) > len(reads):
        of_reads = _read_values(reads, rows, of_windows, task)
    results = []
    first = 0
    for read, values in zip(reads, of_reads, strict=True):
        count, planned = read.scored, len(read.starts)
        end = first + count
        starts, ends = (read.starts, read.ends) if count == planned else (read.starts[:count], read.ends[:count])
        results.append(Scores(values, of_windows[first:end], starts, ends, planned, read.n_fraction))
        first = end
    return results


def _read_values(reads: Sequence[Windows], rows: Rows, of_windows: Rows, task: Task) -> Rows:
    """One row for each read: the mean over its windows, or the row of its only window as it is."""
    counts = np.array([read.scored for read in reads])
    offsets = np.cumsum(counts) - counts
    of_reads: Rows = of_windows[offsets]
    several = np.flatnonzero(counts > 1)
    weights = np.concatenate([(reads[at].ends - reads[at].starts)[: reads[at].scored] for at in several.tolist()])
    within = np.cumsum(counts[several]) - counts[several]
    means = weighted_means(rows[np.repeat(counts > 1, counts)], weights, within)
    of_reads[several] = probabilities(means, task) if task.kind == "sequence-classification" else means
    return of_reads


def weighted_means(values: Rows, weights: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Means (reads × values) over runs of rows; run i starts at ``offsets[i]`` and ends where the next one starts."""
    totals = np.add.reduceat(values * weights[:, None].astype(np.float64), offsets, axis=0)
    result: NDArray[np.float64] = totals / np.add.reduceat(weights, offsets)[:, None]
    return result


def _empty(windows: Windows) -> Scores:
    nothing = np.empty(0, np.int64)
    return Scores(
        np.empty(0, np.float32),
        np.empty((0, 0), np.float32),
        nothing,
        nothing,
        len(windows.starts),
        windows.n_fraction,
    )
