"""How far a graph's outputs are from the float graph's over the calibration rows, by the kind of its task.

The search goes by this; the evaluation data play no part in it. What the gate asks for later is measured here in small:
rows that flip, positions lost from the top, angles between vectors, ranks of likelihoods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.answers import mean_log_likelihoods, means
from edgeseq.bundle import Bundle
from edgeseq.manifest import Task, TaskKind
from edgeseq.tokenizers import Tokenizer, load_tokenizer
from edgeseq.tracks import activated
from quantize.likelihoods import own_log_probabilities
from quantize.pairs import rank_correlation
from quantize.vectors import cosines

Digest = Callable[[NDArray[Any], NDArray[Any]], NDArray[np.float32]]
"""What matters of the output for some rows, from the output and the ids: (items, values)."""
Harm = Callable[[NDArray[np.float32], NDArray[np.float32]], float]
"""The share that is lost, between the digests of two graphs."""


CUTS = 24
"""Lengths of the top that are compared, from a quarter of *k* to four times it."""


@dataclass(frozen=True, slots=True)
class Damage:
    """``error`` is the root mean square of the difference relative to the spread of the float outputs, ``flips`` the
    share that is lost of what the task is about: rows whose largest value is another one (0 for a single output),
    positions of the top, 1 minus cosine or rank correlation."""

    error: float
    flips: float


@dataclass(frozen=True, slots=True)
class Gauge:
    """``digest`` is applied to each batch, `compare` to all of them together."""

    digest: Digest
    harm: Harm

    def compare(self, reference: Sequence[NDArray[np.float32]], found: Sequence[NDArray[np.float32]]) -> Damage:
        """The damage between the digests of two graphs, batch by batch of equal shape."""
        a, b = (_stacked(each) for each in (reference, found))
        held = ~np.isnan(a)
        difference = np.where(held, b.astype(np.float64) - a, 0.0)
        if not np.isfinite(difference).all():
            return Damage(float("inf"), 1.0)
        spread = float(np.nanstd(a)) or 1.0
        return Damage(float(np.sqrt((difference**2).sum() / held.sum())) / spread, self.harm(a, b))


def gauge_for(bundle: Bundle, background: str = "", threshold: float = 0.5) -> Gauge:
    """The gauge for the bundle's kind of task."""
    task, tokenizer = bundle.manifest.task, load_tokenizer(bundle.tokenizer)
    return _GAUGES[task.kind](task, tokenizer, background or task.background, threshold)


def rows_that_flip(reference: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """Share of rows whose largest value is another one."""
    if reference.shape[1] < 2:
        return 0.0
    a, b = (np.where(np.isnan(each), -np.inf, each).argmax(1) for each in (reference, found))
    return float((a != b).mean())


def top_lost(reference: NDArray[np.float32], found: NDArray[np.float32], k: int) -> float:
    """Share of the ``k`` highest positions that is lost: the mean over `CUTS` lengths of the top around ``k``, as a few
    windows have too few sites to tell one mixture from another by a single one."""
    order, other = (np.argsort(-each, kind="stable") for each in (reference, found))
    place = np.empty(len(other), np.int64)
    place[other] = np.arange(len(other))
    lengths = np.unique(np.geomspace(max(1, k / 4), min(4 * k, len(order)), CUTS).round().astype(np.int64))
    return float(np.mean([(place[order[:length]] >= length).mean() for length in lengths.tolist()]))


def labels_that_flip(reference: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """Share of rows of which another set of labels has logits above 0."""
    return float(((reference > 0) != (found > 0)).any(axis=1).mean())


def _stacked(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """All items, those with fewer values padded by NaN."""
    width = max(part.shape[1] for part in parts)
    return np.concatenate(
        [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=np.nan) for part in parts]
    )


def _of_rows(task: Task, tokenizer: Tokenizer, background: str, threshold: float) -> Gauge:
    del tokenizer, background, threshold  # no matter of rows
    harm = labels_that_flip if task.activation == "sigmoid" else rows_that_flip
    return Gauge(lambda output, ids: np.asarray(output, np.float32).reshape(len(ids), -1), harm)


def _of_positions(task: Task, tokenizer: Tokenizer, background: str, threshold: float) -> Gauge:
    def digest(output: NDArray[Any], ids: NDArray[Any]) -> NDArray[np.float32]:
        values = np.asarray(output, np.float32)
        beyond = ids.shape[1] - values.shape[1]
        inner = ids[:, beyond // 2 : ids.shape[1] - (beyond - beyond // 2)]
        kept: NDArray[np.float32] = values[inner != tokenizer.pad_id]
        return kept

    def harm(reference: NDArray[np.float32], found: NDArray[np.float32]) -> float:
        a, b = activated(reference, task), activated(found, task)
        quiet = background or task.labels[int(np.bincount(a.argmax(1)).argmax())]
        lost = [rows_that_flip(a, b)]
        for place, label in enumerate(task.labels):
            k = int((a[:, place] >= threshold).sum())
            if label != quiet and k:
                lost.append(top_lost(a[:, place], b[:, place], k))
        return max(lost)

    return Gauge(digest, harm)


def _of_vectors(task: Task, tokenizer: Tokenizer, background: str, threshold: float) -> Gauge:
    del task, background, threshold  # no matter of vectors

    def harm(reference: NDArray[np.float32], found: NDArray[np.float32]) -> float:
        return float(1 - np.mean(cosines(reference, found)))

    return Gauge(lambda output, ids: means(output, ids, ids != tokenizer.pad_id), harm)


def _of_likelihoods(task: Task, tokenizer: Tokenizer, background: str, threshold: float) -> Gauge:
    del background, threshold  # no matter of likelihoods
    silent = np.append(np.unique(tokenizer.encode(b"")), tokenizer.pad_id)

    def digest(output: NDArray[Any], ids: NDArray[Any]) -> NDArray[np.float32]:
        tokens = ~np.isin(ids, silent)
        if task.kind == "causal-lm":
            return mean_log_likelihoods(output, ids, tokens, ids != tokenizer.pad_id)
        sums = np.where(tokens, own_log_probabilities(output, ids), 0.0).sum(axis=1)
        found: NDArray[np.float32] = (sums / np.maximum(tokens.sum(axis=1), 1))[:, None].astype(np.float32)
        return found

    def harm(reference: NDArray[np.float32], found: NDArray[np.float32]) -> float:
        return 1 - rank_correlation(reference[:, 0], found[:, 0])

    return Gauge(digest, harm)


_GAUGES: Mapping[TaskKind, Callable[[Task, Tokenizer, str, float], Gauge]] = {
    "sequence-classification": _of_rows,
    "regression": _of_rows,
    "token-classification": _of_positions,
    "embedding": _of_vectors,
    "masked-lm": _of_likelihoods,
    "causal-lm": _of_likelihoods,
}
