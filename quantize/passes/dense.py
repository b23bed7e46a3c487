"""A matrix product with stored weights in one form, whatever operator it came as."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from quantize.rewriting import Rewriter, attribute


@dataclass(frozen=True, slots=True)
class Dense:
    """``result`` = ``data`` × ``weights`` + ``bias``: float32 of (inputs, outputs), and of (outputs,) or None."""

    data: str
    result: str
    weights: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    plus: str = ""
    """A bias that is computed or has another shape, by name; empty where there is none."""

    @classmethod
    def of(cls, rewriter: Rewriter, node: onnx.NodeProto) -> Dense:
        """What a `MatMul` or `Gemm` computes; transposition and factors are in the weights."""
        value = rewriter.constant(node.input[1])
        assert value is not None
        weights = np.asarray(value, np.float32)
        if node.op_type == "MatMul":
            return cls(node.input[0], node.output[0], weights, None)
        weights = weights.T if attribute(node, "transB", 0) else weights
        weights = weights * np.float32(attribute(node, "alpha", 1.0))
        if len(node.input) < 3 or not node.input[2]:
            return cls(node.input[0], node.output[0], weights, None)
        bias = rewriter.constant(node.input[2])
        factor = np.float32(attribute(node, "beta", 1.0))
        if bias is None or bias.size not in (1, weights.shape[1]):
            return cls(node.input[0], node.output[0], weights, None, node.input[2])
        full = np.broadcast_to(np.asarray(bias, np.float32).reshape(-1), (weights.shape[1],)) * factor
        return cls(node.input[0], node.output[0], weights, full.astype(np.float32))

    def with_bias(self, rewriter: Rewriter, product: str) -> list[onnx.NodeProto]:
        """The nodes that turn ``product`` into ``result``."""
        if self.bias is None and not self.plus:
            return [helper.make_node("Identity", [product], [self.result])]
        name = self.plus or rewriter.store(f"{self.result}_bias", self.bias if self.bias is not None else np.zeros(1))
        return [helper.make_node("Add", [product, name], [self.result])]
