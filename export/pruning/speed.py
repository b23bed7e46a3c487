"""The graphs of two models, timed in turns on this machine."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgeseq.session import Session
from export.network import Model
from export.parity import feed
from export.tracing import TorchExporter

RUNS = 32
LONGEST_S = 20.0
WORTH = 1.2
"""So many times as fast a graph has to be for a cut to be worth it."""


@dataclass(frozen=True, slots=True)
class Speed:
    """One row of ``tokens`` through both graphs on one thread, in turns: ms of the run that a quarter are faster than
    (what else the machine does makes runs slower, never faster), and the ratio of the two."""

    tokens: int
    runs: int
    before_ms: float
    after_ms: float
    ratio: float
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
    graphs, runs = [], []
    for model in (before, after):
        model.network.fold()
        exporter = model.exporter or TorchExporter()
        graphs.append(exporter.graph(model.network, (output,)).SerializeToString(deterministic=True))
        inputs = feed(model, ids, np.ones_like(ids))
        session = Session(graphs[-1])
        runs.append((session, inputs))
        session.run(inputs)
    times: list[list[float]] = [[], []]
    started = time.monotonic()
    while len(times[1]) < RUNS and (len(times[1]) < 3 or time.monotonic() - started < LONGEST_S):
        for kept, (session, inputs) in zip(times, runs, strict=True):
            begin = time.perf_counter()
            session.run(inputs)
            kept.append(1000 * (time.perf_counter() - begin))
    slow, fast = (statistics.quantiles(one, n=4)[0] for one in times)
    return Speed(tokens, len(times[1]), slow, fast, slow / fast, len(graphs[0]), len(graphs[1]))
