"""The whole path: calibrate, rank, search, measure, judge; write a bundle that was proven, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from devices.profiles import Profile
from edgeseq.bundle import Bundle
from edgeseq.errors import UsageError
from quantize.budget import Budget
from quantize.calibrate import Method, Rows, measure_ranges, rows_of
from quantize.cost import Cost, count_instructions, measure_costs, slower_from
from quantize.disjoint import demand_disjoint, overlap
from quantize.evidence import evidence_of
from quantize.gauge import gauge_for
from quantize.graph import Operator, loop_bytes, operators, unprotected
from quantize.judge import scorer_of
from quantize.narrow import FIT_ROWS, Narrowed, narrow, wanted
from quantize.pack import write_compressed
from quantize.passes.settings import Settings
from quantize.passes.static import ranges_wanted
from quantize.rewriting import Rewriter
from quantize.sample import Sample
from quantize.schemes import FLOAT, GRAPH, HALF, SCHEMES, Scheme, allowed
from quantize.search import Point, search
from quantize.sensitivity import Bench, Sensitivity, sensitivities
from quantize.trial import Evaluation, trial_for
from quantize.verdict import Outcome, Verdict, together
from quantize.work import Work

LOOKS = 4
"""How many mixtures the gate looks at, unless told. Each look at the evaluation data spends a part of the allowed
error."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for. ``schemes``: names of the only formats to try (empty: all that the device takes).
    Formats in which a read's company changes its result are tried only when they are named.
    ``forced``: operators to compress although they had better stay float."""

    profile: Profile
    budgets: tuple[Budget, ...]
    confidence: float = 0.95
    seed: int = 1
    method: Method = "percentile"
    reduce_range: bool = True
    per_channel: bool = True
    schemes: tuple[str, ...] = ()
    forced: tuple[str, ...] = ()
    drop_leaks: bool = False
    narrow: tuple[str, ...] = ()
    """Shares of hidden channels that leave before anything is quantised, as `quantize.narrow.wanted` reads them."""
    looks: int = LOOKS
    count: bool = False
    """Whether instructions are counted on the device's emulated processor: they decide what is slower, not the time
    of this machine."""


@dataclass(frozen=True, slots=True)
class Look:
    """One mixture before the gate."""

    point: Point
    verdicts: tuple[Verdict, ...]
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it. ``written`` is the mixture that is now a bundle; None where none was proven."""

    outcome: Outcome
    written: Point | None
    looks: tuple[Look, ...]
    ranked: tuple[Sensitivity, ...]
    points: tuple[Point, ...]
    costs: dict[str, Cost] = field(default_factory=dict)
    slower: tuple[str, ...] = ()
    evidence: dict[str, Any] = field(default_factory=dict)


def compress(
    bundle: Bundle, calibration: Sample, asked: Evaluation, wish: Wish, output: Path, progress: Progress
) -> Result:
    """Searches, proves and writes ``output``; writes nothing where no mixture stays inside the budgets.

    Raises SampleError where the samples share sequence, UsageError for an unknown format or operator and for a graph
    without anything to compress, EngineError where the engine fails.
    """
    alphabet = bundle.manifest.input.alphabet
    evaluation = asked.sample
    trial = trial_for(bundle, asked)
    if wish.drop_leaks:
        leaks = overlap(calibration, evaluation, alphabet)
        if leaks.places:
            progress(f"left {len(leaks.places)} of {len(calibration)} calibration reads out: the evaluation has alike")
            kept = np.ones(len(calibration), np.bool_)
            kept[list(leaks.places)] = False
            calibration = calibration.part(kept)
    demand_disjoint(calibration, evaluation, alphabet)
    found = chosen_operators(bundle, wish, progress)
    shares = wanted(wish.narrow, bundle)
    reference = scorer_of(bundle)
    rows = rows_of(bundle, reference, calibration, seed=wish.seed)
    lengths = len({batch.shape[1] for batch in rows.batches})
    progress(f"calibrating on {rows.rows} rows of {lengths} lengths")
    source, narrowed, left = bundle, tuple[Narrowed, ...](), 1.0
    if shares:
        many = rows_of(bundle, reference, calibration, rows=FIT_ROWS, seed=wish.seed)
        graph, narrowed = narrow(bundle, many, shares)
        bundle = replace(bundle, graph=graph)
        progress("\n".join(map(str, narrowed)))
        left = _products(bundle, rows, wish.profile) / _products(source, rows, wish.profile)
        found = chosen_operators(bundle, wish, progress)
    gauge = gauge_for(bundle, asked.background, asked.threshold)
    bench = Bench(bundle, measured_settings(bundle, found, rows, wish), rows, gauge)

    def schemes(operator: Operator) -> Sequence[Scheme]:
        taken = allowed(operator, wish.profile, bench.settings)
        return [each for each in taken if (each.name in wish.schemes if wish.schemes else each.alone)]

    ranked = sensitivities(bench, found, schemes, progress)
    tolerated = min(budget.limit for budget in wish.budgets)
    work = Work.of(bundle, found, rows, wish.profile)
    points = search(bench, found, schemes, ranked, work=work, tolerated=tolerated, progress=progress)
    points = (*points, *_halves(bench, wish))
    if narrowed:
        whole = Bench(source, bench.settings, rows, gauge)
        points = tuple(replace(each, name=_joined(each.name), damage=whole.damage(each.graph)) for each in points)
    points = tuple(each for each in points if (each.choice or narrowed) and each.bytes < len(source.graph))
    costs, slower = _costs(source, points, rows, wish, progress)
    eligible = [point for point in points if wish.count or point.name not in slower]
    looks: list[Look] = []
    planned = plan_looks(eligible, tolerated, wish.looks)
    if wish.count:
        costs, heavier = _counted(source, planned, costs, wish, progress)
        planned, slower = [point for point in planned if point.name not in heavier], (*slower, *heavier)
    confidence = 1 - (1 - wish.confidence) / max(1, len(planned))
    before = trial.listen(reference) if planned else None
    for point in planned:
        candidate = scorer_of(bundle, point.graph)
        after = trial.listen(candidate)
        verdicts = trial.verdicts(before, after, wish.budgets, confidence=confidence, seed=wish.seed)
        look = Look(point, verdicts, together(verdicts))
        looks.append(look)
        progress("\n".join(f"{point.name}: {verdict}" for verdict in verdicts))
        if look.outcome == "WITHIN":
            details = trial.breakdown(before, after, reference, candidate, wish.seed)
            evidence = evidence_of(
                source, calibration, evaluation, wish, bench, details, look, points, ranked, confidence, narrowed
            ) | {"products left": round(left, 6)}
            write_compressed(output, source, point.graph, point.choice, wish.profile.name, evidence)
            return Result("WITHIN", point, tuple(looks), ranked, points, costs, slower, evidence)
    outcome: Outcome = "UNDECIDABLE" if any(look.outcome == "UNDECIDABLE" for look in looks) else "OVER"
    return Result(outcome, None, tuple(looks), ranked, points, costs, slower)


def _products(bundle: Bundle, rows: Rows, profile: Profile) -> int:
    """Multiply-accumulates of a row."""
    every = operators(onnx.load_from_string(bundle.graph), bundle.manifest.task.kind)
    return sum(Work.of(bundle, every, rows, profile).operations.values())


def _joined(mixture: str) -> str:
    """The name of a mixture in a narrowed graph."""
    return " + ".join(each for each in ("narrow", mixture) if each and each != FLOAT)


def plan_looks(points: Sequence[Point], tolerated: float, most: int = LOOKS) -> list[Point]:
    """At most so many mixtures, the best first: those that do at most the tolerated damage on calibration rows, each
    with less error than the one before it, down to the most careful of all. Fixed before the evaluation data are
    looked at."""
    if not points:
        return []
    careful = min(points, key=lambda point: (point.damage.flips, point.damage.error))
    falling: list[Point] = []
    for point in points:
        better = not falling or point.damage.error < falling[-1].damage.error
        if better and point.damage.flips <= tolerated:
            falling.append(point)
    if careful not in falling:
        falling.append(careful)
    places = np.unique(np.linspace(0, len(falling) - 1, min(most, len(falling))).round().astype(int))
    return [falling[place] for place in places.tolist()]


def chosen_operators(bundle: Bundle, wish: Wish, progress: Progress) -> tuple[Operator, ...]:
    """The operators that may be compressed. Raises UsageError for unknown names and where there is none."""
    unknown = [name for name in wish.schemes if name not in SCHEMES]
    if unknown:
        raise UsageError(f"no format is called {', '.join(unknown)}; known are {', '.join(SCHEMES)}")
    model = onnx.load_from_string(bundle.graph)
    every = operators(model, bundle.manifest.task.kind)
    for name in wish.schemes:
        if not SCHEMES[name].alone:
            progress(f"{name}: what a read is scored with changes its result a little; batches are not reproducible")
    strange = [name for name in wish.forced if name not in {each.name for each in every}]
    if strange:
        raise UsageError(f"no operator is called {', '.join(strange)}; there are {', '.join(o.name for o in every)}")
    found = unprotected(every, wish.forced)
    if not found:
        inside = loop_bytes(model)
        where = (
            f"; {inside:,} bytes of weights are inside of loops and branches, which stay as they are" if inside else ""
        )
        raise UsageError(f"{bundle.path}: the graph has no operator to compress{where}")
    return found


def measured_settings(bundle: Bundle, found: Sequence[Operator], rows: Rows, wish: Wish) -> Settings:
    """The wish as settings of passes, with the ranges of all activations that 8-bit arithmetic could round."""
    rewriter = Rewriter(onnx.load_from_string(bundle.graph))
    tensors: list[str] = []
    for operator in found:
        node = rewriter.maker(operator.name)
        if node is not None and operator.kind in SCHEMES["static8"].kinds:
            tensors += [name for name in ranges_wanted(node) if rewriter.constant(name) is None]
    ranges = measure_ranges(bundle, tensors, rows, wish.method)
    return Settings(
        reduce_range=wish.reduce_range,
        per_channel=wish.per_channel,
        ranges=ranges,
        processors=set(wish.profile.engine.providers) <= {"cpu"},
    )


def _halves(bench: Bench, wish: Wish) -> tuple[Point, ...]:
    """The whole graph in half precision, where the device prefers that."""
    asked = HALF in wish.schemes if wish.schemes else any(each.weights == "float16" for each in wish.profile.prefer)
    if not asked:
        return ()
    graph = bench.graph({GRAPH: HALF})
    return (Point(HALF, {GRAPH: HALF}, graph, bench.damage(graph), SCHEMES[HALF].share),)


def _costs(
    bundle: Bundle, points: Sequence[Point], rows: Rows, wish: Wish, progress: Progress
) -> tuple[dict[str, Cost], tuple[str, ...]]:
    """The cost of every point and of the float graph, and the names of the points that are slower than it."""
    costs = measure_costs(bundle, {FLOAT: bundle.graph, **{point.name: point.graph for point in points}}, rows)
    timed = [point for point in points if point.name != HALF]  # processors convert; a GPU decides
    limit = slower_from(wish.profile.cpu.architecture)
    slower = () if wish.count else tuple(point.name for point in timed if costs[point.name].ratio > limit)
    for point in points:
        ratio = costs[point.name].ratio
        progress(f"{point.name}: {ratio:.2f} × the time of float{', not written' if point.name in slower else ''}")
    return costs, slower


def _counted(
    bundle: Bundle, planned: Sequence[Point], costs: Mapping[str, Cost], wish: Wish, progress: Progress
) -> tuple[dict[str, Cost], tuple[str, ...]]:
    """The costs with instructions, and the names of the planned mixtures that take more than the float graph."""
    core = wish.profile.cpu.qemu
    if not core:
        raise UsageError(f"{wish.profile.title}: no emulator stands in for this processor; leave --count out")
    graphs = {FLOAT: bundle.graph, **{point.name: point.graph for point in planned}}
    found = count_instructions(bundle, graphs, core)
    for name, number in found.items():
        progress(f"{name}: {number / 1e6:.3f} million instructions a kilobase on {core}")
    heavier = tuple(point.name for point in planned if found[point.name] > found[FLOAT])
    return {name: replace(cost, instructions=found.get(name)) for name, cost in costs.items()}, heavier
