"""One of two ways to compute the same thing, chosen by a condition when the graph runs: the other costs nothing.

While a graph is made, both ways stand in it, and a placeholder takes their results; `place_choices` exchanges it for
ONNX's ``If``, and moves into each branch what only that branch needs.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import torch
from onnx import TensorProto, helper

from export.operators.engine import node
from export.operators.placeholder import DOMAIN

_PLACEHOLDER = "Choice"


def choose(condition: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """``first`` where ``condition`` (one truth value) holds, else ``second``, of the same shape. Only in a graph."""
    return node(_PLACEHOLDER, (condition, first, second), first.shape, first.dtype, domain=DOMAIN)


def length_of(x: torch.Tensor) -> torch.Tensor:
    """The length of ``x`` (batch × length × …), one number, of which the exporter knows nothing. Only in a graph."""
    return node("Shape", (x,), (1,), torch.int64, {"start": 1, "end": 2}, domain="", version=18)


def place_choices(model: onnx.ModelProto) -> None:
    """Exchanges every placeholder of `choose` in a graph for an ``If`` with the nodes of either way inside."""
    nodes = list(model.graph.node)
    if not any(_stands(each) for each in nodes):
        return
    placed = _placed(nodes, [value.name for value in model.graph.output])
    del model.graph.node[:]
    model.graph.node.extend(placed)
    if not any(each.domain == DOMAIN for each in placed):
        kept = [opset for opset in model.opset_import if opset.domain != DOMAIN]
        del model.opset_import[:]
        model.opset_import.extend(kept)


def _placed(nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """The nodes of one scope, which gives ``outputs``, with every choice placed, those inside of branches included."""
    nodes = list(nodes)
    while (at := next((at for at in reversed(range(len(nodes))) if _stands(nodes[at])), None)) is not None:
        placeholder = nodes[at]
        branches = []
        for name in placeholder.input[1:]:
            inside = _only_for(name, placeholder, nodes, outputs)
            branches.append(_branch(name, [nodes[one] for one in inside]))
            nodes = [each for one, each in enumerate(nodes) if one not in inside]
        made = helper.make_node(
            "If", [placeholder.input[0]], list(placeholder.output), then_branch=branches[0], else_branch=branches[1]
        )
        nodes = [made if each is placeholder else each for each in nodes]
    return nodes


def _only_for(
    name: str, placeholder: onnx.NodeProto, nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]
) -> list[int]:
    """The places of the nodes that nothing but one input of a placeholder needs, in order."""
    if list(placeholder.input).count(name) > 1:
        return []
    needed_elsewhere = set(outputs)
    inside: list[int] = []
    reached = {name}
    for at in reversed(range(len(nodes))):
        each = nodes[at]
        given = set(each.output) & reached
        if each is not placeholder and given and not set(each.output) & needed_elsewhere:
            inside.append(at)
            reached |= set(_taken(each))
        elif each is placeholder:
            needed_elsewhere |= set(each.input) - {name}
        else:
            needed_elsewhere |= set(_taken(each))
    return inside[::-1]


def _taken(each: onnx.NodeProto) -> list[str]:
    """What a node needs, what its branches and bodies need from outside included."""
    found = list(each.input)
    for attribute in each.attribute:
        if attribute.HasField("g"):
            found += [name for inner in attribute.g.node for name in _taken(inner)]
    return [name for name in found if name]


def _branch(name: str, nodes: Sequence[onnx.NodeProto]) -> onnx.GraphProto:
    """A branch that gives a value, under another name where the value is made outside."""
    given = name if any(name in each.output for each in nodes) else f"{name}.chosen"
    inner = _placed(nodes, [given])
    if given != name:
        inner.append(helper.make_node("Identity", [name], [given]))
    output = helper.make_tensor_value_info(given, TensorProto.FLOAT, None)
    return helper.make_graph(inner, f"{name}.branch", [], [output])


def _stands(each: onnx.NodeProto) -> bool:
    return bool(each.op_type == _PLACEHOLDER and each.domain == DOMAIN)
