"""The recurrence of a selective state space (Gu and Dao 2023): one state per channel, decaying at its own rate.

While a graph is made, the recurrence is a placeholder; `place_scans` exchanges it for ONNX's ``Scan``, whose body is
the same however long the rows are. The body takes `BLOCK` steps at a time: decays and inputs of a block are made in one
node each, then two small nodes a step update the state. Nothing is divided by a product of decays, so nothing overflows
however long a row is or however fast a state decays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from export.operators.engine import exporting, node
from export.operators.placeholder import DOMAIN, exchange

BLOCK = 8
"""Steps in one turn of the graph's scan. Shorter blocks cost more turns, longer ones more padding and memory."""
_TORCH_BLOCK = 256
_PLACEHOLDER = "SelectiveScan"
_STEPPED = ("delta", "driven", "inward", "outward")


def selective_scan(
    delta: torch.Tensor, driven: torch.Tensor, rates: torch.Tensor, inward: torch.Tensor, outward: torch.Tensor
) -> torch.Tensor:
    """``outward[t] · h[t]`` for ``h[t] = exp(delta[t] rates) h[t-1] + driven[t] inward[t]`` and ``h[-1] = 0``.

    ``delta`` and ``driven`` (delta times the input), like what comes out, are (length × ways × rows × channels);
    ``inward`` and ``outward`` are (length × ways × rows × states), ``rates`` (ways × 1 × states × channels), all below
    0. Ways are recurrences of their own, such as the two directions of a layer; each runs from step 0 upwards.
    """
    if exporting():
        ways, _, states, channels = rates.shape
        sizes = {"ways": int(ways), "states": int(states), "channels": int(channels)}
        inputs = (delta, driven, inward, outward, rates)
        return node(_PLACEHOLDER, inputs, delta.shape, delta.dtype, sizes, domain=DOMAIN)
    state = delta.new_zeros((*delta.shape[1:3], *rates.shape[2:]))
    found = []
    for first in range(0, delta.shape[0], _TORCH_BLOCK):
        block = slice(first, first + _TORCH_BLOCK)
        decays = torch.exp(delta[block].unsqueeze(3) * rates)
        inputs_now = driven[block].unsqueeze(3) * inward[block].unsqueeze(4)
        states_now = []
        for decay, new in zip(decays, inputs_now, strict=True):
            state = torch.addcmul(new, decay, state)
            states_now.append(state)
        found.append(torch.matmul(outward[block].unsqueeze(3), torch.stack(states_now)).squeeze(3))
    return torch.cat(found)


def place_scans(model: onnx.ModelProto, *, block: int = BLOCK) -> None:
    """Exchanges every placeholder of `selective_scan` in a graph for a ``Scan`` over blocks of steps."""
    exchange(model, _PLACEHOLDER, lambda placeholder: _Placed(placeholder, block).nodes)


class _Placed:
    """The nodes that stand for one placeholder; names begin with the name of its output."""

    def __init__(self, placeholder: onnx.NodeProto, block: int) -> None:
        sizes = {attribute.name: attribute.i for attribute in placeholder.attribute}
        self.ways, self.states, self.channels = sizes["ways"], sizes["states"], sizes["channels"]
        self.block = block
        self.output = placeholder.output[0]
        self.rates = placeholder.input[4]
        self.nodes: list[onnx.NodeProto] = []
        self._place(placeholder.input[:4])

    def _place(self, stepped: Sequence[str]) -> None:
        """Rows padded to whole blocks (a step without decay and input changes no state), scanned, and cut again."""
        length = self._add("Shape", [stepped[0]], "length", start=0, end=1)
        rows = self._add("Shape", [stepped[0]], "rows", start=2, end=3)
        size = self._whole("block", self.block)
        rest = self._add("Mod", [self._add("Neg", [length], "short"), size], "rest")
        zeros, three = self._whole("zeros", 0, 0, 0, 0), self._whole("three", 0, 0, 0)
        pads = self._add("Concat", [zeros, rest, three], "pads", axis=0)
        blocks = []
        for name, source in zip(_STEPPED, stepped, strict=True):
            width = self.channels if name in ("delta", "driven") else self.states
            front = self._whole(f"{name}.front", -1, self.block, self.ways)
            shape = self._add("Concat", [front, rows, self._whole(f"{name}.width", width)], f"{name}.shape", axis=0)
            padded = self._add("Pad", [source, pads], f"{name}.padded", mode="constant")
            blocks.append(self._add("Reshape", [padded, shape], f"{name}.blocks"))
        one, ways = self._whole("one", 1), self._whole("ways", self.ways)
        inner = self._whole("inner", self.states, self.channels)
        shape = self._add("Concat", [one, ways, rows, inner], "state.shape", axis=0)
        state = self._add("ConstantOfShape", [shape], "state")
        scanned, last = f"{self.output}.scanned", f"{self.output}.last"
        self.nodes.append(
            helper.make_node("Scan", [state, *blocks], [last, scanned], body=self._body(), num_scan_inputs=len(blocks))
        )
        front, width = self._whole("joined.front", -1, self.ways), self._whole("joined.width", self.channels)
        shape = self._add("Concat", [front, rows, width], "joined.shape", axis=0)
        joined = self._add("Reshape", [scanned, shape], "joined")
        first = self._whole("first", 0)
        self.nodes.append(helper.make_node("Slice", [joined, first, length, first], [self.output]))

    def _body(self) -> onnx.GraphProto:
        """One block: its decays, its inputs, the state after each of its steps, and what all of them give."""
        steps = range(self.block)
        names = {name: f"{self.output}.body.{name}" for name in (*_STEPPED, "state", "after", "seen")}
        outer, self.nodes = self.nodes, []
        before = self._whole("body.before", 3)
        behind = self._whole("body.behind", 4)
        delta = self._add("Unsqueeze", [names["delta"], before], "body.delta.wide")
        decays = self._add("Exp", [self._add("Mul", [delta, self.rates], "body.exponents")], "body.decays")
        driven = self._add("Unsqueeze", [names["driven"], before], "body.driven.wide")
        inward = self._add("Unsqueeze", [names["inward"], behind], "body.inward.wide")
        inputs = self._add("Mul", [driven, inward], "body.inputs")
        parts = {}
        for name, whole in (("decay", decays), ("input", inputs)):
            parts[name] = [f"{self.output}.body.{name}.{step}" for step in steps]
            self.nodes.append(helper.make_node("Split", [whole], parts[name], axis=0, num_outputs=self.block))
        state, states = names["state"], []
        for step in steps:
            kept = self._add("Mul", [parts["decay"][step], state], f"body.kept.{step}")
            state = self._add("Add", [kept, parts["input"][step]], f"body.state.{step}")
            states.append(state)
        together = self._add("Concat", states, "body.states", axis=0)
        outward = self._add("Unsqueeze", [names["outward"], before], "body.outward.wide")
        seen = self._add("MatMul", [outward, together], "body.seen.wide")
        self.nodes.append(helper.make_node("Squeeze", [seen, before], [names["seen"]]))
        self.nodes.append(helper.make_node("Identity", [state], [names["after"]]))
        inner, self.nodes = self.nodes, outer
        rows = f"{self.output}.body.rows"
        stepped = [self.block, self.ways, rows]
        held = [1, self.ways, rows, self.states, self.channels]
        wide, narrow = [*stepped, self.channels], [*stepped, self.states]
        shapes = {"delta": wide, "driven": wide, "inward": narrow, "outward": narrow, "state": held, "after": held}
        values = {
            name: helper.make_tensor_value_info(names[name], TensorProto.FLOAT, shapes.get(name, wide))
            for name in names
        }
        entries = [values["state"], *(values[name] for name in _STEPPED)]
        return helper.make_graph(inner, f"{self.output}.body", entries, [values["after"], values["seen"]])

    def _add(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        output = f"{self.output}.{name}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def _whole(self, name: str, *numbers: int) -> str:
        """A constant row of whole numbers."""
        return self._add("Constant", [], name, value=numpy_helper.from_array(np.array(numbers, np.int64)))
