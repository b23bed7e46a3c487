"""Bundles of all kinds whose output is known exactly, made here with onnx: the output of a token is a row of a table.

``per token`` kinds give (batch × length × values). With ``context`` a token's values are those of the mean of so many
tokens on either side and itself, zeros beyond the row, so that a token near the end of a window shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.bundle import write_bundle
from edgeseq.manifest import Graph, Input, Manifest, Task, TaskKind, Tensor

SINGLE: Mapping[str, Any] = {"type": "nucleotide", "vocabulary": {"A": 0, "C": 1, "G": 2, "T": 3, "N": 4}, "pad": 5}
"""One token for each base; ids 0 to 4 and padding 5."""
KMERS: Mapping[str, Any] = {
    "type": "kmer",
    "overlap": True,
    "k": 3,
    "letters": "ACGT",
    "first": 4,
    "unknown": 1,
    "pad": 0,
    "prefix": [2],
    "suffix": [3],
}
"""Overlapping 3-mers, ids 4 to 67, between a prefix and a suffix."""


def tiny_output(
    path: Path,
    table: NDArray[np.float32],
    *,
    kind: TaskKind,
    tokenizer: Mapping[str, Any] = SINGLE,
    reading: Input | None = None,
    context: int = 0,
    crop: bool = False,
    pooled: bool = False,
    task: Mapping[str, Any] | None = None,
    labels: Sequence[str] = (),
) -> Path:
    """``path``, now holding a bundle whose output for a token is the row of its id in ``table`` (ids × values).

    ``crop``: tokens without full context have no output. ``pooled``: the mean over all tokens of a row (no padding).
    """
    width = table.shape[1]
    output = "last_hidden_state" if kind == "embedding" else "logits"
    shape: tuple[int | str, ...] = ("batch", width) if pooled else ("batch", "length_out", width)
    manifest = Manifest(
        name="tiny",
        version="1",
        licence="Apache-2.0",
        task=replace(Task(kind=kind, labels=tuple(labels)), **(task or {})),
        input=reading or Input(window=64, stride=64, buckets=(16, 32, 64)),
        graph=Graph(
            opset=17,
            precision="float32",
            inputs=(Tensor("input_ids", "int64", ("batch", "length")),),
            outputs=(Tensor(output, "float32", shape),),
        ),
    )
    ids = np.arange(12, dtype=np.int64)[None, :] % len(table)
    write_bundle(
        path,
        manifest=manifest,
        graph=_graph(table, output, shape, context, crop, pooled),
        tokenizer=dict(tokenizer),
        golden={
            "input_ids.0": ids,
            f"{output}.0": output_of(table, ids, context, crop=crop, pooled=pooled),
            "tolerance": np.array(1e-4),
        },
        report={},
        card="# tiny\n\nFor tests only.\n",
    )
    return path


def output_of(
    table: NDArray[np.float32], ids: NDArray[np.int64], context: int = 0, *, crop: bool = False, pooled: bool = False
) -> NDArray[np.float32]:
    """What the graph gives for ids, in numpy."""
    values = table[ids]
    width = 2 * context + 1
    padded = np.pad(values, ((0, 0), (0, 0) if crop else (context, context), (0, 0)))
    tokens = padded.shape[1] - 2 * context
    mean = sum(padded[:, shift : shift + tokens] for shift in range(width)) / np.float32(width)
    found: NDArray[np.float32] = np.asarray(mean.mean(axis=1) if pooled else mean, np.float32)
    return found


def _graph(
    table: NDArray[np.float32], output: str, shape: tuple[int | str, ...], context: int, crop: bool, pooled: bool
) -> bytes:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    width = table.shape[1]
    kernel = np.zeros((width, width, 2 * context + 1), np.float32)
    for value in range(width):
        kernel[value, value] = 1 / (2 * context + 1)
    pads = [0, 0] if crop else [context, context]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("Transpose", ["tokens"], ["channels"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["channels", "kernel"], ["mean"], pads=pads),
        helper.make_node("Transpose", ["mean"], ["back" if pooled else output], perm=[0, 2, 1]),
    ]
    if pooled:
        nodes.append(helper.make_node("ReduceMean", ["back"], [output], axes=[1], keepdims=0))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, list(shape))],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="tests")
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))
