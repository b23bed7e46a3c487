"""Retired instructions per kilobase of a bundle on Arm processors, by class.

The graph runs several times under emulation, on the same made-up reads; the plugin in ``count_plugin.c``, which is
compiled here, notes its totals after each time. What lies between two notes is one inference: starting Python, loading
the engine, optimising the graph and the first, warming inference are in none. Counts are those of one thread. They are
no times: a processor may retire four instructions in a cycle, or wait a hundred cycles for one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from devices.arm import DEFAULT
from devices.emulate import started
from devices.environment import Environment, environment
from devices.inference import planned
from edgeseq.bundle import read_bundle
from edgeseq.cpu import usable_cores
from edgeseq.errors import EdgeseqError, UsageError

SOURCE = Path(__file__).resolve().parent / "count_plugin.c"
CLASSES: Mapping[str, str] = {
    "fmla": "fused multiply–add of floats",
    "float": "other floating point",
    "dot": "SDOT, UDOT and their kin",
    "mlal": "SMLAL, UMLAL, SMULL, MLA and their kin",
    "vector": "other integer vectors",
    "memory": "loads and stores",
    "other": "integers and branches",
}
"""Class → what it counts, in the order of the table."""
TIMES = 3
"""Inferences that are counted; the median counts."""
_FLAGS = ("-std=c99", "-O2", "-Wall", "-shared", "-fPIC", "-fvisibility=hidden", "-fno-stack-protector", "-nostdlib")


class CountError(EdgeseqError):
    """Instructions cannot be counted; the message says why."""


@dataclass(frozen=True, slots=True)
class Count:
    """Instructions of one inference on one processor: class → number for all ``bases`` together.

    ``spread`` is how much the inferences of a run differ: largest minus smallest total, by the median.
    """

    core: str
    bases: int
    tokens: int
    """Padding and special tokens included."""
    instructions: Mapping[str, float]
    spread: float

    @property
    def per_kilobase(self) -> dict[str, float]:
        """Class → instructions per 1,000 bases (residues)."""
        return {name: number * 1000 / self.bases for name, number in self.instructions.items()}

    @property
    def total(self) -> float:
        """All instructions per 1,000 bases."""
        return sum(self.per_kilobase.values())


def count(
    bundle: Path,
    *,
    cores: Sequence[str] = DEFAULT,
    length: int | None = None,
    batch: int | None = None,
    times: int = TIMES,
    graph: Path | None = None,
    built: Environment | None = None,
) -> tuple[Count, ...]:
    """What one inference of ``bundle`` takes on each of ``cores``, in their order.

    ``batch`` reads of ``length`` bases are tokenised and padded as scoring does it; without them, full windows as far
    as 8,192 tokens and a billion multiply–accumulates go, at most eight. ``graph`` (an ONNX file with the same inputs
    and outputs) is counted in place of the bundle's own.

    Raises BundleError, CountError where there is no C compiler and where the guest fails, what `environment` raises,
    and UsageError for a model of raw signal.
    """
    if times < 1:
        raise UsageError(f"{times} inferences; 1 or more are needed")
    planned(read_bundle(bundle), length, batch)
    found = built or environment()
    options = [*(("--length", str(length)) if length else ()), *(("--batch", str(batch)) if batch else ())]
    options += ["--graph", str(graph.resolve())] if graph else []
    command = ["python", "-m", "devices.inference", "run", str(bundle.resolve()), *options]
    command += ["--times", str(times)]
    with tempfile.TemporaryDirectory(prefix="edgeseq-count-") as name, ThreadPoolExecutor(usable_cores()) as beside:
        plugin = compile_plugin(Path(name))
        return tuple(beside.map(lambda core: _counted(found, core, command, plugin), cores))


def compile_plugin(folder: Path) -> Path:
    """The plugin as a shared library in ``folder``. Raises CountError where no C compiler is found, or it fails."""
    named = os.environ.get("CC")
    compiler = next((found for name in (named, "cc", "gcc", "clang") if name and (found := shutil.which(name))), None)
    if compiler is None:
        raise CountError("no C compiler was found, which the counter needs; install gcc, or name one in CC")
    target = folder / "count_plugin.so"
    done = subprocess.run(
        [compiler, *_FLAGS, "-o", str(target), str(SOURCE)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        raise CountError(f"{compiler} cannot compile {SOURCE.name}: {reason}")
    return target


def described(counts: Sequence[Count], bundle: Path) -> dict[str, Any]:
    """Everything as one JSON object: instructions per kilobase, in millions."""
    return {
        "bundle": str(bundle),
        "sha256": hashlib.sha256(bundle.read_bytes()).hexdigest(),
        "unit": "million retired instructions per kilobase",
        "cpus": {
            each.core: {
                "bases": each.bases,
                "tokens": each.tokens,
                **{name: round(number / 1e6, 6) for name, number in each.per_kilobase.items()},
                "total": round(each.total / 1e6, 6),
                "spread": round(each.spread, 6),
            }
            for each in counts
        },
    }


def table(counts: Sequence[Count]) -> str:
    """Millions of instructions per kilobase: a line for each class, a column for each processor, with its share."""
    width = max(len(text) for text in CLASSES.values())
    lines = [" " * width + "".join(f"{each.core:>22}" for each in counts)]
    for name, text in CLASSES.items():
        cells = [(each.per_kilobase[name], each.total) for each in counts]
        lines.append(f"{text:{width}}" + "".join(f"{part / 1e6:14.3f}{part / total:8.1%}" for part, total in cells))
    lines.append(f"{'all':{width}}" + "".join(f"{each.total / 1e6:14.3f}{'':8}" for each in counts))
    return "\n".join(line.rstrip() for line in lines)


def _counted(built: Environment, core: str, command: Sequence[str], plugin: Path) -> Count:
    variables = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    log = plugin.with_name(f"{core}.txt")
    options = ["-plugin", str(plugin), "-d", "plugin", "-D", str(log)]
    with started(built, core, command, emulator=built.counter, options=options, variables=variables) as (
        words,
        environ,
    ):
        done = subprocess.run(words, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise CountError(f"the guest on {core} failed: {reason}")
    notes = _notes(log)
    if len(notes) < 2:
        raise CountError(f"the counter of {core} noted nothing; was the plugin compiled for this machine?")
    work = json.loads(done.stdout.splitlines()[-1])
    each = [{name: after[name] - before[name] for name in CLASSES} for before, after in pairwise(notes)]
    totals = [sum(one.values()) for one in each]
    return Count(
        core=core,
        bases=work["length"] * work["rows"],
        tokens=work["tokens"],
        instructions={name: median(one[name] for one in each) for name in CLASSES},
        spread=(max(totals) - min(totals)) / median(totals),
    )


def _notes(log: Path) -> list[dict[str, int]]:
    """Class → total so far, for each mark."""
    try:
        blocks = log.read_text(encoding="utf-8").strip().split("\n\n")
    except OSError as error:
        raise CountError(f"the counter wrote nothing: {error.strerror}") from error
    return [dict(_pair(line) for line in block.splitlines()) for block in blocks if block]


def _pair(line: str) -> tuple[str, int]:
    name, _, number = line.partition(" ")
    return name, int(number)
