"""The manifest of a bundle: everything that the runtime needs to know about a model, as data.

Plain frozen dataclasses, read from and written to ``manifest.json`` by `Manifest.from_json` and `Manifest.to_json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NoReturn, cast, get_args

from edgeseq.errors import BundleDamagedError, BundleVersionError
from edgeseq.fields import Fields, parse_object

FORMAT_VERSION = 1
IDS, SIGNAL = "input_ids", "signal"
"""The graph's first input: rows of token ids, or rows of samples."""
MEMBER = "manifest.json"
DTYPES = ("bool", "float16", "float32", "float64", "int8", "int32", "int64", "uint8")

TaskKind = Literal[
    "sequence-classification", "token-classification", "regression", "masked-lm", "causal-lm", "embedding"
]
Activation = Literal["softmax", "sigmoid", "identity"]
Alphabet = Literal["dna", "protein", "signal"]
"""``signal``: samples of a pore's current. The graph takes rows of them as ``signal``, and there is no tokenizer."""
Strand = Literal["forward", "mean", "equivariant"]


@dataclass(frozen=True, slots=True)
class Abstention:
    """When a read is ``unclassified``. All limits apply after temperature."""

    minimum_score: float = 0.0
    """Lowest winning probability that is still a call, for labels without an own threshold."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Label → lowest winning probability that is still a call."""
    minimum_length: int = 0
    """Reads shorter than this, in bases, are never called."""
    maximum_n_fraction: float = 1.0
    """Reads with a larger share of N than this are never called."""


@dataclass(frozen=True, slots=True)
class Task:
    """What the graph's ``logits`` mean."""

    kind: TaskKind
    labels: tuple[str, ...] = ()
    activation: Activation = "softmax"
    temperature: float = 1.0
    """Logits are divided by this before the activation."""
    background: str = ""
    """The label that means "none of the others", or empty."""
    abstention: Abstention = field(default_factory=Abstention)


@dataclass(frozen=True, slots=True)
class Input:
    """How a read becomes rows of ``input_ids``."""

    alphabet: Alphabet = "dna"
    window: int = 1024
    """Window length, in bases (residues)."""
    stride: int = 1024
    """Distance between the starts of neighbouring windows, in bases."""
    minimum: int = 1
    """A last window shorter than this is not scored on its own: it is joined to the window before it, whose start moves
    back so that the last ``window`` bases of the read are seen."""
    strand: Strand = "forward"
    """``mean``: logits of both strands are averaged. ``equivariant``: the graph is built to treat both
    strands alike, and one is scored; how far they agree is for the model card to say."""
    buckets: tuple[int, ...] = ()
    """Token lengths that rows are padded to, ascending; the last holds a full window. Empty: no padding, one row a
    batch."""
    mixed_lengths: bool = True
    """False: rows of different token length may not share a batch (the graph has no mask)."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One graph input or output: name, element type (``int64``, ``float32`` …) and symbolic or fixed axes."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """The contract of ``model.onnx``."""

    opset: int
    precision: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    macs_per_base: float | None = None
    """Multiply–accumulates per base at a full window, as counted by the exporter."""
    reach: int = 0
    """Positions that the graph computes for each row beyond its tokens, as convolutions do that look far: a short row
    costs as much as this many tokens more. Left out of ``manifest.json`` where it is 0."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything about a bundle but its weights."""

    name: str
    version: str
    licence: str
    task: Task
    input: Input
    graph: Graph
    description: str = ""
    target: str = "generic"
    """The device profile that the bundle was made for."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """sha256 of source checkpoint and of every data set; tool versions; each pass with its settings."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Headline figures; the evidence is in ``report.json``."""
    members: Mapping[str, str] = field(default_factory=dict)
    """Name → sha256 (hex) of every other member of the bundle."""
    format: int = FORMAT_VERSION

    def to_json(self) -> bytes:
        """The manifest as ``manifest.json``: UTF-8, two spaces, the same bytes for the same manifest.

        Raises TypeError or ValueError where ``provenance`` or ``metrics`` hold what JSON has no word for.
        """
        values = asdict(self)
        if not self.graph.reach:
            del values["graph"]["reach"]
        text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8") + b"\n"

    @classmethod
    def from_json(cls, data: bytes, *, bundle: str = "manifest") -> Manifest:
        """The manifest that ``data`` holds, every value checked.

        Unknown keys are refused except inside ``provenance`` and ``metrics``, which are free-form. ``bundle`` names the
        file in errors.

        Raises BundleVersionError for another format version and BundleDamagedError, with the path of the key, for
        anything that is missing, of the wrong type or out of range.
        """

        def refuse(problem: str) -> NoReturn:
            raise BundleDamagedError(bundle, problem, member=MEMBER)

        fields = Fields(parse_object(data, refuse), "", refuse)
        version = fields.take("format")
        if version != FORMAT_VERSION or isinstance(version, (bool, float)):
            raise BundleVersionError(
                bundle,
                f"format version {version!r}; this runtime reads version {FORMAT_VERSION}",
                member=MEMBER,
                remedy="update edgeseq, or export the bundle again with this version",
            )
        manifest = cls(
            name=fields.text("name"),
            version=fields.text("version"),
            licence=fields.text("licence"),
            task=_read_task(fields.inner("task")),
            input=_read_input(fields.inner("input")),
            graph=_read_graph(fields.inner("graph")),
            description=fields.text("description", empty=True),
            target=fields.text("target"),
            provenance=fields.mapping("provenance"),
            metrics=fields.mapping("metrics"),
            members=_read_members(fields),
            format=FORMAT_VERSION,
        )
        fields.finish()
        _check_inputs(manifest, refuse=fields.refuse)
        _check_logits(manifest, refuse=fields.refuse)
        return manifest


def _read_task(fields: Fields) -> Task:
    kind = cast(TaskKind, fields.choice("kind", get_args(TaskKind)))
    labels = fields.items("labels")
    for i, label in enumerate(labels):
        if not isinstance(label, str) or not label.strip() or any(ord(character) < 32 for character in label):
            fields.refuse(f"labels[{i}]", f"is {label!r}, not a name")
        if label == "unclassified":
            fields.refuse(f"labels[{i}]", "is 'unclassified', the name of the call that is no call")
    if len(set(labels)) != len(labels):
        fields.refuse("labels", "names a label twice")
    activation = cast(Activation, fields.choice("activation", get_args(Activation)))
    if kind.endswith("-classification") and len(labels) < (2 if activation == "softmax" else 1):
        fields.refuse("labels", f"has {len(labels)} names: too few for {kind} with {activation}")
    background = fields.text("background", empty=True)
    if background and background not in labels:
        fields.refuse("background", f"is {background!r}, which is no label")
    task = Task(
        kind=kind,
        labels=tuple(labels),
        activation=activation,
        temperature=fields.number("temperature", positive=True),
        background=background,
        abstention=_read_abstention(fields.inner("abstention"), labels),
    )
    fields.finish()
    return task


def _read_abstention(fields: Fields, labels: list[str]) -> Abstention:
    thresholds = fields.numbers("thresholds", least=0.0, most=1.0)
    for label in thresholds:
        if label not in labels:
            fields.refuse(f"thresholds.{label}", "is a threshold for something that is no label")
    abstention = Abstention(
        minimum_score=fields.number("minimum_score", most=1.0),
        thresholds=thresholds,
        minimum_length=fields.whole("minimum_length", least=0),
        maximum_n_fraction=fields.number("maximum_n_fraction", most=1.0),
    )
    fields.finish()
    return abstention


def _read_input(fields: Fields) -> Input:
    buckets = fields.items("buckets")
    for i, bucket in enumerate(buckets):
        if not isinstance(bucket, int) or isinstance(bucket, bool) or bucket < 1:
            fields.refuse(f"buckets[{i}]", f"is {bucket!r}, not a length of 1 or more")
        if i and bucket <= buckets[i - 1]:
            fields.refuse(f"buckets[{i}]", f"is {bucket}, not larger than the one before it")
    found = Input(
        alphabet=cast(Alphabet, fields.choice("alphabet", get_args(Alphabet))),
        window=fields.whole("window", least=1),
        stride=fields.whole("stride", least=1),
        minimum=fields.whole("minimum", least=1),
        strand=cast(Strand, fields.choice("strand", get_args(Strand))),
        buckets=tuple(buckets),
        mixed_lengths=fields.flag("mixed_lengths"),
    )
    if found.stride > found.window:
        fields.refuse("stride", f"is {found.stride}, more than the window of {found.window}: bases would go unseen")
    if found.minimum > found.window:
        fields.refuse("minimum", f"is {found.minimum}, more than the window of {found.window}")
    if found.strand != "forward" and found.alphabet != "dna":
        fields.refuse("strand", f"is {found.strand!r}, but a {found.alphabet} has one strand")
    fields.finish()
    return found


def _read_graph(fields: Fields) -> Graph:
    macs = fields.take("macs_per_base", optional=True)
    if macs is not None and (not isinstance(macs, (int, float)) or isinstance(macs, bool) or not 0 < macs < 1e18):
        fields.refuse("macs_per_base", f"is {macs!r}, not a number larger than 0")
    reach = fields.take("reach", optional=True)
    if reach is not None and (not isinstance(reach, int) or isinstance(reach, bool) or not 0 <= reach < 1 << 31):
        fields.refuse("reach", f"is {reach!r}, not a number of positions")
    inputs = [_read_tensor(each) for each in fields.inners("inputs")]
    outputs = [_read_tensor(each) for each in fields.inners("outputs")]
    for key, tensors in (("inputs", inputs), ("outputs", outputs)):
        if not tensors:
            fields.refuse(key, "is empty")
        if len({tensor.name for tensor in tensors}) != len(tensors):
            fields.refuse(key, "names a tensor twice")
    graph = Graph(
        opset=fields.whole("opset", least=1),
        precision=fields.text("precision"),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        macs_per_base=None if macs is None else float(macs),
        reach=0 if reach is None else reach,
    )
    fields.finish()
    return graph


def _read_tensor(fields: Fields) -> Tensor:
    shape = fields.items("shape")
    for i, axis in enumerate(shape):
        if isinstance(axis, bool) or not ((isinstance(axis, int) and axis > 0) or (isinstance(axis, str) and axis)):
            fields.refuse(f"shape[{i}]", f"is {axis!r}, neither a size nor the name of an axis")
    tensor = Tensor(name=fields.text("name"), dtype=fields.choice("dtype", DTYPES), shape=tuple(shape))
    fields.finish()
    return tensor


def _read_members(fields: Fields) -> dict[str, str]:
    members = fields.mapping("members")
    for name, digest in members.items():
        if not isinstance(digest, str) or len(digest) != 64 or digest.strip("0123456789abcdef"):
            fields.refuse(f"members.{name}", "is not a sha256 in lower-case hex")
    return members


def _check_inputs(manifest: Manifest, refuse: Callable[[str, str], NoReturn]) -> None:
    """The graph takes ids of letters, or real numbers of a signal, never both."""
    inputs = {tensor.name: tensor for tensor in manifest.graph.inputs}
    signal = manifest.input.alphabet == "signal"
    wanted, other = (SIGNAL, IDS) if signal else (IDS, SIGNAL)
    if wanted not in inputs:
        refuse("graph.inputs", f"has no {wanted}")
    if other in inputs:
        refuse("graph.inputs", f"has {other}, but input.alphabet is {manifest.input.alphabet!r}")
    if signal and not inputs[SIGNAL].dtype.startswith("float"):
        refuse("graph.inputs", f"has a {SIGNAL} of {inputs[SIGNAL].dtype}, not of real numbers")


def _check_logits(manifest: Manifest, refuse: Callable[[str, str], NoReturn]) -> None:
    """Labels and the last axis of ``logits`` agree where the graph fixes it."""
    for tensor in manifest.graph.outputs:
        last = tensor.shape[-1] if tensor.shape else 1
        labels = len(manifest.task.labels)
        if tensor.name == "logits" and labels and isinstance(last, int) and last != labels:
            refuse("graph.outputs", f"gives {last} logits for {labels} labels")
