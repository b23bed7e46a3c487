"""GPN (Benegas et al. 2023) in its published variants: ConvNet and ByteNet encoders, and the first models' ConvNet.

Windows are single bases; a window's output depends on where it ends, so padding is not exact.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from edgeseq.manifest import TaskKind
from export.checkpoint import Checkpoint
from export.errors import FamilyError
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
    options: dict[str, str] = {  # noqa: RUF012
        "input": "probabilities: the graph also takes input_probs, of each token at each base; they count where not 0",
    }

    def recognises(self, checkpoint: Checkpoint) -> bool:
        kind = checkpoint.config.get("model_type")
        return kind == "GPN" or (
            kind == "ConvNet" and any(_LEGACY_TENSOR.endswith(name) for name in checkpoint.tensors)
        )

    def read(self, checkpoint: Checkpoint, request: Request) -> Model:
        settings = Settings(checkpoint.config, checkpoint.config_file)
        legacy = checkpoint.config.get("model_type") == "ConvNet"
        shape = _legacy_shape(settings) if legacy else _shape(settings)
        if _takes_probabilities(checkpoint, request, shape):
            shape = replace(shape, probabilities=True)
        task = task_of(checkpoint, _as_trained(checkpoint, request), self.tasks, "masked-lm")
        head = _head(checkpoint, request, settings, task, legacy=legacy)
        network = GpnNetwork(shape, head)
        loaded = load_weights(network, checkpoint.tensors, _layout(legacy, head), checkpoint, task=task)
        return Model(
            network=network,
            task=task,
            labels=output_names(checkpoint, request, task, head.outputs),
            tokenizer=tokenizer_spec(checkpoint.folder),
            max_length=request.max_length or LONGEST,
            loaded=loaded,
            pads_exactly=False,
            notes=_notes(shape),
        )


def _takes_probabilities(checkpoint: Checkpoint, request: Request, shape: GpnShape) -> bool:
    said = request.options.get("input", "ids")
    if said not in ("ids", "probabilities"):
        raise FamilyError(checkpoint, f"input is {said!r}; known: ids, probabilities")
    if said == "probabilities" and shape.embedded:
        raise FamilyError(checkpoint, "it looks bases up in a table, so it takes no probabilities of them")
    return said == "probabilities"


def _notes(shape: GpnShape) -> tuple[str, ...]:
    found = []
    if shape.probabilities:
        found.append(
            "Needs input_probs beside input_ids: probabilities of each token, which count wherever one is not 0. "
            "It cannot score reads without them."
        )
    if shape.features:
        found.append(
            f"Needs aux_features beside the bases: {shape.features} whole numbers below {shape.values} for each base. "
            "It cannot score reads without them."
        )
    return tuple(found)


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
    width = settings.whole("hidden_size")
    depthwise, slim = settings.flag("depthwise", False), settings.flag("slim", False)
    if encoder == "bytenet" and slim and depthwise:
        settings.refuse("slim", "is true, and depthwise as well; such a network cannot be built")
    inner = settings.whole("intermediate_size") if encoder == "convnet" else width // 2 if slim else width
    layers = settings.whole("num_hidden_layers")
    embedded = settings.text("embedding", "one_hot", choices=("one_hot", "embedding")) == "embedding"
    features, values = _features(settings, width, embedded=embedded)
    first, rest = settings.whole("first_kernel_size", 9), settings.whole("rest_kernel_size", 5)
    return GpnShape(
        encoder=encoder,
        vocabulary=settings.whole("vocab_size"),
        width=width,
        inner=inner,
        taps=tuple(first if number == 0 else rest for number in range(layers)),
        dilations=_dilations(settings, layers, settings.whole("dilation_cycle"), settings.whole("dilation_max")),
        depthwise=depthwise,
        bias=settings.flag("bias", False),
        embedded=embedded,
        features=features,
        values=values,
    )


def _legacy_shape(settings: Settings) -> GpnShape:
    layers, width = settings.whole("n_layers"), settings.whole("hidden_size")
    features, values = _features(settings, width, embedded=False)
    return GpnShape(
        encoder="legacy",
        vocabulary=settings.whole("vocab_size"),
        width=width,
        inner=width,
        taps=(settings.whole("kernel_size", 9),) * layers,
        dilations=_dilations(settings, layers, settings.whole("dilation_cycle", 6), settings.whole("dilation_max", 32)),
        depthwise=False,
        bias=True,
        embedded=False,
        features=features,
        values=values,
    )


def _features(settings: Settings, width: int, *, embedded: bool) -> tuple[int, int]:
    """How many features each base has, and how many values each of them; the channels of both are configured."""
    taken = settings.whole("n_aux_features", 0, least=0)
    vocabulary = settings.whole("vocab_size")
    if not embedded and vocabulary + taken > width:
        settings.refuse("hidden_size", f"is {width}; vocab_size and n_aux_features need {vocabulary + taken} channels")
    if not taken:
        return 0, 1
    if embedded:
        settings.refuse("n_aux_features", f"is {taken}, which a table of embeddings has no channels for")
    values = settings.whole("aux_features_vocab_size")
    if taken % values:
        settings.refuse("n_aux_features", f"is {taken}, not a multiple of aux_features_vocab_size")
    return taken // values, values


def _dilations(settings: Settings, layers: int, cycle: int, most: int) -> tuple[int, ...]:
    every, base = settings.whole("dilation_double_every", 1), settings.whole("dilation_base", 2)
    return tuple(min(most, base ** ((number % cycle) // every)) for number in range(layers))


def _head(checkpoint: Checkpoint, request: Request, settings: Settings, task: TaskKind, *, legacy: bool) -> GpnHead:
    if task == "masked-lm":
        return GpnHead("words", transforms=settings.flag("mlm_head_transform", True))
    if task not in _LABELLED:
        return GpnHead("none")
    settings.text("classification_head", "standard", choices=("standard",))
    name = "gelu" if legacy else settings.text("hidden_act", "gelu", choices=tuple(ACTIVATIONS))
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
