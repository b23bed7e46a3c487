"""A graph under construction: nodes and initialisers, written operator by operator."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike, NDArray
from onnx import helper, numpy_helper


class GraphBuilder:
    """Collects nodes and initialisers; names follow the order of construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """The name of a stored array; stored once, whoever asks."""
        self.initialisers.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def number(self, value: float) -> str:
        """The name of a float32."""
        return self._named(value, np.float32)

    def whole(self, *values: int) -> str:
        """The name of a row of int64: axes, ends, shapes."""
        return self._named(values, np.int64)

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """A node with one output, named like it."""
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def part(self, data: str, output: str, *, axis: int, start: int = 0, end: int | None = None) -> str:
        """``data[start:end]`` along an axis."""
        last = np.iinfo(np.int64).max if end is None else end
        return self.add("Slice", [data, self.whole(start), self.whole(last), self.whole(axis)], output)

    def _named(self, value: ArrayLike, kind: DTypeLike) -> str:
        array = np.asarray(value, kind)
        text = "_".join(str(each).replace("-", "minus") for each in array.reshape(-1).tolist())
        return self.constant(f"{array.dtype.name}_{text}", array)
