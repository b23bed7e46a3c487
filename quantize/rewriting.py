"""Changes to an ONNX model, one operator at a time: look constants up, replace nodes, drop what nobody reads any more.

Only the main graph is changed. What lies inside of `If`, `Loop` and `Scan` is never touched, but counts as a reader.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

MICROSOFT = "com.microsoft"


class Rewriter:
    """A model under change. ``model`` is a copy: the caller's stays as it is."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.graph = self.model.graph
        self._stored = {tensor.name: tensor for tensor in self.graph.initializer}
        self._makers = {name: node for node in self.graph.node for name in node.output if name}
        self._shared: dict[tuple[str, str], tuple[str, ...]] = {}

    def maker(self, tensor: str) -> onnx.NodeProto | None:
        """The node of the main graph that makes a tensor; None for inputs and stored tensors."""
        return self._makers.get(tensor)

    def readers(self, tensor: str) -> list[onnx.NodeProto]:
        """The nodes of the main graph that read a tensor, those with it inside of a subgraph included."""
        return [node for node in self.graph.node if tensor in reads(node)]

    def constant(self, tensor: str) -> NDArray[Any] | None:
        """The value of a tensor that is stored with the model, also behind `Constant`, `Cast` and `Identity`; None
        where it is computed from inputs."""
        stored = self._stored.get(tensor)
        if stored is not None:
            return numpy_helper.to_array(stored)
        node = self._makers.get(tensor)
        if node is None:
            return None
        if node.op_type == "Constant":
            return next((numpy_helper.to_array(each.t) for each in node.attribute if each.name == "value"), None)
        if node.op_type not in ("Cast", "Identity"):
            return None
        value = self.constant(node.input[0])
        if value is None or node.op_type == "Identity":
            return value
        kind = next(each.i for each in node.attribute if each.name == "to")
        result: NDArray[Any] = value.astype(helper.tensor_dtype_to_np_dtype(kind))
        return result

    def stored_bytes(self, tensor: str) -> int:
        """What a constant takes in the file."""
        stored = self._stored.get(tensor)
        if stored is not None:
            return int(numpy_helper.to_array(stored).nbytes)
        node = self._makers.get(tensor)
        if node is None:
            return 0
        if node.op_type == "Constant":
            value = self.constant(tensor)
            return 0 if value is None else int(value.nbytes)
        return self.stored_bytes(node.input[0])

    def store(self, name: str, value: NDArray[Any]) -> str:
        """A tensor stored with the model; returns its name, changed where it was taken."""
        name = self._free(name)
        tensor = numpy_helper.from_array(np.ascontiguousarray(value), name)
        self.graph.initializer.append(tensor)
        self._stored[name] = tensor
        return name

    def replace(self, node: onnx.NodeProto, new: Sequence[onnx.NodeProto]) -> None:
        """Puts ``new`` where ``node`` was; the last of them makes its output."""
        place = next(at for at, each in enumerate(self.graph.node) if each is node or each.output == node.output)
        del self.graph.node[place]
        for offset, each in enumerate(new):
            self.graph.node.insert(place + offset, each)
        for at in range(place, place + len(new)):
            kept = self.graph.node[at]
            self._makers.update({name: kept for name in kept.output if name})
        if any(each.domain == MICROSOFT for each in new):
            self._import(MICROSOFT, 1)

    def before(self, kind: str, key: str, new: Sequence[onnx.NodeProto]) -> tuple[str, ...]:
        """Outputs of the last of ``new``, placed behind the maker of ``key``; the same for every operator that asks
        for the same ``kind`` of the same tensor."""
        known = self._shared.get((kind, key))
        if known is not None:
            return known
        maker = self._makers.get(key)
        place = 0
        if maker is not None:
            place = next(at for at, each in enumerate(self.graph.node) if each.output == maker.output) + 1
        for offset, each in enumerate(new):
            self.graph.node.insert(place + offset, each)
            kept = self.graph.node[place + offset]
            self._makers.update({name: kept for name in kept.output if name})
        self._shared[kind, key] = tuple(new[-1].output)
        return tuple(new[-1].output)

    def finish(self) -> onnx.ModelProto:
        """The model without nodes and stored tensors that nothing reads."""
        wanted = {value.name for value in self.graph.output}
        kept: list[onnx.NodeProto] = []
        for node in reversed(_ordered(list(self.graph.node))):
            if wanted.intersection(node.output):
                wanted.update(reads(node))
                kept.append(node)
        nodes = [onnx.NodeProto.FromString(node.SerializeToString(deterministic=True)) for node in reversed(kept)]
        stored = [tensor for tensor in self.graph.initializer if tensor.name in wanted]
        copies = [onnx.TensorProto.FromString(tensor.SerializeToString(deterministic=True)) for tensor in stored]
        del self.graph.node[:]
        del self.graph.initializer[:]
        del self.graph.value_info[:]
        self.graph.node.extend(nodes)
        self.graph.initializer.extend(copies)
        return self.model

    def _free(self, name: str) -> str:
        if name not in self._stored and name not in self._makers:
            return name
        return next(
            each for each in (f"{name}_{n}" for n in count(2)) if each not in self._stored and each not in self._makers
        )

    def _import(self, domain: str, version: int) -> None:
        if not any(each.domain == domain for each in self.model.opset_import):
            self.model.opset_import.append(helper.make_opsetid(domain, version))


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """The value of a node's attribute, or ``default``."""
    found = next((each for each in node.attribute if each.name == name), None)
    return default if found is None else helper.get_attribute_value(found)


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs inside of a node (`If`, `Loop`, `Scan`)."""
    for each in node.attribute:
        if each.HasField("g"):
            yield each.g
        yield from each.graphs


def _ordered(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes so that each stands behind the makers of what it reads, otherwise in their order."""
    makers = {name: place for place, node in enumerate(nodes) for name in node.output if name}
    needs = [{makers[name] for name in reads(node) if name in makers} for node in nodes]
    readers: dict[int, list[int]] = {}
    for place, sources in enumerate(needs):
        for source in sources:
            readers.setdefault(source, []).append(place)
    missing = [len(sources) for sources in needs]
    ready = [place for place, left in enumerate(missing) if not left]
    order = []
    while ready:
        place = heappop(ready)
        order.append(nodes[place])
        for reader in readers.get(place, ()):
            missing[reader] -= 1
            if not missing[reader]:
                heappush(ready, reader)
    return order


def reads(node: onnx.NodeProto) -> set[str]:
    """Every tensor that a node reads, those that its subgraphs take from outside included."""
    names = {name for name in node.input if name}
    for graph in subgraphs(node):
        own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
        own |= {name for inner in graph.node for name in inner.output}
        for inner in graph.node:
            names |= reads(inner) - own
        names |= {value.name for value in graph.output} - own
    return names
