"""The ONNX graph of a trained `SeedNet`: base codes in, logits out, hashing inside the graph.

One lookup per seed and base, and dense layers per block of 16 bases. Written operator by operator: what runs on the
device is what stands here. The looked-up rows lie block after block for each of the 16 places, so that one product with
a row of ones sums them all; blocks are pooled by a product with the row that says which of them count.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from export.architectures import BLOCK, SeedNet
from export.graph_builder import GraphBuilder
from export.seed_codes import SeedCodes

OPSET = 18
PAD_ID = 5

Weights = dict[str, NDArray[np.float32]]


def seed_graph(net: SeedNet, *, precision: str = "fp16") -> onnx.ModelProto:
    """The model: ``input_ids`` int64 (batch × length, a multiple of 16) → ``logits`` float32 (batch × labels).

    ``precision`` is that of the stored tables (``fp16`` or ``fp32``); arithmetic is float32.
    """
    weights = {name: tensor.detach().numpy() for name, tensor in net.state_dict().items()}
    graph = GraphBuilder()
    graph.add("Cast", ["input_ids"], "codes", to=TensorProto.FLOAT)
    codes = SeedCodes(graph, net.seeds, "codes", BLOCK)
    sums = [
        _block_sums(graph, codes.rows(seed, f"seed{number}"), weights[f"tables.{number}.weight"], number, precision)
        for number, seed in enumerate(net.seeds)
    ]
    total = graph.add("Concat", sums, "sums", axis=2) if len(sums) > 1 else sums[0]
    edges = graph.whole(0, 1, 0, 0, 1, 0)
    graph.add("Pad", [total, edges, graph.number(0.0)], "framed", mode="constant")
    graph.part("framed", "following", axis=1, start=2)
    graph.part("framed", "preceding", axis=1, end=-2)
    graph.add("Add", ["preceding", "following"], "neighbours")
    graph.add("Concat", [total, "neighbours"], "both", axis=2)
    graph.add("MatMul", ["both", graph.constant("mix_weight", weights["mix.weight"].T)], "mixed_raw")
    graph.add("Add", ["mixed_raw", graph.constant("mix_bias", weights["mix.bias"])], "mixed")
    graph.add("Relu", ["mixed"], "positive")
    graph.add("Mul", ["positive", "positive"], "features")
    _known(graph)
    features = _context(graph, net, weights) if net.context is not None else "features"
    _pool(graph, features, weights)
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", net.pool.second.out_features])]
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])]
    proto = helper.make_graph(graph.nodes, "outbreak-panel", inputs, outputs, list(graph.initialisers.values()))
    model = helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="edgeseq", ir_version=9
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _block_sums(graph: GraphBuilder, rows: str, table: NDArray[np.float32], number: int, precision: str) -> str:
    """Sums of the looked-up rows of each block (batch × blocks × width)."""
    at = f"seed{number}"
    values = table.copy()
    values[-1] = 0
    name = graph.constant(f"{at}_table", values.astype(np.float16 if precision == "fp16" else np.float32))
    if precision == "fp16":
        name = graph.add("Cast", [name], f"{at}_table32", to=TensorProto.FLOAT)
    graph.add("Transpose", [rows], f"{at}_places", perm=[2, 0, 1])
    graph.add("Gather", [name, f"{at}_places"], f"{at}_embedded", axis=0)
    graph.add("Reshape", [f"{at}_embedded", graph.whole(BLOCK, -1)], f"{at}_by_place")
    ones = graph.constant("ones", np.ones((1, BLOCK), np.float32))
    graph.add("MatMul", [ones, f"{at}_by_place"], f"{at}_total")
    graph.add("Shape", [f"{at}_places"], f"{at}_blocks", start=1)
    graph.add("Concat", [f"{at}_blocks", graph.whole(values.shape[1])], f"{at}_shape", axis=0)
    return graph.add("Reshape", [f"{at}_total", f"{at}_shape"], f"{at}_sums")


def _known(graph: GraphBuilder) -> None:
    """``known`` (batch × blocks): 1 where a block holds a known base; ``count`` (batch × 1) of such blocks, at
    least 1."""
    graph.add("Reshape", ["codes", graph.whole(0, -1, BLOCK)], "codes_blocked")
    graph.add("ReduceMin", ["codes_blocked", graph.whole(2)], "lowest", keepdims=0)
    graph.add("Less", ["lowest", graph.number(3.5)], "is_known")
    graph.add("Cast", ["is_known"], "known", to=TensorProto.FLOAT)
    graph.add("ReduceSum", ["known", graph.whole(1)], "count_raw", keepdims=1)
    graph.add("Max", ["count_raw", graph.number(1.0)], "count")


def _context(graph: GraphBuilder, net: SeedNet, weights: Weights) -> str:
    """The hybrid's convolution over neighbouring blocks."""
    assert net.context is not None
    graph.add("Unsqueeze", ["known", graph.whole(2)], "known_blocks")
    graph.add("Mul", ["features", "known_blocks"], "masked_features")
    graph.add("Sqrt", [graph.add("Add", ["masked_features", graph.number(1e-4)], "lifted_features")], "root_features")
    graph.add("Sub", ["root_features", graph.number(0.01)], "centred")
    graph.add("Transpose", ["centred"], "by_channel", perm=[0, 2, 1])
    side = net.context.kernel_size[0] // 2
    kernel = [graph.constant(f"context_{part}", weights[f"context.{part}"]) for part in ("weight", "bias")]
    graph.add("Conv", ["by_channel", *kernel], "context_raw", pads=[side, side])
    graph.add("Relu", ["context_raw"], "context_positive")
    graph.add("Mul", ["context_positive", "context_positive"], "context_square")
    return graph.add("Transpose", ["context_square"], "context_features", perm=[0, 2, 1])


def _pool(graph: GraphBuilder, features: str, weights: Weights) -> None:
    """Masked mean and root-scaled sum over blocks, two dense layers, ``logits``."""
    graph.add("Unsqueeze", ["known", graph.whole(1)], "known_row")
    graph.add("MatMul", ["known_row", features], "total_row")
    graph.add("Squeeze", ["total_row", graph.whole(1)], "total")
    graph.add("Div", ["total", "count"], "mean")
    graph.add("Sqrt", ["count"], "root_count")
    graph.add("Mul", ["root_count", graph.number(4.0)], "root_count4")
    graph.add("Div", ["total", "root_count4"], "scaled")
    graph.add("Concat", ["mean", "scaled"], "pooled", axis=1)
    graph.add("Sqrt", [graph.add("Add", ["pooled", graph.number(1e-4)], "lifted")], "root")
    for name, data, result in (("first", "root", "hidden_raw"), ("second", "hidden", "logits")):
        layer = [graph.constant(f"{name}_{part}", weights[f"pool.{name}.{part}"]) for part in ("weight", "bias")]
        graph.add("Gemm", [data, *layer], result, transB=1)
        if name == "first":
            graph.add("Relu", ["hidden_raw"], "hidden")
