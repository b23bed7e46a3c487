"""GPN (Benegas et al. 2023) in its published variants: ConvNet and ByteNet encoders, and the first models' ConvNet.

Windows are single bases; a window's output depends on where it ends, so padding is not exact.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from edgeseq.manifest import TaskKind
from export.checkpoint import Checkpoint
from export.network import Model, Request
from export.networks.gpn import Encoder, GpnHead, GpnNetwork, GpnShape
from export.operators.activations import ACTIVATIONS
from export.settings import Settings
from export.tasks import labels_of, output_names, task_of
from export.tokenizer import tokenizer_spec
from export.weights import Layout, load_weights

LONGEST = 512
"""The window that the published models were trained with, in bases; longer ones run as well."""
_LABELLED = ("sequence-classification", "regression")
_LEGACY_TENSOR = "model.encoder.0.conv.1.weight"


class Gpn:
    """Reads GPN checkpoints."""

    name = "GPN"
    tokenizer = "single bases"
    tasks: tuple[TaskKind, ...] = ("masked-lm", "sequence-classification", "regression", "embedding")
    max_length = "512 bases (windows)"
    proven = "golden outputs"
    options: dict[str, str] = {}  # noqa: RUF012

    def recognises(self, checkpoint: Checkpoint) -> bool:
        kind = checkpoint.config.get("model_type")
        return kind == "GPN" or (
            kind == "ConvNet" and any(_LEGACY_TENSOR.endswith(name) for name in checkpoint.tensors)
        )

    def read(self, checkpoint: Checkpoint, request: Request) -> Model:
        settings = Settings(checkpoint.config, checkpoint.config_file)
        legacy = checkpoint.config.get("model_type") == "ConvNet"
        shape = _legacy_shape(settings) if legacy else _shape(settings)
        task = task_of(checkpoint, _as_trained(checkpoint, request), self.tasks, "masked-lm")
        head = _head(checkpoint, request, settings, task)
        network = GpnNetwork(shape, head)
        loaded = load_weights(network, checkpoint.tensors, _layout(legacy, head), checkpoint)
        return Model(
            network=network,
            task=task,
            labels=output_names(checkpoint, request, task, head.outputs),
            tokenizer=tokenizer_spec(checkpoint.folder),
            max_length=request.max_length or LONGEST,
            loaded=loaded,
            pads_exactly=False,
        )


def _as_trained(checkpoint: Checkpoint, request: Request) -> Request:
    """The request, asking for a classifier where nothing was asked for and the checkpoint holds one: the name of the
    architecture is often that of the model it was made from."""
    heads = {name.split(".")[0] for name in checkpoint.tensors}
    if request.task is not None or "classifier" not in heads or "cls" in heads:
        return request
    single = checkpoint.config.get("problem_type") == "regression" or _outputs(checkpoint, request) == 1
    return replace(request, task="regression" if single else "sequence-classification")


def _outputs(checkpoint: Checkpoint, request: Request) -> int:
    last = checkpoint.tensors.get("classifier.out_proj.weight")
    return len(labels_of(checkpoint, request)) or 2 if last is None or last.ndim != 2 else int(last.shape[0])


def _shape(settings: Settings) -> GpnShape:
    encoder = cast(Encoder, settings.text("encoder", choices=("convnet", "bytenet")))
    _refuse_features(settings)
    width = settings.whole("hidden_size")
    depthwise, slim = settings.flag("depthwise", False), settings.flag("slim", False)
    if encoder == "bytenet" and slim and depthwise:
        settings.refuse("slim", "is true, and depthwise as well; such a network cannot be built")
    inner = settings.whole("intermediate_size") if encoder == "convnet" else width // 2 if slim else width
    layers = settings.whole("num_hidden_layers")
    first, rest = settings.whole("first_kernel_size", 9), settings.whole("rest_kernel_size", 5)
    return GpnShape(
        encoder=encoder,
        vocabulary=settings.whole("vocab_size"),
        width=width,
        inner=inner,
        taps=tuple(first if number == 0 else rest for number in range(layers)),
        dilations=_dilations(settings, layers),
        depthwise=depthwise,
        bias=settings.flag("bias", False),
        embedded=settings.text("embedding", "one_hot", choices=("one_hot", "embedding")) == "embedding",
    )


def _legacy_shape(settings: Settings) -> GpnShape:
    _refuse_features(settings)
    layers = settings.whole("n_layers")
    return GpnShape(
        encoder="legacy",
        vocabulary=settings.whole("vocab_size"),
        width=settings.whole("hidden_size"),
        inner=settings.whole("hidden_size"),
        taps=(settings.whole("kernel_size", 9),) * layers,
        dilations=_dilations(settings, layers),
        depthwise=False,
        bias=True,
        embedded=False,
    )


def _refuse_features(settings: Settings) -> None:
    if settings.whole("n_aux_features", 0, least=0):
        settings.refuse("n_aux_features", "is not 0; GPN with further features per base is not implemented")


def _dilations(settings: Settings, layers: int) -> tuple[int, ...]:
    cycle, every = settings.whole("dilation_cycle", 6), settings.whole("dilation_double_every", 1)
    base, most = settings.whole("dilation_base", 2), settings.whole("dilation_max", 32)
    return tuple(min(most, base ** ((number % cycle) // every)) for number in range(layers))


def _head(checkpoint: Checkpoint, request: Request, settings: Settings, task: TaskKind) -> GpnHead:
    if task == "masked-lm":
        return GpnHead("words", transforms=settings.flag("mlm_head_transform", True))
    if task not in _LABELLED:
        return GpnHead("none")
    settings.text("classification_head", "standard", choices=("standard",))
    name = settings.text("hidden_act", "gelu", choices=tuple(ACTIVATIONS))
    return GpnHead("rows", outputs=_outputs(checkpoint, request), activation=ACTIVATIONS[name])


def _layout(legacy: bool, head: GpnHead) -> Layout:
    words = (
        (r"cls\.decoder\.0\.(.+)", r"cls.dense.\1"),
        (r"cls\.decoder\.2\.(.+)", r"cls.norm.\1"),
        (r"cls\.decoder\.3\.(.+)", r"cls.decoder.\1"),
        (r"cls\.transform\.0\.(.+)", r"cls.dense.\1"),
        (r"cls\.transform\.2\.(.+)", r"cls.norm.\1"),
    )
    layers = r"(?:model\.)?encoder\." if legacy else r"(?:model\.)?encoder\.layer\."
    another = "head of another task"
    unused = {}
    if head.kind != "words":
        unused[r"cls\..+"] = another
    if head.kind != "rows":
        unused[r"classifier\..+"] = another
    return Layout(
        renames=(
            *words,
            (r"(?:model\.)?embeddings\.word_embeddings\.weight", "embedding.weight"),
            (rf"{layers}(\d+\..+)", r"layers.\1"),
            (r"(?:model\.)?(ln_f\..+)", r"\1"),
        ),
        unused=unused,
    )


FAMILY = Gpn()
