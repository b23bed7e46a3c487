"""What each operator's compression does when it is the only one: the ranked table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeseq.bundle import Bundle
from quantize.calibrate import Rows, run
from quantize.graph import Operator
from quantize.judge import scorer_of
from quantize.passes.settings import Settings
from quantize.schemes import Choice, Scheme, rewrite


@dataclass(frozen=True, slots=True)
class Damage:
    """How far a graph's outputs are from the float graph's over the calibration rows.

    ``error`` is the root mean square of the difference relative to the spread of the float outputs, ``flips`` the share
    of rows whose largest value is another one (0 for a single output).
    """

    error: float
    flips: float


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """One operator in one scheme, alone. ``saved`` are the bytes that it takes off the graph."""

    operator: str
    kind: str
    scheme: str
    saved: int
    error: float
    flips: float
    forced: bool = False

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Bench:
    """Runs rewritten graphs over the calibration rows and compares them with the float graph."""

    def __init__(self, bundle: Bundle, settings: Settings, rows: Rows) -> None:
        self.bundle = bundle
        self.settings = settings
        self.rows = rows
        self.model = onnx.load_from_string(bundle.graph)
        outputs = [tensor.name for tensor in bundle.manifest.graph.outputs]
        self.output = "logits" if "logits" in outputs else outputs[0]
        self._reference = run(scorer_of(bundle), rows, self.output)

    def graph(self, choice: Choice) -> bytes:
        """The graph with each operator in its scheme; the same bytes for the same choice."""
        return bytes(rewrite(self.model, choice, self.settings).SerializeToString(deterministic=True))

    def damage(self, graph: bytes) -> Damage:
        """Raises EngineError where the engine refuses the graph."""
        return compare(self._reference, run(scorer_of(self.bundle, graph), self.rows, self.output))


def compare(reference: NDArray[np.float32], found: NDArray[np.float32]) -> Damage:
    """The damage between two outputs (rows, values) of the same shape; NaN in both is padding."""
    held = ~np.isnan(reference)
    difference = np.where(held, found.astype(np.float64) - reference, 0.0)
    if not np.isfinite(difference).all():
        return Damage(float("inf"), 1.0)
    spread = float(np.nanstd(reference)) or 1.0
    error = float(np.sqrt((difference**2).sum() / held.sum())) / spread
    if reference.shape[1] < 2:
        return Damage(error, 0.0)
    a = np.where(held, reference, -np.inf).argmax(1)
    b = np.where(held, found, -np.inf).argmax(1)
    return Damage(error, float((a != b).mean()))


def sensitivities(
    bench: Bench,
    operators: Sequence[Operator],
    schemes: Callable[[Operator], Sequence[Scheme]],
    progress: Callable[[str], None],
) -> tuple[Sensitivity, ...]:
    """Every operator alone in each of its schemes, the most harmful first."""
    found = []
    for operator in operators:
        for scheme in schemes(operator):
            graph = bench.graph({operator.name: scheme.name})
            damage = bench.damage(graph)
            saved = len(bench.bundle.graph) - len(graph)
            forced = bool(operator.protected)
            one = Sensitivity(operator.name, operator.kind, scheme.name, saved, damage.error, damage.flips, forced)
            progress(f"{operator.name} in {scheme.name}: error {damage.error:.4f}, flips {damage.flips:.4f}")
            found.append(one)
    return tuple(sorted(found, key=lambda each: (-each.flips, -each.error, each.operator, each.scheme)))


def as_table(found: Sequence[Sensitivity], most: int = 30) -> str:
    """The ranked table as text."""
    lines = [f"{'operator':32} {'scheme':10} {'bytes saved':>12} {'error':>9} {'flips':>8}"]
    lines += [
        f"{each.operator[-32:]:32} {each.scheme:10} {each.saved:12,} {each.error:9.5f} {each.flips:8.4f}"
        f"{'  forced' if each.forced else ''}"
        for each in found[:most]
    ]
    if len(found) > most:
        lines.append(f"… and {len(found) - most} more that harm less")
    return "\n".join(lines)
