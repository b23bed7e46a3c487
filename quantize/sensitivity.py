"""What each operator's compression does when it is the only one: the ranked table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import onnx

from edgeseq.bundle import Bundle
from quantize.calibrate import Rows, run
from quantize.gauge import Damage, Gauge, gauge_for
from quantize.graph import Operator
from quantize.judge import scorer_of
from quantize.passes.settings import Settings
from quantize.schemes import Choice, Scheme, rewrite


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

    def __init__(self, bundle: Bundle, settings: Settings, rows: Rows, gauge: Gauge | None = None) -> None:
        self.bundle = bundle
        self.settings = settings
        self.rows = rows
        self.model = onnx.load_from_string(bundle.graph)
        outputs = [tensor.name for tensor in bundle.manifest.graph.outputs]
        wanted = ("last_hidden_state", "logits") if bundle.manifest.task.kind == "embedding" else ("logits",)
        self.output = next((name for name in wanted if name in outputs), outputs[0])
        self.gauge = gauge or gauge_for(bundle)
        self._reference = run(scorer_of(bundle), rows, self.output, self.gauge.digest)

    def graph(self, choice: Choice) -> bytes:
        """The graph with each operator in its scheme; the same bytes for the same choice."""
        return bytes(rewrite(self.model, choice, self.settings).SerializeToString(deterministic=True))

    def damage(self, graph: bytes) -> Damage:
        """Raises EngineError where the engine refuses the graph."""
        found = run(scorer_of(self.bundle, graph), self.rows, self.output, self.gauge.digest)
        return self.gauge.compare(self._reference, found)


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
