"""The ONNX graph of a trained `SeedNet`: base codes in, logits out, hashing inside the graph.

One convolution per seed reads the sampled bases as a number in base four on both strands (exact in float32 up to 12
bases) and counts unknown bases; the rest is integer arithmetic, one gather per seed and dense layers per block of 16
bases. Written operator by operator: what runs on the device is what stands here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.architectures import BLOCK, SeedNet
from export.seeds import Seed

OPSET = 18
PAD_ID = 5


class _Builder:
    """Collects nodes and initialisers; names follow the order of construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.initialisers.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output


def _seed_weights(seed: Seed) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Convolution kernel (3 × 2 × span) and bias (3,): forward code, reverse-complement code, number of unknown
    bases."""
    kernel = np.zeros((3, 2, seed.span), np.float32)
    for power, offset in enumerate(seed.offsets):
        kernel[0, 0, offset] = 4.0 ** (seed.weight - 1 - power)
        kernel[1, 0, offset] = -(4.0**power)
        kernel[2, 1, offset] = 1.0
    bias = np.array([0.0, 3.0 * sum(4.0**power for power in range(seed.weight)), 0.0], np.float32)
    return kernel, bias


def _seed_sums(graph: _Builder, number: int, seed: Seed, table: NDArray[np.float32], precision: str) -> str:
    """Nodes from ``bases`` (batch × 2 × length + span − 1) to the block sums of one seed (batch × blocks × width)."""
    at = f"seed{number}"
    kernel, bias = _seed_weights(seed)
    graph.add(
        "Slice",
        [
            "padded_bases",
            graph.constant("zero1", np.array([0])),
            _end(graph, seed),
            graph.constant("axis2", np.array([2])),
        ],
        f"{at}_bases",
    )
    graph.add(
        "Conv",
        [f"{at}_bases", graph.constant(f"{at}_kernel", kernel), graph.constant(f"{at}_bias", bias)],
        f"{at}_codes",
    )
    graph.add("Split", [f"{at}_codes", graph.constant("ones3", np.array([1, 1, 1]))], f"{at}_forward", axis=1)
    graph.nodes[-1].output.extend([f"{at}_reverse", f"{at}_unknown"])
    graph.add("Min", [f"{at}_forward", f"{at}_reverse"], f"{at}_canonical")
    graph.add("Cast", [f"{at}_canonical"], f"{at}_integer", to=TensorProto.INT32)
    graph.add("Mod", [f"{at}_integer", graph.constant(f"{at}_modulus", np.array(seed.rows, np.int32))], f"{at}_hashed")
    graph.add("Greater", [f"{at}_unknown", graph.constant("half", np.array(0.5, np.float32))], f"{at}_touched")
    graph.add(
        "Where",
        [f"{at}_touched", graph.constant(f"{at}_none", np.array(seed.rows, np.int32)), f"{at}_hashed"],
        f"{at}_rows",
    )
    values = table.copy()
    values[-1] = 0
    name = graph.constant(f"{at}_table", values.astype(np.float16 if precision == "fp16" else np.float32))
    if precision == "fp16":
        name = graph.add("Cast", [name], f"{at}_table32", to=TensorProto.FLOAT)
    blocks = graph.constant("blocks", np.array([0, -1, BLOCK]))
    graph.add(
        "Reshape",
        [graph.add("Squeeze", [f"{at}_rows", graph.constant("axis1", np.array([1]))], f"{at}_flat"), blocks],
        f"{at}_blocked",
    )
    graph.add("Gather", [name, f"{at}_blocked"], f"{at}_embedded", axis=0)
    return graph.add("ReduceSum", [f"{at}_embedded", graph.constant("axis2", np.array([2]))], f"{at}_sums", keepdims=0)


def _end(graph: _Builder, seed: Seed) -> str:
    """End of the slice that leaves length + span − 1 of the padded bases."""
    surplus = _LONGEST - seed.span
    return graph.constant(f"end{surplus}", np.array([np.iinfo(np.int64).max if surplus == 0 else -surplus]))


_LONGEST = 18


def seed_graph(net: SeedNet, *, precision: str = "fp16") -> onnx.ModelProto:
    """The model: ``input_ids`` int64 (batch × length, a multiple of 16) → ``logits`` float32 (batch × labels).

    ``precision`` is that of the stored tables (``fp16`` or ``fp32``); arithmetic is float32.
    """
    if max(seed.span for seed in net.seeds) > _LONGEST:
        raise ValueError(f"seeds longer than {_LONGEST} are not supported")
    weights = {name: tensor.detach().numpy() for name, tensor in net.state_dict().items()}
    graph = _Builder()
    graph.add("Cast", ["input_ids"], "codes", to=TensorProto.FLOAT)
    graph.add("Greater", ["codes", graph.constant("three", np.array(3.5, np.float32))], "is_unknown")
    graph.add("Cast", ["is_unknown"], "unknown", to=TensorProto.FLOAT)
    axis1 = graph.constant("axis1", np.array([1]))
    graph.add(
        "Concat",
        [graph.add("Unsqueeze", ["codes", axis1], "codes3"), graph.add("Unsqueeze", ["unknown", axis1], "unknown3")],
        "bases",
        axis=1,
    )
    tail = graph.constant("tail", np.array([0, 0, 0, 0, 0, _LONGEST - 1]))
    graph.add("Pad", ["bases", tail, graph.constant("one", np.array(1.0, np.float32))], "padded_bases", mode="constant")
    sums = [
        _seed_sums(graph, number, seed, weights[f"tables.{number}.weight"], precision)
        for number, seed in enumerate(net.seeds)
    ]
    total = graph.add("Concat", sums, "sums", axis=2) if len(sums) > 1 else sums[0]
    zero = graph.constant("zero", np.array(0.0, np.float32))
    edges = graph.constant("edges", np.array([0, 1, 0, 0, 1, 0]))
    graph.add("Pad", [total, edges, zero], "framed", mode="constant")
    far = graph.constant("far", np.array([np.iinfo(np.int64).max]))
    graph.add("Slice", ["framed", graph.constant("two1", np.array([2])), far, axis1], "following")
    graph.add(
        "Slice",
        ["framed", graph.constant("zero1", np.array([0])), graph.constant("minus2", np.array([-2])), axis1],
        "preceding",
    )
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


def _known(graph: _Builder) -> None:
    """``known`` (batch × blocks × 1): 1 where a block holds a known base; ``count`` (batch × 1) of such blocks, at
    least 1."""
    graph.add("Reshape", ["unknown", graph.constant("blocks", np.array([0, -1, BLOCK]))], "unknown_blocked")
    graph.add("ReduceMin", ["unknown_blocked", graph.constant("axis2", np.array([2]))], "all_unknown", keepdims=1)
    graph.add("Sub", [graph.constant("one", np.array(1.0, np.float32)), "all_unknown"], "known")
    graph.add("ReduceSum", ["known", graph.constant("axis1", np.array([1]))], "count_raw", keepdims=0)
    graph.add("Max", ["count_raw", graph.constant("one", np.array(1.0, np.float32))], "count")


def _context(graph: _Builder, net: SeedNet, weights: dict[str, NDArray[np.float32]]) -> str:
    """The hybrid's convolution over neighbouring blocks."""
    assert net.context is not None
    small = graph.constant("small", np.array(1e-4, np.float32))
    graph.add("Mul", ["features", "known"], "masked_features")
    graph.add("Sqrt", [graph.add("Add", ["masked_features", small], "lifted_features")], "root_features")
    graph.add("Sub", ["root_features", graph.constant("hundredth", np.array(0.01, np.float32))], "centred")
    graph.add("Transpose", ["centred"], "by_channel", perm=[0, 2, 1])
    side = net.context.kernel_size[0] // 2
    kernel = [graph.constant(f"context_{part}", weights[f"context.{part}"]) for part in ("weight", "bias")]
    graph.add("Conv", ["by_channel", *kernel], "context_raw", pads=[side, side])
    graph.add("Relu", ["context_raw"], "context_positive")
    graph.add("Mul", ["context_positive", "context_positive"], "context_square")
    return graph.add("Transpose", ["context_square"], "context_features", perm=[0, 2, 1])


def _pool(graph: _Builder, features: str, weights: dict[str, NDArray[np.float32]]) -> None:
    """Masked mean and root-scaled sum over blocks, two dense layers, ``logits``."""
    small = graph.constant("small", np.array(1e-4, np.float32))
    graph.add("Mul", [features, "known"], "pooled_terms")
    graph.add("ReduceSum", ["pooled_terms", graph.constant("axis1", np.array([1]))], "total", keepdims=0)
    graph.add("Div", ["total", "count"], "mean")
    graph.add("Sqrt", ["count"], "root_count")
    graph.add("Mul", ["root_count", graph.constant("four", np.array(4.0, np.float32))], "root_count4")
    graph.add("Div", ["total", "root_count4"], "scaled")
    graph.add("Concat", ["mean", "scaled"], "pooled", axis=1)
    graph.add("Sqrt", [graph.add("Add", ["pooled", small], "lifted")], "root")
    graph.add(
        "Gemm",
        [
            "root",
            graph.constant("first_weight", weights["pool.first.weight"]),
            graph.constant("first_bias", weights["pool.first.bias"]),
        ],
        "hidden_raw",
        transB=1,
    )
    graph.add("Relu", ["hidden_raw"], "hidden")
    graph.add(
        "Gemm",
        [
            "hidden",
            graph.constant("second_weight", weights["pool.second.weight"]),
            graph.constant("second_bias", weights["pool.second.bias"]),
        ],
        "logits",
        transB=1,
    )
