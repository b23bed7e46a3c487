"""What number formats cost and change on Arm processors: the figures behind the preferences of device profiles.

    python benchmarks/formats.py

One transformer (4 layers of 256 channels, 8 heads, 256 tokens, random weights) in six formats. For each: millions of
instructions of one inference on a Cortex-A72 and a Cortex-A76, counted under emulation, and the largest difference of
its logits between this machine and each of them, on one window. The first run builds the emulator; all takes minutes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from devices.compare import compare
from devices.count import count
from devices.environment import environment
from edgeseq.bundle import write_bundle
from edgeseq.manifest import Graph, Input, Manifest, Task, Tensor
from edgeseq.session import Session

CHANNELS, HEADS, LAYERS, INNER, TOKENS, LABELS = 256, 8, 4, 1024, 256, 3


class Builder:
    """The nodes and weights of a graph while it is being written down."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)

    def constant(self, array: NDArray[Any]) -> str:
        """Its name."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def weights(self, *shape: int) -> str:
        """The name of random weights that keep the size of what they multiply."""
        return self.constant(self._random.normal(0, shape[0] ** -0.5, shape).astype(np.float32))

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """The name of its output."""
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def dense(self, x: str, inner: int, outer: int) -> str:
        """A product with weights, and a bias."""
        product = self.node("MatMul", x, self.weights(inner, outer))
        return self.node("Add", product, self.constant(np.zeros(outer, np.float32)))

    def normalised(self, x: str) -> str:
        """A layer normalisation."""
        scale, bias = np.ones(CHANNELS, np.float32), np.zeros(CHANNELS, np.float32)
        return self.node("LayerNormalization", x, self.constant(scale), self.constant(bias), axis=-1)

    def layer(self, x: str) -> str:
        """Attention and a two-layer perceptron, each beside a residual."""
        split = self.constant(np.array([0, 0, HEADS, CHANNELS // HEADS], np.int64))
        joined = self.constant(np.array([0, 0, CHANNELS], np.int64))
        scale = self.constant(np.array((CHANNELS // HEADS) ** -0.5, np.float32))
        h = self.normalised(x)
        q, k, v = (
            self.node("Transpose", self.node("Reshape", self.dense(h, CHANNELS, CHANNELS), split), perm=order)
            for order in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        )
        shares = self.node("Softmax", self.node("Mul", self.node("MatMul", q, k), scale), axis=-1)
        seen = self.node("Transpose", self.node("MatMul", shares, v), perm=[0, 2, 1, 3])
        x = self.node("Add", x, self.dense(self.node("Reshape", seen, joined), CHANNELS, CHANNELS))
        wide = self.node("Relu", self.dense(self.normalised(x), CHANNELS, INNER))
        return self.node("Add", x, self.dense(wide, INNER, CHANNELS))


def transformer() -> onnx.ModelProto:
    """The graph in float32."""
    build = Builder()
    x = build.node("Gather", build.weights(6, CHANNELS), "input_ids")
    for _ in range(LAYERS):
        x = build.layer(x)
    mean = build.node("ReduceMean", x, build.constant(np.array([1], np.int64)), keepdims=0)
    build.nodes.append(helper.make_node("Identity", [build.dense(mean, CHANNELS, LABELS)], ["logits"]))
    graph = helper.make_graph(
        build.nodes,
        "transformer",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", LABELS])],
        build.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def static(weights: str, activations: str, *, reduce_range: bool = False) -> Callable[[Path, Path], None]:
    """Writes the graph with quantise and dequantise nodes around every product."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Windows(CalibrationDataReader):  # type: ignore[misc]  # the library has no types
        def __init__(self) -> None:
            self._rows = iter(windows(8, seed=2))

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            row = next(self._rows, None)
            return None if row is None else {"input_ids": row[None]}

    types = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}

    def write(source: Path, target: Path) -> None:
        quantize_static(
            source,
            target,
            Windows(),
            quant_format=QuantFormat.QDQ,
            activation_type=types[activations],
            weight_type=types[weights],
            reduce_range=reduce_range,
            op_types_to_quantize=["MatMul"],
        )

    return write


def four_bits(source: Path, target: Path) -> None:
    """Writes the graph with weights of 4 bits in blocks of 32; the engine may round activations to 8 bits."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(onnx.load(source), bits=4, block_size=32, is_symmetric=True, accuracy_level=4)
    quantizer.process()
    onnx.save(quantizer.model.model, target)


def half(source: Path, target: Path) -> None:
    """Writes the graph in half precision."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


def formats() -> Mapping[str, Callable[[Path, Path], None] | None]:
    """Activations × weights → what writes that graph; None is the graph as it is."""
    return {
        "float32": None,
        "int8 × int8": static("int8", "int8"),
        "uint8 × int8, 7 bits": static("int8", "uint8", reduce_range=True),
        "uint8 × uint8": static("uint8", "uint8"),
        "float32 × int4": four_bits,
        "float16": half,
    }


def windows(rows: int, *, seed: int) -> NDArray[np.int64]:
    """Random ids of bases: (rows, tokens)."""
    return np.random.default_rng(seed).integers(0, 4, (rows, TOKENS))


def pack(graph: bytes, path: Path) -> Path:
    """A bundle with that graph, whose golden case is a window and what the graph says about it here."""
    ids = windows(1, seed=3)
    manifest = Manifest(
        name="formats",
        version="1",
        licence="Apache-2.0",
        task=Task("sequence-classification", ("a", "b", "c")),
        input=Input(window=TOKENS, stride=TOKENS, minimum=16, buckets=(TOKENS,)),
        graph=Graph(
            opset=18,
            precision="float32",
            inputs=(Tensor("input_ids", "int64", ("batch", "length")),),
            outputs=(Tensor("logits", "float32", ("batch", LABELS)),),
        ),
    )
    write_bundle(
        path,
        manifest=manifest,
        graph=graph,
        tokenizer={"type": "nucleotide", "vocabulary": {"A": 0, "C": 1, "G": 2, "T": 3, "N": 4}, "pad": 5},
        golden={
            "input_ids.0": ids,
            "logits.0": Session(graph).run({"input_ids": ids})["logits"],
            "tolerance": np.array(1.0),
        },
        report={},
        card="# formats\n",
    )
    return path


def main() -> None:
    """Prints the table as Markdown."""
    built = environment(print)
    print("| activations × weights | bytes | A72 | A76 | A72 – here | A76 – here | A72 – A76 |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "float32.onnx"
        onnx.save(transformer(), source)
        for label, write in formats().items():
            path = source
            if write is not None:
                path = Path(name) / "other.onnx"
                write(source, path)
            bundle = pack(path.read_bytes(), Path(name) / "formats.edgeseq")
            small, large = count(bundle, batch=1, times=1, built=built)
            apart = [pair.golden for pair in compare(bundle, [], built=built).pairs]
            cells = [f"{sum(each.instructions.values()) / 1e6:.0f} M" for each in (small, large)]
            print(
                "|",
                " | ".join([label, f"{path.stat().st_size:,}", *cells, *(f"{x:.2g}" for x in apart)]),
                "|",
                flush=True,
            )


if __name__ == "__main__":
    main()
