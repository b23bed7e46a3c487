"""A whole graph in half precision, for devices that compute with it: inputs and outputs keep their types."""

from __future__ import annotations

import onnx


def half(model: onnx.ModelProto, float_operators: tuple[str, ...] = ()) -> onnx.ModelProto:
    """The model with float16 weights and arithmetic, but for the operators whose outputs are named.

    Softmax of logits, and what selects rows of tables, should be among those: float16 holds integers to 2,048 only.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    names = []
    for number, node in enumerate(copy.graph.node):
        node.name = node.name or f"node_{number}"
        if any(output in float_operators for output in node.output):
            names.append(node.name)
    converted = convert_float_to_float16(copy, keep_io_types=True, disable_shape_infer=False, node_block_list=names)
    assert isinstance(converted, onnx.ModelProto)
    return converted
