"""A whole graph in half precision, for devices that compute with it: inputs and outputs keep their types.

What selects rows of tables stays in float32, since float16 holds whole numbers to 2,048 only; so do matrix products
that a format of its own keeps float, and the sums and exponentials that overflow at 65,504.
"""

from __future__ import annotations

import math

import onnx
from onnx import TensorProto

from quantize.graph import operators, selecting
from quantize.rewriting import Rewriter, attribute

FLOAT_KINDS = ("Softmax", "LogSoftmax", "LayerNormalization", "ReduceSum", "ReduceMean", "Exp", "Log", "CumSum", "Pow")
SMALL = 4096
"""Values up to which a stored tensor is copied for each of its readers."""


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with float16 weights and arithmetic, but for what this module's first lines name."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    rewriter = Rewriter(model)
    kept = selecting(rewriter) | {each.name for each in operators(model, "embedding") if each.protected}
    _part(rewriter)
    names = []
    for number, node in enumerate(rewriter.graph.node):
        node.name = node.name or f"node_{number}"
        if kept.intersection(node.output):
            names.append(node.name)
    converted = convert_float_to_float16(
        rewriter.model,
        keep_io_types=True,
        disable_shape_infer=False,
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, *FLOAT_KINDS],
        node_block_list=names,
    )
    assert isinstance(converted, onnx.ModelProto)
    return _joined(converted)


def _part(rewriter: Rewriter) -> None:
    """Gives every reader its own copy of a small stored tensor: some readers stay in float32, some do not."""
    small = {each.name for each in rewriter.graph.initializer if math.prod(each.dims) <= SMALL}
    seen: set[str] = set()
    for node in rewriter.graph.node:
        for place, name in enumerate(node.input):
            if name in small and name in seen:
                value = rewriter.constant(name)
                assert value is not None
                node.input[place] = rewriter.store(f"{name}_copy", value)
            seen.add(name)


def _joined(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without detours through float16 between two operators that both stay in float32."""
    rewriter = Rewriter(model)
    direct: dict[str, str] = {}
    for node in rewriter.graph.node:
        maker = rewriter.maker(node.input[0]) if _casts_to(node, TensorProto.FLOAT) else None
        if maker is not None and _casts_to(maker, TensorProto.FLOAT16) and rewriter.constant(maker.input[0]) is None:
            direct[node.output[0]] = maker.input[0]
    outputs = {value.name for value in rewriter.graph.output}
    for node in rewriter.graph.node:
        for place, name in enumerate(node.input):
            if name in direct and name not in outputs:
                node.input[place] = direct[name]
    return rewriter.finish()


def _casts_to(node: onnx.NodeProto, kind: int) -> bool:
    return node.op_type == "Cast" and attribute(node, "to", 0) == kind
