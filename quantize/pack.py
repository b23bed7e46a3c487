"""The compressed bundle: graph, golden outputs, manifest, report and card, written in one piece or not at all."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

import edgeseq
from edgeseq.bundle import Bundle, write_bundle
from quantize.card import section
from quantize.judge import scorer_of
from quantize.schemes import FLOAT, SCHEMES, Choice

TOOLS = ("onnx", "onnxruntime", "numpy", "scipy")
NUDGE = 1e-4
"""A thousand times the precision of float32: far more values are rounded the other way than between processors."""
REPORT_KEY = "compression"
"""Where ``report.json`` and ``provenance`` of the manifest hold what this package says."""


def write_compressed(
    path: Path, bundle: Bundle, graph: bytes, choice: Choice, target: str, evidence: Mapping[str, Any]
) -> None:
    """A bundle at ``path`` with ``graph`` in it; everything else is that of ``bundle``.

    ``evidence`` is the whole report; it becomes ``compression`` in ``report.json``, its headline and provenance go into
    the manifest. The same arguments give the same bytes. Raises BundleError.
    """
    arithmetic = any(SCHEMES[scheme].activations != "float32" for scheme in choice.values() if scheme != FLOAT)
    golden = golden_of(bundle, graph, rounded=arithmetic)
    macs = bundle.manifest.graph.macs_per_base
    manifest = replace(
        bundle.manifest,
        target=target,
        graph=replace(
            bundle.manifest.graph,
            precision=precision(choice),
            macs_per_base=macs and round(macs * evidence["products left"], 1),
        ),
        provenance={
            **bundle.manifest.provenance,
            "passes": [*bundle.manifest.provenance.get("passes", ()), *evidence["passes"]],
            REPORT_KEY: {
                name: evidence[name]
                for name in ("source", "calibration", "evaluation", "settings", "budgets", "seed", "tools")
            },
        },
        metrics={**bundle.manifest.metrics, REPORT_KEY: evidence["headline"]},
    )
    write_bundle(
        path,
        manifest=manifest,
        graph=graph,
        tokenizer=json.loads(bundle.tokenizer),
        golden=golden,
        report={**bundle.report, REPORT_KEY: dict(evidence)},
        card=f"{bundle.card.rstrip()}\n\n{section(evidence)}",
    )


def golden_of(bundle: Bundle, graph: bytes, *, rounded: bool) -> dict[str, NDArray[Any]]:
    """The bundle's golden inputs with what ``graph`` gives for them on this machine.

    ``rounded``: activations are rounded inside of the graph, where a last-bit difference between processors can round
    the other way. The tolerance is then what the outputs change by when all steps of rounding are `NUDGE` larger or
    smaller, which turns far more values than any processor does; where some steps are computed in each run, it is what
    compression itself changed.
    """
    known = bundle.golden_cases()
    scorer = scorer_of(bundle, graph, threads=1)
    arrays: dict[str, NDArray[Any]] = {}
    change = 0.0
    for number, case in enumerate(known.cases):
        found = scorer.run(case.inputs)
        arrays |= {f"{name}.{number}": np.asarray(array) for name, array in case.inputs.items()}
        arrays |= {f"{name}.{number}": found[name] for name in case.outputs}
        change = max(change, _distance(found, case.outputs))
    nudged = [each for each in (_nudged(graph, 1 + NUDGE), _nudged(graph, 1 - NUDGE)) if each]
    if nudged:
        change = 0.0
        for other in (scorer_of(bundle, each, threads=1) for each in nudged):
            for number, case in enumerate(known.cases):
                expected = {name: arrays[f"{name}.{number}"] for name in case.outputs}
                change = max(change, _distance(other.run(case.inputs), expected))
    tolerance = max(known.tolerance, round(change, 4) if rounded else 0.0)
    return {**arrays, "tolerance": np.array(tolerance)}


def _distance(found: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]) -> float:
    return max(float(np.abs(found[name].astype(np.float64) - array).max()) for name, array in expected.items())


def _nudged(graph: bytes, factor: float) -> bytes | None:
    """The graph with every step on which values are put times ``factor``; None unless all of them are stored."""
    model = onnx.load_from_string(graph)
    if any(node.op_type == "DynamicQuantizeLinear" for node in model.graph.node):
        return None
    steps = {node.input[1] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    stored = [tensor for tensor in model.graph.initializer if tensor.name in steps]
    for tensor in stored:
        value = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array((value * factor).astype(value.dtype), tensor.name))
    return model.SerializeToString(deterministic=True) if stored else None


def precision(choice: Choice) -> str:
    """What the manifest calls the mixture: schemes with the number of operators in each."""
    counts: dict[str, int] = {}
    for scheme in choice.values():
        counts[scheme] = counts.get(scheme, 0) + 1
    parts = [f"{scheme} of {count}" for scheme, count in sorted(counts.items())]
    return ", ".join([*parts, "float32 elsewhere" if parts else "float32"])


def tools() -> dict[str, str]:
    """Versions of everything that decides the bytes."""
    found = {name: version(name) for name in TOOLS}
    return found | {"edgeseq": edgeseq.__version__, "python": platform.python_version()}
