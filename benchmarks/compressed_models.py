"""The variants of a small model: float and int8, whole, pruned, and pruned and recovered, as graphs for the runtime.

Every step is a command of the project: ``export``, ``export prune``, and the static int8 of ``quantize``. Where
``quantize`` would search for the best mixture, every operator takes the first of `INT8` here that the device's profile
and the graph allow, so that all models are compressed alike.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.small_models import Kind
from devices.profiles import load_profile
from edgeseq import read_bundle
from export.convert import Naming, convert
from export.network import Request
from export.pruning.prune import Cuts, Material, prune
from export.pruning.recover import Course
from quantize.budget import Budget
from quantize.calibrate import rows_of
from quantize.compress import Wish, chosen_operators, measured_settings
from quantize.judge import scorer_of
from quantize.sample import unlabelled
from quantize.schemes import allowed
from quantize.sensitivity import Bench

DEVICE = "raspberry-pi-5"
INT8 = ("static8", "rows8", "stored8")
"""8-bit arithmetic, 8-bit rows of tables, and 8 bits in the file alone where arithmetic in 8 bits gains nothing."""
WINDOWS = 2400
"""Of training sequences, for importance and recovery."""

Progress = Callable[[str], None]


def export(checkpoint: Path, output: Path, kind: Kind, progress: Progress) -> Path:
    """The bundle of a checkpoint."""
    if not output.exists():
        progress(f"export {checkpoint.name}")
        convert(checkpoint, output, Request(max_length=kind.longest), Naming(output.stem), progress=lambda _: None)
    return output


def compressed(bundle_file: Path, training: Path, seed: int, progress: Progress) -> tuple[Path, dict[str, str]]:
    """The bundle's graph in int8, beside it, and which operator takes which format. Ranges come from ``training``."""
    output = bundle_file.with_suffix(".int8.onnx")
    bundle = read_bundle(bundle_file)
    profile = load_profile(DEVICE)
    wish = Wish(profile, (Budget("mcc", 1.0),), seed=seed)
    found = chosen_operators(bundle, wish, progress)
    rows = rows_of(bundle, scorer_of(bundle), unlabelled(training, most=2000, seed=seed), seed=seed)
    bench = Bench(bundle, measured_settings(bundle, found, rows, wish), rows)
    choice = {}
    for operator in found:
        names = [scheme.name for scheme in allowed(operator, profile, bench.settings)]
        taken = next((name for name in INT8 if name in names), None)
        if taken is not None:
            choice[operator.name] = taken
    graph = bench.graph(choice)
    damage = bench.damage(graph)
    progress(
        f"int8 of {bundle_file.name}: {len(graph):,} of {len(bundle.graph):,} bytes, "
        f"{damage.flips:.2%} of calibration rows flip"
    )
    partial = output.with_suffix(".part")
    partial.write_bytes(graph)
    partial.replace(output)
    return output, choice


def pruned(
    checkpoint: Path, output: Path, kind: Kind, cut: str, training: Path, course: Course | None, seed: int
) -> Path:
    """The checkpoint without the units of ``cut``, recovered if there is a course."""
    if not output.exists():
        prune(
            checkpoint,
            output,
            Request(max_length=kind.longest),
            Cuts(shares=kind.cuts[cut]),
            Material(training, use_labels=True, rows=WINDOWS, seed=seed),
            course=course,
            timed=False,
        )
    return output
