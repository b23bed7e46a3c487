"""Matrix products in 8 bits, the scale of the activations taken from each batch as it comes.

No calibration; the whole batch shares one scale, so that what a read is scored with moves its result a little.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from quantize.grid import symmetric
from quantize.passes.dense import Dense
from quantize.passes.settings import Settings
from quantize.rewriting import Rewriter


def dynamic8(rewriter: Rewriter, node: onnx.NodeProto, settings: Settings) -> None:
    """uint8 activations × int8 weights."""
    dense = Dense.of(rewriter, node)
    at = dense.result
    grid = symmetric(dense.weights, 1 if settings.per_channel else None, settings.limit)
    integers = rewriter.store(f"{at}_integers", grid.integers)
    scales = rewriter.store(f"{at}_scales", grid.scales.reshape(-1))
    zero = rewriter.store(f"{at}_zero", np.array(0, np.int8))
    quantised = [f"{dense.data}_{part}" for part in ("quantised", "scale", "zero")]
    data, scale, middle = rewriter.before(
        "dynamic", dense.data, [helper.make_node("DynamicQuantizeLinear", [dense.data], quantised)]
    )
    nodes = [
        helper.make_node("MatMulInteger", [data, integers, middle, zero], [f"{at}_counted"]),
        helper.make_node("Cast", [f"{at}_counted"], [f"{at}_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [scale, scales], [f"{at}_both_scales"]),
        helper.make_node("Mul", [f"{at}_float", f"{at}_both_scales"], [f"{at}_product"]),
    ]
    rewriter.replace(node, [*nodes, *dense.with_bias(rewriter, f"{at}_product")])
