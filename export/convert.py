"""A checkpoint as a bundle: read → module → graph → parity → bundle.

Nothing is written before everything has passed.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

import edgeseq
from edgeseq.bundle import write_bundle
from edgeseq.manifest import Graph, Manifest, Task, Tensor
from edgeseq.tokenizers import load_tokenizer
from export.checkpoint import open_checkpoint
from export.errors import FamilyError
from export.families import find
from export.network import Model, Request
from export.parity import Compared, compare, feed, run_module
from export.pruning.files import pruning_of
from export.reading import input_section
from export.rows import batch_for
from export.tracing import TorchExporter
from quantize.reach import LONG, measured_reach

GOLDEN_LENGTHS = (1, 16, 61)
_DTYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.DOUBLE: "float64",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.BOOL: "bool",
}

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Naming:
    """What a bundle is called, beyond what its checkpoint says."""

    name: str
    version: str = "1"
    licence: str = "unknown"
    description: str = ""


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written: where, and how far graph and module are apart."""

    path: Path
    family: str
    manifest: Manifest
    compared: Sequence[Compared]

    @property
    def worst(self) -> float:
        """The largest difference of all comparisons."""
        return max(one.worst for one in self.compared)


def convert(
    source: Path, output: Path, request: Request, naming: Naming, *, outputs: Sequence[str] = (), progress: Progress
) -> Converted:
    """A bundle at ``output`` from the checkpoint at ``source``.

    ``outputs`` are the graph's; without any, ``logits`` (an embedding model: ``last_hidden_state``). ``progress`` gets
    a few words at each step. Raises `CheckpointError`, `FamilyError`, `ParityError`, and BundleError where the bundle
    cannot be written.
    """
    progress("reading the checkpoint")
    checkpoint = open_checkpoint(source)
    family = find(checkpoint)
    for unknown in sorted(request.options.keys() - family.options.keys()):
        known = ", ".join(family.options) or "none"
        raise FamilyError(f"--option {unknown}", f"no option of {family.name}; it has {known}")
    model = family.read(checkpoint, request)
    model.network.eval()
    provenance: dict[str, Any] = {
        "checkpoint": {"files": checkpoint.weights.name, "sha256": checkpoint.sha256},
        "family": family.name,
        **pruning_of(checkpoint.folder),
    }
    return pack_model(model, output, naming, provenance, outputs=outputs, progress=progress)


def pack_model(
    model: Model,
    output: Path,
    naming: Naming,
    provenance: Mapping[str, Any],
    *,
    outputs: Sequence[str] = (),
    progress: Progress,
) -> Converted:
    """As `convert`, for a model that was read already; ``provenance`` says where it comes from."""
    outputs = tuple(outputs) or (("last_hidden_state",) if model.task == "embedding" else ("logits",))
    progress("making the graph")
    exporter = model.exporter or TorchExporter()
    proto = exporter.graph(model.network, outputs)
    graph = proto.SerializeToString(deterministic=True)
    progress("comparing graph and module")
    compared = compare(model, graph, outputs)
    progress("writing the bundle")
    manifest = Manifest(
        name=naming.name,
        version=naming.version,
        licence=naming.licence,
        description=naming.description,
        task=Task(kind=model.task, labels=model.labels, activation=model.activation),
        input=input_section(model),
        graph=Graph(
            opset=max(one.version for one in proto.opset_import if not one.domain),
            precision="float32",
            inputs=tuple(_tensor(value) for value in proto.graph.input),
            outputs=tuple(_tensor(value) for value in proto.graph.output),
            reach=_reach(model, graph),
        ),
        provenance={
            **provenance,
            "exporter": exporter.name,
            "tools": {name: version(name) for name in ("torch", "onnx", "onnxscript", "onnxruntime")}
            | {"edgeseq": edgeseq.__version__, "python": platform.python_version()},
        },
        metrics={"parity": max(one.worst for one in compared)},
    )
    write_bundle(
        output,
        manifest=manifest,
        graph=graph,
        tokenizer=load_tokenizer(model.tokenizer).spec() if model.tokenizer else {},
        golden=_golden(model, outputs),
        report=_report(model, provenance, compared),
        card=_card(model, naming, provenance, compared),
    )
    return Converted(output, str(provenance.get("family", "")), manifest, compared)


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    axes = (axis.dim_value or axis.dim_param or f"axis{at}" for at, axis in enumerate(kind.shape.dim))
    return Tensor(value.name, _DTYPES[kind.elem_type], tuple(axes))


def _reach(model: Model, graph: bytes) -> int:
    """What short rows cost beyond their tokens. Signals come in full windows."""
    if model.alphabet == "signal" or model.max_length < LONG:
        return 0
    return measured_reach(graph, lambda rows, length: feed(model, *batch_for(model, (length,) * rows)))


def _golden(model: Model, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
    """A few rows with what the module gives for them: the device's self-test."""
    found: dict[str, NDArray[Any]] = {"tolerance": np.array(10 * model.tolerance)}
    lengths = {max(length, model.min_length) for length in GOLDEN_LENGTHS if length <= model.max_length}
    for number, tokens in enumerate(sorted(lengths)):
        inputs = feed(model, *batch_for(model, (tokens,), seed=100))
        given = run_module(model, inputs)
        found |= {f"{name}.{number}": array for name, array in inputs.items()}
        found |= {f"{name}.{number}": given[name] for name in outputs}
    return found


def _report(model: Model, provenance: Mapping[str, Any], compared: Sequence[Compared]) -> dict[str, Any]:
    return {
        "source": dict(provenance),
        "exporter": (model.exporter or TorchExporter()).name,
        "parity": {
            "tolerance": model.tolerance,
            "worst": max(one.worst for one in compared),
            "cases": [one.as_json() for one in compared],
        },
        "weights": {
            "used": model.loaded.used,
            "published precision": list(model.loaded.precisions),
            "explained": dict(model.loaded.explained),
        },
        "notes": list(model.notes),
    }


def _card(model: Model, naming: Naming, provenance: Mapping[str, Any], compared: Sequence[Compared]) -> str:
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    worst = max(one.worst for one in compared)
    lengths = [length for one in compared for length in one.lengths]
    rows = f"batches, rows of {min(lengths)} to {max(lengths)} tokens"
    lines = [
        f"# {naming.name}",
        "",
        naming.description or f"A {model.task} model of the family {provenance.get('family', 'unknown')}.",
        "",
        f"- Licence: {naming.licence}",
        f"- Parameters: {parameters:,}; longest row: {model.max_length:,} tokens",
        f"- Labels: {', '.join(model.labels) or 'none'}",
        f"- Graph against module: largest difference {worst:.1e} over {len(compared)} {rows}",
        "- Accuracy: not measured by the exporter; it is that of the checkpoint as published",
        *(f"- {note}" for note in model.notes),
    ]
    return "\n".join(lines) + "\n"
