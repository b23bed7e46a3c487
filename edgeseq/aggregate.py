"""From the model's output for windows to one set of scores for each read.

The rule for classes: log-probabilities of each window (after temperature; never below `FLOOR`), their mean weighted by
window length, and normalisation to a sum of 1; in other words the normalised geometric mean. Values that are not class
scores (regression, embeddings) are averaged with the same weights. Sums are made in double precision, row by row in the
order of the windows, so that the company a read was scored in does not change its result.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

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


class Windows:
    """The windows of one read: their places, and the model's output rows for those that were scored so far.

    ``rows`` has one array of (values,) for each strand of each window: window 0 forward, window 0 reverse, window 1 …
    """

    __slots__ = ("ends", "n_fraction", "rows", "starts", "strands")

    def __init__(
        self, starts: NDArray[np.int64], ends: NDArray[np.int64], rows: list[Rows], strands: int, n_fraction: float
    ) -> None:
        self.starts = starts
        self.ends = ends
        self.rows = rows
        self.strands = strands
        self.n_fraction = n_fraction

    def means(self) -> Rows:
        """One row for each scored window: the mean of its strands."""
        return _window_means([self])


def aggregate(reads: Sequence[Windows], task: Task) -> list[Scores]:
    """One `Scores` for each read, in order. A read without scored windows gets scores without entries."""
    scored = [windows for windows in reads if windows.rows]
    if not scored:
        return [_empty(windows) for windows in reads]
    of_windows, of_reads, offsets = _score(scored, task)
    results = []
    values = iter(zip(of_reads, offsets, strict=True))
    for windows in reads:
        if not windows.rows:
            results.append(_empty(windows))
            continue
        of_read, first = next(values)
        starts, ends, planned = windows.starts, windows.ends, len(windows.starts)
        count = len(windows.rows) // windows.strands
        if count < planned:
            starts, ends = starts[:count], ends[:count]
        rows = of_windows[first : first + count]
        results.append(Scores(of_read, rows, starts, ends, planned, windows.n_fraction))
    return results


def _score(scored: Sequence[Windows], task: Task) -> tuple[Rows, Rows, list[int]]:
    """Values of all windows, values of all reads, and the number of each read's first window."""
    values = _window_means(scored)
    counts = [len(windows.rows) // windows.strands for windows in scored]
    offsets = [0, *accumulate(counts[:-1])]
    of_windows = values
    if task.kind == "sequence-classification":
        values = log_probabilities(values, task)
        of_windows = probabilities(values.astype(np.float64), task)
    if len(values) == len(scored):
        return of_windows, of_windows, offsets
    weights = np.concatenate(
        [(windows.ends - windows.starts)[:count] for windows, count in zip(scored, counts, strict=True)]
    )
    means = weighted_means(values, weights, np.array(offsets))
    of_reads = probabilities(means, task) if of_windows is not values else means.astype(np.float32)
    singles = np.flatnonzero(np.array(counts) == 1)
    of_reads[singles] = of_windows[np.array(offsets)[singles]]
    return of_windows, of_reads, offsets


def weighted_means(values: Rows, weights: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Means (reads × values) over runs of rows; run i starts at ``offsets[i]`` and ends where the next one starts."""
    totals = np.add.reduceat(values * weights[:, None].astype(np.float64), offsets, axis=0)
    result: NDArray[np.float64] = totals / np.add.reduceat(weights, offsets)[:, None]
    return result


def _window_means(scored: Sequence[Windows]) -> Rows:
    """One row for each window: the mean of its strands."""
    parts = [row for windows in scored for row in windows.rows]
    rows: Rows = np.concatenate(parts).reshape(len(parts), -1)
    if scored[0].strands > 1:
        rows = rows.reshape(-1, scored[0].strands, rows.shape[1]).mean(axis=1, dtype=np.float32)
    return rows


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
