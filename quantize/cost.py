"""What a graph costs: bytes, and time beside the float graph on this machine.

Time here is no time on the device; what it is good for is the comparison with the float graph, in one process, on one
thread, run after run in turns, on rows of every length bucket.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from edgeseq.bundle import Bundle
from quantize.calibrate import Rows
from quantize.judge import scorer_of

ROUNDS = 5
SLOWER = 1.05
"""A graph counts as slower from this ratio to the float one on: less is within what the clock can tell."""


@dataclass(frozen=True, slots=True)
class Cost:
    """``bytes`` of the graph, and ``milliseconds`` for the calibration rows, one thread, the best of `ROUNDS`."""

    bytes: int
    milliseconds: float


def measure_costs(bundle: Bundle, graphs: Mapping[str, bytes], rows: Rows, *, rounds: int = ROUNDS) -> dict[str, Cost]:
    """Name → cost of each graph. Time is that of the calling thread: what else the machine does counts little."""
    scorers = {name: scorer_of(bundle, graph, threads=1) for name, graph in graphs.items()}
    best = dict.fromkeys(graphs, float("inf"))
    for turn in range(rounds + 1):
        for name, scorer in scorers.items():
            began = time.thread_time()
            for batch in rows.batches:
                scorer.run_ids(batch)
            if turn:
                best[name] = min(best[name], time.thread_time() - began)
    return {name: Cost(len(graph), best[name] * 1e3) for name, graph in graphs.items()}
