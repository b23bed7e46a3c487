"""Weights that a graph only lays out anew before it uses them: laid out once and for all."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

LAYOUTS = ("Reshape", "Transpose")


def fold_layouts(graph: onnx.GraphProto) -> None:
    """Replaces every `LAYOUTS` operator of stored numbers by its result.

    Weights then stand where products expect them, and can be compressed as weights; engines do the same when they load
    a graph, so that nothing runs differently. A tensor that a graph inside of another one reads, or that is an output,
    stays. What nobody reads any more leaves.
    """
    stored = {tensor.name: tensor for tensor in graph.initializer}
    fixed = {value.name for value in graph.output} | _read_inside(graph)
    kept = []
    for node in graph.node:
        value = None if set(node.output) & fixed or node.domain else _laid_out(node, stored)
        if value is None:
            kept.append(node)
        else:
            stored[node.output[0]] = numpy_helper.from_array(value, node.output[0])
    if len(kept) == len(graph.node):
        return
    del graph.node[:]
    graph.node.extend(kept)
    read = Counter(name for node in kept for name in node.input)
    left = [tensor for name, tensor in stored.items() if read[name] or name in fixed]
    del graph.initializer[:]
    graph.initializer.extend(left)


def _laid_out(node: onnx.NodeProto, stored: dict[str, onnx.TensorProto]) -> NDArray[np.generic] | None:
    """The result of a node, where all that it needs is stored."""
    if node.op_type not in LAYOUTS or any(name not in stored for name in node.input):
        return None
    value = numpy_helper.to_array(stored[node.input[0]])
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    if node.op_type == "Transpose":
        return np.ascontiguousarray(value.transpose(attributes.get("perm")))
    shape = numpy_helper.to_array(stored[node.input[1]]).tolist()
    if not attributes.get("allowzero"):
        shape = [value.shape[at] if size == 0 else size for at, size in enumerate(shape)]
    return value.reshape(shape)


def _read_inside(graph: onnx.GraphProto) -> set[str]:
    """The names that graphs inside of a graph's nodes read."""
    found: set[str] = set()
    pending = [each for node in graph.node for each in node.attribute]
    while pending:
        attribute = pending.pop()
        for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            found |= {value.name for value in inner.output}
            for node in inner.node:
                found |= set(node.input)
                pending += node.attribute
    return found
