"""From the model's output for windows to one set of scores for each read of a chunk.

The rule for classes: log-probabilities of each window (after temperature; never below `FLOOR`), their mean weighted by
window length, and normalisation to a sum of 1; in other words the normalised geometric mean. Values that are not class
scores (regression, embeddings) are averaged with the same weights. Sums are made in double precision, row by row in the
order of the windows, so that the company a read was scored in does not change its result.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeseq.manifest import Task
from edgeseq.predictions import ScoreColumns
from edgeseq.windows import Windows

FLOOR = -12.0
"""The lowest log-probability that one window can give a label: no window alone outvotes all others."""

Values = NDArray[np.float32]
"""What the model gave, one row for each window or strand of a window."""


def log_probabilities(logits: Values, task: Task) -> Values:
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
    clipped: Values = np.clip(values, FLOOR, 0.0).astype(np.float32, copy=False)
    return clipped


def probabilities(mean_log: NDArray[np.floating], task: Task) -> Values:
    """Probabilities (… × labels) from mean log-probabilities: normalised over the labels, but for ``sigmoid``."""
    if task.activation == "sigmoid":
        values = np.exp(mean_log)
    else:
        values = np.exp(mean_log - mean_log.max(axis=-1, keepdims=True))
        values /= values.sum(axis=-1, keepdims=True)
    result: Values = values.astype(np.float32)
    return result


def strand_means(rows: Values, strands: int) -> Values:
    """One row for each window: the mean of its strands, whose rows follow each other."""
    if strands == 1:
        return rows
    means: Values = rows.reshape(-1, strands, rows.shape[1]).mean(axis=1, dtype=np.float32)
    return means


def aggregate(windows: Windows, rows: Values, task: Task) -> ScoreColumns:
    """The scores of each read; ``rows`` is the model's output for all scored windows, in order.

    A read without scored windows gets scores without entries.
    """
    of_windows = rows
    if task.kind == "sequence-classification" and len(rows):
        rows = log_probabilities(rows, task)
        of_windows = probabilities(rows.astype(np.float64), task)
    elif task.kind == "regression" and task.activation == "sigmoid":
        rows = of_windows = np.float32(0.5) + np.float32(0.5) * np.tanh(rows * np.float32(0.5 / task.temperature))
    scored, starts, ends, first = windows.scored, windows.starts, windows.ends, windows.first
    if len(rows) < len(starts):
        places = windows.between(np.zeros_like(scored), scored)
        starts, ends, first = starts[places], ends[places], np.cumsum(scored) - scored
    of_reads = of_windows
    if len(rows) != len(scored) or not scored.all():
        of_reads = _read_values(scored, first, ends - starts, rows, of_windows, task)
    return ScoreColumns(of_reads, of_windows, scored, first, starts, ends, windows.counts, windows.n_fractions)


def _read_values(
    scored: NDArray[np.int64],
    first: NDArray[np.int64],
    weights: NDArray[np.int64],
    rows: Values,
    of_windows: Values,
    task: Task,
) -> Values:
    """One row for each read: the mean over its windows, the row of its only window as it is, or zeros."""
    of_reads: Values = np.zeros((len(scored), rows.shape[1]), np.float32)
    of_reads[scored == 1] = of_windows[first[scored == 1]]
    several = np.flatnonzero(scored > 1)
    if len(several):
        theirs = np.repeat(scored > 1, scored)
        within = np.cumsum(scored[several]) - scored[several]
        means = weighted_means(rows[theirs], weights[theirs], within)
        of_reads[several] = probabilities(means, task) if task.kind == "sequence-classification" else means
    return of_reads


def weighted_means(values: Values, weights: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Means (reads × values) over runs of rows; run i starts at ``offsets[i]`` and ends where the next one starts."""
    totals = np.add.reduceat(values * weights[:, None].astype(np.float64), offsets, axis=0)
    result: NDArray[np.float64] = totals / np.add.reduceat(weights, offsets)[:, None]
    return result
