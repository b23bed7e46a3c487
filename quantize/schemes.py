"""The formats that an operator can be compressed to, by name, and the graph in which each operator has its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx

from devices.profiles import Number, Profile
from quantize.graph import Kind, Operator
from quantize.passes.dynamic import dynamic8
from quantize.passes.half import half
from quantize.passes.settings import Settings
from quantize.passes.static import static8
from quantize.passes.tables import rows4, rows8, stored4
from quantize.passes.weights import blocks4, blocks8, stored8
from quantize.rewriting import Rewriter

FLOAT = "float"
HALF = "half"
GRAPH = "graph"
"""The operator that stands for all of the graph."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """One format. ``share``: bytes of float32 weights that remain, roughly, to order formats before they are tried."""

    name: str
    kinds: tuple[Kind, ...]
    weights: Number
    activations: Number
    share: float
    apply: Callable[[Rewriter, onnx.NodeProto, Settings], None]
    summary: str
    calibrated: bool = False
    alone: bool = True
    """Whether a row's result is the same whatever else is in its batch."""


def _never(rewriter: Rewriter, node: onnx.NodeProto, settings: Settings) -> None:
    """Half precision is no matter of single operators."""
    raise KeyError(f"{node.output[0]} in {HALF}, {settings}, {rewriter.graph.name}")


SCHEMES: Mapping[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("rows8", ("table",), "int8", "float32", 0.27, rows8, "table rows of 8 bits, restored after the lookup"),
        Scheme("rows4", ("table",), "int4", "float32", 0.15, rows4, "table rows of 4 bits, 8 bits in memory"),
        Scheme(
            "static8",
            ("dense", "convolution", "product"),
            "int8",
            "uint8",
            0.25,
            static8,
            "8-bit arithmetic, activation ranges measured beforehand (QDQ)",
            calibrated=True,
        ),
        Scheme(
            "dynamic8",
            ("dense",),
            "int8",
            "uint8",
            0.25,
            dynamic8,
            "8-bit arithmetic, activation ranges of each batch",
            alone=False,
        ),
        Scheme(
            "stored8",
            ("table", "dense", "convolution"),
            "int8",
            "float32",
            0.25,
            stored8,
            "8 bits in the file, float when it is loaded",
        ),
        Scheme("stored4", ("table",), "int4", "float32", 0.14, stored4, "4 bits in the file, float when it is loaded"),
        Scheme("blocks8", ("dense",), "int8", "float32", 0.28, blocks8, "weight-only 8 bits, a scale for 32 weights"),
        Scheme(HALF, ("graph",), "float16", "float16", 0.5, _never, "the whole graph in half precision"),
        Scheme("blocks4", ("dense",), "int4", "float32", 0.16, blocks4, "weight-only 4 bits, a scale for 32 weights"),
    )
}

Choice = Mapping[str, str]
"""Operator → scheme. Operators that are not named stay float."""


def rewrite(model: onnx.ModelProto, choice: Choice, settings: Settings) -> onnx.ModelProto:
    """The model with each named operator in its scheme. Raises KeyError for an operator or a scheme that is not
    there."""
    if choice.get(GRAPH) == HALF:
        return half(model)
    rewriter = Rewriter(model)
    for name in sorted(choice):
        if choice[name] == FLOAT:
            continue
        node = rewriter.maker(name)
        if node is None:
            raise KeyError(name)
        SCHEMES[choice[name]].apply(rewriter, node, settings)
    return rewriter.finish()


def allowed(operator: Operator, profile: Profile, settings: Settings) -> tuple[Scheme, ...]:
    """The schemes for an operator that the device does not refuse, the smallest first."""
    found = [
        scheme
        for scheme in SCHEMES.values()
        if operator.kind in scheme.kinds
        and not (scheme.calibrated and operator.flat)
        and not profile.refused(
            scheme.weights, scheme.activations, settings.reduce_range and scheme.activations == "uint8", "cpu"
        )
    ]
    return tuple(sorted(found, key=lambda scheme: scheme.share))
