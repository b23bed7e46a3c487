"""Greedy mixed precision: which operators in which formats, from smallest to most careful.

For each way to compute dense layers, the search begins with every operator in its smallest format and gives back, one
at a time, the operator whose return removes the most damage for its bytes. Damage is measured on calibration rows, so
that the evaluation data are looked at only by the gate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from quantize.gauge import Damage
from quantize.graph import Operator
from quantize.schemes import FLOAT, SCHEMES, Choice, Scheme
from quantize.sensitivity import Bench, Sensitivity
from quantize.work import Work

POINTS = 40
"""The most graphs that one search builds and runs."""
CAREFUL = 2
"""Steps that are taken in any case: the device may refuse a mixture that does no damage."""


@dataclass(frozen=True, slots=True)
class Point:
    """One mixture of formats, its graph, and the damage that it does on calibration rows."""

    name: str
    choice: Choice
    graph: bytes
    damage: Damage
    work: float
    """Expected work on the device beside the float graph."""

    @property
    def bytes(self) -> int:
        return len(self.graph)


def search(
    bench: Bench,
    operators: Sequence[Operator],
    schemes: Callable[[Operator], Sequence[Scheme]],
    ranked: Sequence[Sensitivity],
    *,
    work: Work,
    tolerated: float,
    progress: Callable[[str], None],
) -> tuple[Point, ...]:
    """Points that no other point beats in bytes, expected work and damage, the best first (`merit`).

    ``tolerated``: the share of rows that may flip; a chain of steps ends at a mixture well below it.
    """
    alone = {(each.operator, each.scheme): each for each in ranked}
    ladders = {
        operator.name: [each.name for each in schemes(operator) if _worth(operator, alone[operator.name, each.name])]
        for operator in operators
    }
    kinds = {operator.name: operator.kind for operator in operators}
    found: dict[tuple[tuple[str, str], ...], Point] = {}
    starts = [start for start in _starts(ladders, kinds) if start]
    share = max(3, POINTS // max(1, len(starts)))
    for start in starts:
        choice = dict(start)
        for taken in range(share):
            key = tuple(sorted(choice.items()))
            if key not in found:
                graph = bench.graph(choice)
                found[key] = Point(_name(choice), dict(choice), graph, bench.damage(graph), work.share(choice))
                damage = found[key].damage
                progress(f"{found[key].name}: {len(graph):,} bytes, error {damage.error:.4f}, flips {damage.flips:.4f}")
            if taken >= CAREFUL and found[key].damage.flips <= tolerated / 10:
                break
            step = _step(choice, ladders, alone)
            if step is None:
                break
            choice = step
    return pareto(list(found.values()), len(bench.bundle.graph))


def _worth(operator: Operator, alone: Sensitivity) -> bool:
    """Whether a format does anything for an operator: a table has to become smaller."""
    return operator.kind != "table" or alone.saved > 0


def merit(point: Point, size: int) -> tuple[float, float, str]:
    """Less is better: the share of bytes plus the share of work that a mixture leaves of a graph of ``size`` bytes;
    where those are equal to 2 %, the error."""
    return round((point.bytes / size + point.work) * 50), point.damage.error, point.name


def pareto(points: Sequence[Point], size: int) -> tuple[Point, ...]:
    """The points that no other beats in bytes, work and error together, the best first."""

    def figures(point: Point) -> tuple[float, ...]:
        return point.bytes, point.work, point.damage.error

    kept = [
        point
        for point in points
        if not any(
            figures(other) != figures(point)
            and all(a <= b for a, b in zip(figures(other), figures(point), strict=True))
            for other in points
        )
    ]
    return tuple(sorted(kept, key=lambda point: merit(point, size)))


def _starts(ladders: Mapping[str, list[str]], kinds: Mapping[str, str]) -> list[dict[str, str]]:
    """For each format that some operator has beside others: all operators in it where they can be, else in their
    smallest."""
    tables = sorted({scheme for name, steps in ladders.items() if kinds[name] == "table" for scheme in steps})
    others = sorted({scheme for name, steps in ladders.items() if kinds[name] != "table" for scheme in steps})
    starts = []
    for table in tables or [FLOAT]:
        for other in [*others, FLOAT]:
            start = {}
            for name, steps in ladders.items():
                wanted = table if kinds[name] == "table" else other
                if wanted in steps:
                    start[name] = wanted
                elif wanted != FLOAT and "stored8" in steps:
                    start[name] = "stored8"
            if start not in starts:
                starts.append(start)
    return starts


def _step(
    choice: Mapping[str, str], ladders: Mapping[str, list[str]], alone: Mapping[tuple[str, str], Sensitivity]
) -> dict[str, str] | None:
    """The mixture with one operator a step more careful: the one that harms most for the bytes it saves."""

    def gain(name: str) -> tuple[float, float]:
        each = alone[name, choice[name]]
        return (each.flips + each.error / 100) / max(each.saved, 1), each.error

    candidates = [name for name in choice if choice[name] != FLOAT]
    if not candidates:
        return None
    worst = max(sorted(candidates), key=gain)
    better = [scheme for scheme in ladders[worst] if alone[worst, scheme].error < alone[worst, choice[worst]].error]
    careful = [scheme for scheme in better if SCHEMES[scheme].share > SCHEMES[choice[worst]].share]
    careful += [scheme for scheme in better if SCHEMES[scheme].share == SCHEMES[choice[worst]].share]
    changed = dict(choice)
    if careful:
        changed[worst] = careful[0]
    else:
        del changed[worst]
    return changed


def _name(choice: Mapping[str, str]) -> str:
    """``rows8 ×1 + stored8 ×3``."""
    counts: dict[str, int] = {}
    for scheme in choice.values():
        counts[scheme] = counts.get(scheme, 0) + 1
    return " + ".join(f"{scheme} ×{count}" for scheme, count in sorted(counts.items())) or FLOAT
