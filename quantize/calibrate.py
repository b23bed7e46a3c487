"""Rows of ids as the graph meets them on the device, and the ranges of its tensors over them.

Rows come from reads on both strands, of every length bucket: reads shorter than a bucket's are cut to reach the smaller
ones, so that no bucket goes unseen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeseq.bundle import Bundle
from edgeseq.manifest import TaskKind
from edgeseq.normalise import reverse_complement
from edgeseq.read import Read
from edgeseq.scorer import Scorer
from edgeseq.tokenizers import load_tokenizer
from quantize.gauge import Digest
from quantize.judge import scorer_of
from quantize.sample import Sample, SampleError

Method = Literal["min-max", "percentile", "entropy"]
METHODS: tuple[Method, ...] = ("min-max", "percentile", "entropy")

BINS = 2048
PERCENTILE = 99.99
LEVELS = 128
"""Steps of one sign of 8 bits: what the entropy method compares histograms at."""
RUN = 65_536
"""Positions that are computed together: all intermediate results of them lie in memory at a time."""
ROWS = 48
"""Rows of each length bucket."""
POSITIONS = 120_000
"""For models that speak of single bases: positions that all rows together compute, three quarters of them in full
windows."""


def usual_method(kind: TaskKind) -> Method:
    """The method where nobody names one. A model of single bases finds what is rare: its highest activations are at one
    position of thousands, and a percentile would clip just them."""
    return "min-max" if kind == "token-classification" else "percentile"


@dataclass(frozen=True, slots=True)
class Rows:
    """Batches of ids (rows × length), in ascending order of length."""

    batches: tuple[NDArray[Any], ...]

    @property
    def rows(self) -> int:
        return sum(len(batch) for batch in self.batches)

    @property
    def tokens(self) -> int:
        return sum(int(batch.size) for batch in self.batches)


def rows_of(bundle: Bundle, scorer: Scorer, sample: Sample, *, rows: int = ROWS, seed: int = 1) -> Rows:
    """About ``rows`` rows for each length bucket of the bundle, half of them from the other strand; fewer where each
    position counts.

    Raises SampleError where the reads give no row at all.
    """
    buckets = bundle.manifest.input.buckets
    reach = bundle.manifest.graph.reach
    pad = load_tokenizer(bundle.tokenizer).pad_id if buckets else 0
    rng = np.random.default_rng((seed, 11))
    filled: dict[int, list[NDArray[Any]]] = {}
    room = dict.fromkeys(buckets, rows)
    if bundle.manifest.task.kind == "token-classification":
        room = _fitting(buckets, reach, rows)
    wanted = {bucket for bucket in buckets if room[bucket]}
    for read in _both_strands(sample, bundle.manifest.input.alphabet, rng):
        for ids in scorer.encode(_cut(read, buckets, wanted, rng)):
            length = next((bucket for bucket in buckets if len(ids) <= bucket), len(ids))
            lot = filled.setdefault(length, [])
            if len(lot) >= room.get(length, rows):
                wanted.discard(length)
                continue
            lot.append(np.pad(ids.astype(np.int64), (0, length - len(ids)), constant_values=pad))
        if buckets and not wanted:
            break
        if not buckets and sum(len(lot) for lot in filled.values()) >= 8 * rows:
            break
    if not filled:
        raise SampleError(f"{sample.path}: the reads give the model nothing to calibrate on")
    batches: list[NDArray[Any]] = []
    for length in sorted(filled):
        together = max(1, RUN // (length + reach)) if buckets else 1
        found = np.stack(filled[length])
        batches += [found[start : start + together] for start in range(0, len(found), together)]
    return Rows(tuple(batches))


def _fitting(buckets: Sequence[int], reach: int, most: int) -> dict[int, int]:
    """How many rows of each bucket `POSITIONS` have room for, one full window at least; the longest come first."""
    room = dict.fromkeys(buckets, 0)
    left = POSITIONS // 4
    for place in reversed(range(len(buckets))):
        cost = buckets[place] + reach
        if place == len(buckets) - 1:
            room[buckets[place]] = max(1, min(most, POSITIONS * 3 // 4 // cost))
        elif cost <= left:
            room[buckets[place]] = max(1, min(most, left // (place + 1) // cost))
            left -= room[buckets[place]] * cost
    return room


def run(scorer: Scorer, rows: Rows, output: str, digest: Digest) -> list[NDArray[np.float32]]:
    """What matters of one output of the graph, for each batch of rows."""
    return [digest(scorer.run_ids(batch)[output], batch) for batch in rows.batches]


def measure_ranges(
    bundle: Bundle, tensors: Sequence[str], rows: Rows, method: Method
) -> dict[str, tuple[float, float]]:
    """Lowest and highest value that each tensor is to hold.

    ``min-max``: what occurred. ``percentile``: what `PERCENTILE` % of the values stay inside of. ``entropy``: the clip
    at which the histogram on 128 steps is closest, in relative entropy, to the true one.
    """
    names = sorted(set(tensors))
    if not names:
        return {}
    model = onnx.load_from_string(bundle.graph)
    own = {value.name for value in model.graph.output}
    for name in names:
        if name not in own:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
    scorer = scorer_of(bundle, model.SerializeToString(deterministic=True))
    lows, highs = dict.fromkeys(names, np.inf), dict.fromkeys(names, -np.inf)
    for found in _outputs(scorer, rows, names):
        for name, value in found.items():
            lows[name] = min(lows[name], float(value.min()))
            highs[name] = max(highs[name], float(value.max()))
    if method == "min-max":
        return {name: (lows[name], highs[name]) for name in names}
    edges = {name: np.linspace(lows[name], max(highs[name], lows[name] + 1e-9), BINS + 1) for name in names}
    counts = {name: np.zeros(BINS) for name in names}
    for found in _outputs(scorer, rows, names):
        for name, value in found.items():
            counts[name] += np.histogram(value, edges[name])[0]
    clip = {"percentile": percentile_range, "entropy": entropy_range}[method]
    return {name: clip(counts[name], edges[name]) for name in names}


def percentile_range(counts: NDArray[np.float64], edges: NDArray[np.float64]) -> tuple[float, float]:
    """The smallest range of whole bins that leaves at most half of the rest outside on each side."""
    share = np.cumsum(counts) / counts.sum()
    outside = (1 - PERCENTILE / 100) / 2
    low = int(np.searchsorted(share, outside, side="right"))
    high = int(np.searchsorted(share, 1 - outside, side="left"))
    return float(edges[low]), float(edges[min(high + 1, BINS)])


def entropy_range(counts: NDArray[np.float64], edges: NDArray[np.float64]) -> tuple[float, float]:
    """The range clipped, on both sides alike, where the loss of information is least (Migacz 2017)."""
    middles = (edges[1:] + edges[:-1]) / 2
    largest = float(np.abs(edges[[0, -1]]).max())
    sizes = np.histogram(np.abs(middles), BINS, (0, largest), weights=counts)[0]
    best, clip = np.inf, BINS
    for stop in range(LEVELS, BINS + 1, 16):
        kept = sizes[:stop].copy()
        kept[-1] += sizes[stop:].sum()
        loss = _divergence(kept, _stepped(sizes[:stop]))
        if loss < best:
            best, clip = loss, stop
    limit = clip * largest / BINS
    return max(float(edges[0]), -limit), min(float(edges[-1]), limit)


def _stepped(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The histogram as `LEVELS` steps would show it: the mean of each step over its bins that are not empty."""
    step = (np.arange(len(sizes)) * LEVELS) // len(sizes)
    filled = sizes > 0
    total = np.bincount(step, weights=sizes, minlength=LEVELS)
    bins = np.bincount(step, weights=filled.astype(np.float64), minlength=LEVELS)
    result: NDArray[np.float64] = np.where(filled, (total / np.maximum(bins, 1))[step], 0.0)
    return result


def _divergence(true: NDArray[np.float64], shown: NDArray[np.float64]) -> float:
    p, q = true / true.sum(), (shown + 1e-9) / (shown + 1e-9).sum()
    held = p > 0
    return float((p[held] * np.log(p[held] / q[held])).sum())


def _outputs(scorer: Scorer, rows: Rows, names: Sequence[str]) -> Iterator[Mapping[str, NDArray[Any]]]:
    for batch in rows.batches:
        found = scorer.run_ids(batch)
        yield {name: found[name] for name in names}


def _both_strands(sample: Sample, alphabet: str, rng: np.random.Generator) -> Iterator[Read]:
    """The reads in random order, again and again (twice), every other time as the other strand."""
    for turn in range(2):
        for number, place in enumerate(rng.permutation(len(sample)).tolist()):
            read = sample.reads[place]
            if alphabet == "dna" and (number + turn) % 2:
                read = Read(read.id, reverse_complement(read.sequence), source=read.source, record=read.record)
            yield read


def _cut(read: Read, buckets: Sequence[int], wanted: set[int], rng: np.random.Generator) -> Read:
    """A stretch of the read of a length that a bucket still wants; the read as it is where none does or it is short."""
    if not buckets or not wanted:
        return read
    length = int(rng.choice(sorted(wanted)))
    if len(read) <= length:
        return read
    start = int(rng.integers(0, len(read) - length + 1))
    return Read(read.id, read.sequence[start : start + length], source=read.source, record=read.record)
