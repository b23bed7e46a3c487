"""How far a bundle's results on Arm processors are from those of this machine, and from each other.

Every machine runs the bundle's golden cases and scores the same reads; all numbers are kept, and each pair of machines
is compared: calls, log-probabilities, and bits.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.arm import DEFAULT
from devices.emulate import emulated
from devices.environment import Environment, environment
from edgeseq.bundle import read_bundle
from edgeseq.cpu import usable_cores
from edgeseq.errors import EdgeseqError

HOST = "this machine"
FLOOR = 1e-9
"""Probabilities below this count as this when their logarithms are compared."""

Results = Mapping[str, NDArray[Any]]
"""What `devices.inference` writes."""


class CompareError(EdgeseqError):
    """A machine fails to score; the message holds its own words."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two machines. Where a bundle gives probabilities ``difference`` is of their natural logarithms, else of values.

    ``calls`` counts reads (of a model for tokens: bases), ``equal`` those that are called alike.
    """

    one: str
    other: str
    calls: int
    equal: int
    difference: float
    golden: float
    """Largest difference of the outputs for the golden cases."""
    bits: bool
    """Whether every number is the same to the last bit."""

    @property
    def share(self) -> float:
        """Share of equal calls; 1 where no reads were given."""
        return self.equal / self.calls if self.calls else 1.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """All pairs of machines, this one first, and what they scored."""

    bundle: str
    sha256: str
    reads: int
    bases: int
    unit: str
    pairs: tuple[Agreement, ...]

    def described(self) -> dict[str, Any]:
        """Everything as one JSON object."""
        return {**asdict(self), "pairs": [{**asdict(pair), "share": pair.share} for pair in self.pairs]}


def compare(
    bundle: Path,
    reads: Sequence[str],
    *,
    cores: Sequence[str] = DEFAULT,
    most: int = 200,
    built: Environment | None = None,
) -> Comparison:
    """The comparison of this machine and ``cores`` on at most ``most`` reads, of each source the same number.

    Without reads, the golden cases alone. Raises CompareError where a machine fails, what `environment` raises, and
    BundleError.
    """
    found = read_bundle(bundle)
    guest = built or environment()
    sources = [source if source == "-" else str(Path(source).resolve()) for source in reads]
    with tempfile.TemporaryDirectory(prefix="edgeseq-compare-") as name, ThreadPoolExecutor(usable_cores()) as beside:
        outputs = [Path(name) / f"{place}.npz" for place in range(len(cores) + 1)]
        command = ["-m", "devices.inference", "score", str(bundle.resolve()), *sources, "--most", str(most)]
        commands = [[*command, "--output", str(output)] for output in outputs]
        running = [beside.submit(_score_here, commands[0])]
        running += [
            beside.submit(_score_there, guest, core, command) for core, command in zip(cores, commands[1:], strict=True)
        ]
        for each in running:
            each.result()
        results = {machine: _load(path) for machine, path in zip((HOST, *cores), outputs, strict=True)}
    logarithms = found.manifest.task.activation != "identity" and bool(found.manifest.task.labels)
    lengths = results[HOST].get("lengths", np.empty(0, np.int64))
    return Comparison(
        bundle=str(bundle),
        sha256=found.sha256,
        reads=len(lengths),
        bases=int(lengths.sum()),
        unit="log-probability" if logarithms else "value",
        pairs=tuple(
            agreement(one, other, results[one], results[other], logarithms=logarithms)
            for one, other in combinations(results, 2)
        ),
    )


def agreement(one: str, other: str, left: Results, right: Results, *, logarithms: bool) -> Agreement:
    """How far the results of two machines agree. Raises CompareError where they scored different reads."""
    if left.keys() != right.keys() or any(left[name].shape != right[name].shape for name in left):
        raise CompareError(f"{one} and {other} did not score the same reads")
    labels = [found["labels"] if "labels" in found else np.empty(0) for found in (left, right)]
    values = [found["values"] if "values" in found else np.empty(0, np.float32) for found in (left, right)]
    if logarithms:
        values = [np.log(np.maximum(part.astype(np.float64), FLOOR)) for part in values]
    golden = [name for name in left if name.startswith("golden.")]
    return Agreement(
        one=one,
        other=other,
        calls=len(labels[0]),
        equal=int((labels[0] == labels[1]).sum()),
        difference=_largest(*values),
        golden=max((_largest(left[name], right[name]) for name in golden), default=0.0),
        bits=all(left[name].tobytes() == right[name].tobytes() for name in left),
    )


def table(found: Comparison) -> str:
    """A line for each pair of machines."""
    width = max(len(f"{pair.one} – {pair.other}") for pair in found.pairs)
    lines = [f"{'':{width}}  equal calls        largest difference   golden cases   bit for bit"]
    lines += [
        f"{f'{pair.one} – {pair.other}':{width}}  {f'{pair.equal:,} of {pair.calls:,}':14}{pair.share:8.2%}"
        f"{pair.difference:17.2g}{pair.golden:15.2g}   {'yes' if pair.bits else 'no':>11}"
        for pair in found.pairs
    ]
    return "\n".join([*lines, "", f"Differences of reads are of {found.unit}, of golden cases of the graph's outputs."])


def _largest(left: NDArray[Any], right: NDArray[Any]) -> float:
    """Largest absolute difference; NaN equals NaN."""
    if not left.size:
        return 0.0
    apart = np.abs(left.astype(np.float64) - right.astype(np.float64))
    return float(np.where(np.isnan(left) & np.isnan(right), 0.0, apart).max())


def _score_here(arguments: Sequence[str]) -> None:
    folder = str(Path(__file__).resolve().parent.parent)
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    _check(HOST, done)


def _score_there(built: Environment, core: str, arguments: Sequence[str]) -> None:
    _check(core, emulated(built, core, ["python", *arguments]))


def _check(machine: str, done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise CompareError(f"{machine}: {reason}")


def _load(path: Path) -> Results:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)
