"""A real classifier over nucleotides in a few kilobytes, made here with onnx.

Each label likes one base: the first likes A, the second C, then G and T; a last label named ``other`` likes none and
wins on even composition. With ``strand="equivariant"`` the first label likes A and T, the second C and G, so that both
strands of a read get the same logits. Padding changes nothing: positions with the pad id are masked out of the
convolution and of the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeseq.bundle import write_bundle
from edgeseq.manifest import Abstention, Graph, Input, Manifest, Task, Tensor

VOCABULARY = {"A": 0, "C": 1, "G": 2, "T": 3, "N": 4}
PAD = 5
TOKENIZER: dict[str, Any] = {"type": "nucleotide", "vocabulary": VOCABULARY, "pad": PAD}
TOLERANCE = 1e-4


def tiny_bundle(
    path: Path,
    *,
    labels: Sequence[str] = ("a", "b", "other"),
    strand: Literal["forward", "mean", "equivariant"] = "forward",
    window: int = 64,
    stride: int = 64,
    minimum: int = 16,
    buckets: tuple[int, ...] = (16, 32, 64),
    mixed_lengths: bool = True,
    temperature: float = 1.0,
    abstention: Abstention | None = None,
    name: str = "tiny",
    graph: bytes | None = None,
) -> Path:
    """``path``, now holding a verified bundle."""
    weights = _weights(labels, strand)
    manifest = Manifest(
        name=name,
        version="1",
        licence="Apache-2.0",
        description="Likes bases",
        task=Task(
            kind="sequence-classification",
            labels=tuple(labels),
            temperature=temperature,
            background="other" if "other" in labels else "",
            abstention=abstention or Abstention(),
        ),
        input=Input(
            window=window,
            stride=stride,
            minimum=minimum,
            strand=strand,
            buckets=buckets,
            mixed_lengths=mixed_lengths,
        ),
        graph=Graph(
            opset=17,
            precision="float32",
            inputs=(Tensor("input_ids", "int64", ("batch", "length")),),
            outputs=(Tensor("logits", "float32", ("batch", len(labels))),),
            macs_per_base=float(weights["kernel"].size),
        ),
        provenance={"made_by": "tests/tiny_bundle.py"},
        metrics={"accuracy": 1.0},
    )
    write_bundle(
        path,
        manifest=manifest,
        graph=tiny_graph(weights) if graph is None else graph,
        tokenizer=TOKENIZER,
        golden=_golden(weights, window),
        report={"reads": 0},
        card="# tiny\n\nFor tests only.\n",
    )
    return path


def tiny_graph(weights: dict[str, NDArray[np.float32]]) -> bytes:
    """The network as ONNX: table lookup → convolution → masked mean → dense."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    constants: dict[str, NDArray[Any]] = {
        **weights,
        "pad": np.array(PAD, np.int64),
        "axis_length": np.array([2], np.int64),
        "axis_channel": np.array([1], np.int64),
        "one": np.array(1, np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["onehot_blc"]),
        helper.make_node("Transpose", ["onehot_blc"], ["onehot"], perm=[0, 2, 1]),
        helper.make_node("Less", ["input_ids", "pad"], ["is_base"]),
        helper.make_node("Cast", ["is_base"], ["mask_bl"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask_bl", "axis_channel"], ["mask"]),
        helper.make_node("Conv", ["onehot", "kernel"], ["features"], pads=[2, 2]),
        helper.make_node("Relu", ["features"], ["active"]),
        helper.make_node("Mul", ["active", "mask"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "axis_length"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "axis_length"], ["count"], keepdims=0),
        helper.make_node("Max", ["count", "one"], ["count_or_one"]),
        helper.make_node("Div", ["total", "count_or_one"], ["pooled"]),
        helper.make_node("Gemm", ["pooled", "dense", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", weights["dense"].shape[1]])],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="tests")
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def tiny_logits(weights: dict[str, NDArray[np.float32]], ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """The same network in numpy, written apart from the graph: (batch, labels)."""
    mask = (ids < PAD).astype(np.float64)
    onehot = weights["table"].astype(np.float64)[ids]
    padded = np.pad(onehot, ((0, 0), (2, 2), (0, 0)))
    length = ids.shape[1]
    features = sum(padded[:, k : k + length] @ weights["kernel"][:, :, k].T for k in range(5))
    active = np.maximum(features, 0.0) * mask[:, :, None]
    pooled = active.sum(axis=1) / np.maximum(mask.sum(axis=1), 1.0)[:, None]
    logits: NDArray[np.float32] = (pooled @ weights["dense"] + weights["bias"]).astype(np.float32)
    return logits


def _weights(labels: Sequence[str], strand: str) -> dict[str, NDArray[np.float32]]:
    table = np.zeros((6, 4), np.float32)
    table[:4] = np.eye(4)
    kernel = np.zeros((4, 4, 5), np.float32)
    kernel[:, :, 2] = np.eye(4)
    if strand != "equivariant":
        kernel += np.random.default_rng(7).normal(0, 0.02, kernel.shape).astype(np.float32)
    dense = np.zeros((4, len(labels)), np.float32)
    bias = np.zeros(len(labels), np.float32)
    base = 0
    for column, label in enumerate(labels):
        if label == "other":
            bias[column] = 5.0
        elif strand == "equivariant":
            dense[[base % 2, 3 - base % 2], column] = 7.0 - base // 2
            base += 1
        else:
            dense[base % 4, column] = 12.0 - base // 4
            base += 1
    return {"table": table, "kernel": kernel, "dense": dense, "bias": bias}


def _golden(weights: dict[str, NDArray[np.float32]], window: int) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(3)
    full = random.integers(0, 5, (2, window))
    padded = np.full((2, window), PAD, np.int64)
    padded[0, : window // 2] = random.integers(0, 4, window // 2)
    padded[1, : window // 4] = 0
    return {
        "input_ids.0": full,
        "logits.0": tiny_logits(weights, full),
        "input_ids.1": padded,
        "logits.1": tiny_logits(weights, padded),
        "tolerance": np.array(TOLERANCE),
    }
