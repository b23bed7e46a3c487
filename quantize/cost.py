"""What a graph costs: bytes, time beside the float graph on this machine, and instructions on the emulated device.

Time here is no time on the device; what it is good for is the comparison with the float graph, in one process, on one
thread, run after run in turns, on rows of every length bucket.
"""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeseq.bundle import Bundle
from edgeseq.scorer import Scorer
from quantize.calibrate import Rows
from quantize.judge import scorer_of

ROUNDS = 31
SECONDS = 10.0
"""A comparison ends after this time, once it has three rounds."""
SLOWER = 1.05
"""A graph counts as slower from this ratio to the float one on: less is within what the clock can tell."""
FOREIGN = 1.25
"""The same where this machine has another architecture than the device, of whose kernels it says little."""


@dataclass(frozen=True, slots=True)
class Cost:
    """``bytes`` of the graph; ``milliseconds`` for the calibration rows on one thread, the best of `ROUNDS`; and
    ``ratio`` to the float graph, each measured in turns with it."""

    bytes: int
    milliseconds: float
    ratio: float
    instructions: float | None = None
    """Of the device's processor for a kilobase, as `devices.count` counts them; None where nobody asked."""


def slower_from(architecture: str) -> float:
    """The ratio to float from which a graph for a device of this architecture counts as slower here."""
    return SLOWER if platform.machine() == architecture else FOREIGN


def measure_costs(bundle: Bundle, graphs: Mapping[str, bytes], rows: Rows) -> dict[str, Cost]:
    """Name → cost of each graph. Time is that of the calling thread: what else the machine does counts little."""
    float_scorer = scorer_of(bundle, threads=1)
    _time(float_scorer, rows)
    costs = {}
    for name, graph in graphs.items():
        scorer = scorer_of(bundle, graph, threads=1)
        _time(scorer, rows)
        ours: list[float] = []
        theirs: list[float] = []
        began = time.monotonic()
        while len(ours) < ROUNDS and (len(ours) < 3 or time.monotonic() - began < SECONDS):
            theirs.append(_time(float_scorer, rows))
            ours.append(_time(scorer, rows))
        costs[name] = Cost(len(graph), min(ours) * 1e3, min(ours) / min(theirs))
    return costs


def count_instructions(bundle: Bundle, graphs: Mapping[str, bytes], core: str) -> dict[str, float]:
    """Name → instructions for a kilobase on an emulated ``core``. The bundle has to be a file.

    Raises what `devices.count.count` raises: an emulator, aarch64 wheels and a C compiler are needed.
    """
    from devices.count import count

    found = {}
    with tempfile.TemporaryDirectory(prefix="edgeseq-quantize-") as folder:
        path = Path(folder) / "graph.onnx"
        for name, graph in graphs.items():
            path.write_bytes(graph)
            (counted,) = count(Path(bundle.path), cores=(core,), graph=path)
            found[name] = counted.total
    return found


def _time(scorer: Scorer, rows: Rows) -> float:
    began = time.thread_time()
    for batch in rows.batches:
        scorer.run_ids(batch)
    return time.thread_time() - began
