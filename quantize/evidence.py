"""What is known of a compression that was proven: the whole report, without any clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import onnx
from onnx import numpy_helper

from edgeseq.bundle import Bundle
from quantize.graph import operators
from quantize.narrow import Narrowed
from quantize.pack import tools
from quantize.passes.static import ranges_wanted
from quantize.rewriting import Rewriter
from quantize.sample import Sample
from quantize.schemes import SCHEMES
from quantize.search import Point
from quantize.sensitivity import Bench, Sensitivity

if TYPE_CHECKING:
    from quantize.compress import Look, Wish


def evidence_of(
    bundle: Bundle,
    calibration: Sample,
    evaluation: Sample,
    wish: Wish,
    bench: Bench,
    details: Mapping[str, Any],
    look: Look,
    points: Sequence[Point],
    ranked: Sequence[Sensitivity],
    confidence: float,
    narrowed: Sequence[Narrowed],
) -> dict[str, Any]:
    """The report. No clock is read for it: the same inputs and seed give the same report."""
    return {
        "device": wish.profile.name,
        "source": {
            "name": bundle.manifest.name,
            "sha256": bundle.sha256,
            "bytes": sum(map(len, bundle.members.values())),
        },
        "calibration": {
            "sha256": calibration.sha256,
            "reads": len(calibration),
            "bases": calibration.bases,
            "rows": bench.rows.rows,
        },
        "evaluation": {
            "sha256": evaluation.sha256,
            "reads": len(evaluation),
            "bases": evaluation.bases,
            "files": evaluation.files,
            "left out": evaluation.left_out,
        },
        "settings": {
            "method": wish.method,
            "reduce_range": wish.reduce_range,
            "per_channel": wish.per_channel,
            "block": bench.settings.block,
            "confidence": confidence,
            "confidence of the run": wish.confidence,
            "looks": round((1 - wish.confidence) / (1 - confidence)),
        },
        "seed": wish.seed,
        "budgets": {budget.metric: budget.limit for budget in wish.budgets},
        "tools": tools(),
        "passes": [
            *(each.as_json() for each in narrowed),
            *(_pass(bench, name, scheme) for name, scheme in sorted(look.point.choice.items())),
        ],
        "bytes": {
            "graph": look.point.bytes,
            "source graph": len(bundle.graph),
            "float32 graph": float32_bytes(onnx.load_from_string(bundle.graph)),
        },
        "headline": {
            "mixture": look.point.name,
            **{verdict.metric: {"drop": verdict.drop, "at most": verdict.upper} for verdict in look.verdicts},
        },
        "verdicts": [verdict.as_json() for verdict in look.verdicts],
        **details,
        "points": [
            {
                "mixture": point.name,
                "bytes": point.bytes,
                "work": point.work,
                **asdict(point.damage),
                "choice": dict(point.choice),
            }
            for point in points
        ],
        "sensitivity": [each.as_json() for each in ranked],
        "float": [
            {"operator": each.name, "kind": each.kind, "reason": each.protected}
            for each in operators(bench.model, bundle.manifest.task.kind)
            if each.protected
        ],
    }


def float32_bytes(model: onnx.ModelProto) -> int:
    """What the graph would take with all stored numbers of 16 bits as float32."""
    extra = sum(
        numpy_helper.to_array(tensor).nbytes
        for tensor in model.graph.initializer
        if tensor.data_type in (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    )
    return int(model.ByteSize()) + int(extra)


def _pass(bench: Bench, operator: str, scheme: str) -> dict[str, Any]:
    known = SCHEMES[scheme]
    settings = bench.settings
    entry: dict[str, Any] = {"pass": scheme, "operator": operator, "summary": known.summary}
    if known.activations == "uint8":
        entry |= {"reduce_range": settings.reduce_range, "per_channel": settings.per_channel}
    if known.calibrated:
        node = Rewriter(bench.model).maker(operator)
        assert node is not None
        entry["ranges"] = {name: list(settings.ranges[name]) for name in ranges_wanted(node) if name in settings.ranges}
    if scheme.startswith("blocks"):
        entry["block"] = settings.block
    return entry
