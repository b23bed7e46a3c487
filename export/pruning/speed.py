"""The graphs of two models, run in turns on this machine, and compared pair by pair in processor time."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgeseq.session import Session
from export.network import Model
from export.parity import feed
from export.tracing import TorchExporter

ROUNDS, FEWEST_ROUNDS = 4, 2
"""Engines are made anew for each: where the tensors of one come to lie makes a difference of a few hundredths."""
PAIRS, FEWEST_PAIRS = 12, 4
"""Of a round; fewer of both where they take longer than `LONGEST_S`."""
LONGEST_S = 20.0
WORTH = 1.2
"""So many times as fast a graph has to be for a cut to be worth it."""
_NORMAL = 1.96


@dataclass(frozen=True, slots=True)
class Speed:
    """One row of ``tokens`` through both graphs on one thread, in pairs, in milliseconds of the processor: what else
    the machine does is not counted, and what that does to caches and clocks meets both of a pair.

    ``ratio`` is the median of the pairs' ratios and ``ratio_95`` the 95 % interval of that median; times are medians.
    """

    tokens: int
    pairs: int
    before_ms: float
    after_ms: float
    ratio: float
    ratio_95: tuple[float, float]
    before_bytes: int
    after_bytes: int

    @property
    def verdict(self) -> str:
        """``useful``, or ``useless`` where the graph is not a fifth faster."""
        return "useful" if self.ratio >= WORTH else "useless"

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        return {**asdict(self), "verdict": self.verdict}


def compare_speed(before: Model, after: Model, tokens: int) -> Speed:
    """Exports both, and runs them in turns."""
    output = "last_hidden_state" if before.task == "embedding" else "logits"
    ids = np.random.default_rng(0).integers(0, 4, (1, tokens), np.int64)
    graphs, inputs = [], []
    for model in (before, after):
        model.network.fold()
        exporter = model.exporter or TorchExporter()
        graphs.append(exporter.graph(model.network, (output,)).SerializeToString(deterministic=True))
        inputs.append(feed(model, ids, np.ones_like(ids)))
    pairs: list[tuple[float, float]] = []
    started = time.monotonic()
    for number in range(ROUNDS):
        if number < FEWEST_ROUNDS or time.monotonic() - started < LONGEST_S:
            first, second = map(_run, graphs, inputs)
            pairs += timed_pairs(first, second)
    return of_pairs(tokens, pairs, (len(graphs[0]), len(graphs[1])))


def _run(graph: bytes, inputs: dict[str, Any]) -> Callable[[], object]:
    session = Session(graph)
    return lambda: session.run(inputs)


def timed_pairs(first: Callable[[], object], second: Callable[[], object]) -> list[tuple[float, float]]:
    """Processor time of ``first`` and of ``second`` in ms, pair by pair; which one begins changes from pair to pair."""
    both = (first, second)
    for run in both:
        run()
    pairs: list[tuple[float, float]] = []
    started = time.monotonic()
    while len(pairs) < PAIRS and (len(pairs) < FEWEST_PAIRS or time.monotonic() - started < LONGEST_S / ROUNDS):
        taken = [0.0, 0.0]
        for at in (0, 1) if len(pairs) % 2 == 0 else (1, 0):
            begin = time.process_time()
            both[at]()
            taken[at] = 1000 * (time.process_time() - begin)
        pairs.append((taken[0], taken[1]))
    return pairs


def of_pairs(tokens: int, pairs: Sequence[tuple[float, float]], sizes: tuple[int, int]) -> Speed:
    """What ``pairs`` of times (ms) say."""
    ratios = sorted(before / after for before, after in pairs)
    count = len(ratios)
    edge = max(0, math.floor(count / 2 - _NORMAL * math.sqrt(count) / 2) - 1)  # ranks that the median lies between
    return Speed(
        tokens=tokens,
        pairs=count,
        before_ms=statistics.median(before for before, _ in pairs),
        after_ms=statistics.median(after for _, after in pairs),
        ratio=statistics.median(ratios),
        ratio_95=(ratios[edge], ratios[count - 1 - edge]),
        before_bytes=sizes[0],
        after_bytes=sizes[1],
    )
