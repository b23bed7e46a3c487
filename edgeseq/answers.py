"""What a model says about a row of ids, as one row of values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.aggregate import Values
from edgeseq.manifest import Task
from edgeseq.tokenizers import Tokenizer

Answer = Callable[[NDArray[Any], NDArray[Any], NDArray[np.bool_]], Values]
"""Takes the graph's output for some rows, their ids, and which of these are tokens (rows × length)."""


def answer_for(task: Task, tokenizer: Tokenizer) -> Answer:
    """How the output of a model of that kind becomes float32 of (rows, values)."""
    if task.kind != "causal-lm":
        return means
    silent = np.unique(tokenizer.encode(b""))
    return lambda logits, ids, kept: mean_log_likelihoods(logits, ids, kept & ~np.isin(ids, silent), kept)


def means(output: NDArray[Any], ids: NDArray[Any], kept: NDArray[np.bool_]) -> Values:
    """The output itself; where it has values for each token, their mean over the tokens of each row."""
    if output.ndim == 3:
        weights = kept.astype(np.float32)
        output = (output * weights[:, :, None]).sum(axis=1) / weights.sum(axis=1)[:, None]
    return output.reshape(len(ids), -1).astype(np.float32, copy=False)


def mean_log_likelihoods(
    logits: NDArray[Any], ids: NDArray[Any], predicted: NDArray[np.bool_], kept: NDArray[np.bool_]
) -> Values:
    """The mean log-probability, in nats, that a model for the next token gives to tokens of each row: (rows, 1).

    ``logits`` (rows × length × vocabulary) at a token are for the one after it. ``predicted`` says which tokens count,
    as far as another token is before them. 0 for a row without any.
    """
    counted = predicted[:, 1:] & kept[:, :-1]
    before = logits[:, :-1].astype(np.float32, copy=False)
    if not before.size:
        return np.zeros((len(ids), 1), np.float32)
    highest = before.max(axis=2)
    totals = np.log(np.exp(before - highest[:, :, None]).sum(axis=2)) + highest
    given = np.take_along_axis(before, ids[:, 1:, None].astype(np.int64), axis=2)[:, :, 0] - totals
    sums = np.where(counted, given, 0.0).sum(axis=1, dtype=np.float64)
    found: Values = (sums / np.maximum(counted.sum(axis=1), 1))[:, None].astype(np.float32)
    return found
