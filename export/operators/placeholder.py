"""Nodes that stand in a graph for something that torch's exporter cannot say, until it has done its work."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx

DOMAIN = "edgeseq"
"""The operator set of placeholders; no finished graph has it."""


def exchange(model: onnx.ModelProto, operator: str, made: Callable[[onnx.NodeProto], Sequence[onnx.NodeProto]]) -> None:
    """Exchanges every placeholder of a kind in the graph for the nodes that are ``made`` of it, which give its
    outputs under their names."""
    nodes = list(model.graph.node)
    if not any(_stands(each, operator) for each in nodes):
        return
    del model.graph.node[:]
    for each in nodes:
        model.graph.node.extend(made(each) if _stands(each, operator) else [each])
    if any(each.domain == DOMAIN for each in model.graph.node):
        return
    kept = [opset for opset in model.opset_import if opset.domain != DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _stands(node: onnx.NodeProto, operator: str) -> bool:
    return bool(node.op_type == operator and node.domain == DOMAIN)
