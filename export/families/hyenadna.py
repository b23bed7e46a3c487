"""HyenaDNA (Nguyen et al. 2023), as published for transformers (``hyenadna-*-hf``) and by its authors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgeseq.manifest import Activation, TaskKind
from export.checkpoint import Checkpoint
from export.errors import FamilyError
from export.network import Model, Request
from export.networks.hyenadna import HyenaClassifierNetwork, HyenaLanguageNetwork, HyenaNetwork, HyenaShape
from export.settings import Settings
from export.switches import refuse_switches
from export.tasks import output_names, task_of
from export.tokenizer import tokenizer_spec
from export.weights import Layout, load_weights

LARGEST_TABLES = 64 << 20
"""Bytes of filters that a graph stores; larger ones are computed from their networks in each pass."""

_BACKBONE = r"(?:hyena\.|model\.)?(?:backbone\.)?"
_LAYER = _BACKBONE + r"layers\.(\d+)\."
_FILTER = _LAYER + r"mixer\.(?:layer\.)?filter_fn\."
_TO_FILTER = r"layers.\1.mixer.filter_fn."
_SWITCHES: Mapping[str, tuple[Any, ...]] = {
    "hyena_order": (2,),
    "use_bias": (True,),
    "attn_layer_idx": (),
    "attn_cfg": (),
}
_ORIGINAL_SWITCHES: Mapping[str, tuple[Any, ...]] = {
    "order": (2,),
    "normalized": (False,),
    "bidirectional": (False,),
    "num_heads": (1,),
    "num_blocks": (1,),
    "inner_factor": (1,),
    "outer_mixing": (False,),
    "post_order_ffn": (False,),
    "shift": (0.05,),
    "bias": (True,),
}
_ORIGINAL_PLAIN = frozenset(
    (
        "_name_",
        "emb_dim",
        "filter_order",
        "local_order",
        "short_filter_order",
        "l_max",
        "modulate",
        "w",
        "train_freq",
        "num_inner_mlps",
        "lr",
        "wd",
        "lr_pos_emb",
        "dropout",
        "filter_dropout",
        "fused_fft_conv",
        "fused_bias_fc",
        "jit_filter",
        "return_state",
    )
)
"""Settings of a layer of the original layout that are read here or do not change what a trained model computes."""


_RIGHT = (
    "Rows are padded on the right, where a causal model does not look; the published tokenizer pads on the left, which "
    "changes what the published model computes for the shorter rows of a batch."
)


class HyenaDna:
    """Reads HyenaDNA checkpoints of both layouts."""

    name = "HyenaDNA"
    tokenizer = "single bases"
    tasks: tuple[TaskKind, ...] = ("causal-lm", "sequence-classification", "regression", "embedding")
    max_length = "1,026 to 1,000,002 tokens"
    proven = "golden outputs"
    options: dict[str, str] = {}  # noqa: RUF012

    def recognises(self, checkpoint: Checkpoint) -> bool:
        layer = checkpoint.config.get("layer")
        original = isinstance(layer, Mapping) and layer.get("_name_") == "hyena"
        named = original or checkpoint.config.get("model_type") == "hyenadna"
        return named and any(re.fullmatch(_FILTER + r"pos_emb\.z", name) for name in checkpoint.tensors)

    def read(self, checkpoint: Checkpoint, request: Request) -> Model:
        """The model. Raises `CheckpointError` and `FamilyError`."""
        settings = Settings(checkpoint.config, checkpoint.config_file)
        original = checkpoint.config.get("model_type") != "hyenadna"
        task = task_of(checkpoint, request, self.tasks, "causal-lm")
        shape = (_original_shape if original else _shape)(checkpoint, settings, request)
        tied = original or settings.flag("tie_word_embeddings", False)
        pad = settings.whole("pad_token_id", least=0) if "pad_token_id" in settings else None
        outputs = 0
        network: HyenaNetwork
        if task == "causal-lm":
            network = HyenaLanguageNetwork(shape, tied=tied)
        elif task == "embedding":
            network = HyenaNetwork(shape)
        else:
            outputs = _outputs(checkpoint)
            network = HyenaClassifierNetwork(shape, outputs=outputs, pad=pad)
        loaded = load_weights(
            network, checkpoint.tensors, _layout(checkpoint, shape, task, tied=tied), checkpoint, task=task
        )
        fold = 4 * shape.layers * shape.longest * shape.width <= LARGEST_TABLES
        network.settle(fold=fold)
        tokenizer = tokenizer_spec(checkpoint.folder)
        several = settings.text("problem_type", "") == "multi_label_classification"
        activation: Activation = "identity" if task == "regression" else "sigmoid" if several else "softmax"
        blind = isinstance(network, HyenaClassifierNetwork) and pad != tokenizer["pad"]
        return Model(
            network=network,
            task=task,
            tokenizer={**tokenizer, "pad_side": "right"},
            max_length=shape.longest,
            loaded=loaded,
            labels=output_names(checkpoint, request, task, outputs),
            activation=activation,
            ids_below=int(tokenizer["pad"]) + 1 if blind else 0,
            pads_exactly=not blind,
            notes=(
                _RIGHT,
                "The long filters are stored as tables."
                if fold
                else "The long filters are computed from their networks in each pass; as tables they would take "
                f"{4 * shape.layers * shape.longest * shape.width / 1e6:,.0f} MB (--max-length makes them smaller).",
            ),
        )


def _outputs(checkpoint: Checkpoint) -> int:
    score = next((value for name, value in checkpoint.tensors.items() if name == "score.weight"), None)
    if score is None or score.ndim != 2:
        raise FamilyError(checkpoint, "has no classifier (tensor score.weight)", remedy="--task causal-lm or embedding")
    return int(score.shape[0])


def _shape(checkpoint: Checkpoint, settings: Settings, request: Request) -> HyenaShape:
    refuse_switches(checkpoint, _SWITCHES)
    width = settings.whole("d_model")
    return HyenaShape(
        width=width,
        layers=settings.whole("n_layer"),
        inner=settings.whole("d_inner", 4 * width),
        vocabulary=_padded(settings),
        filter_width=settings.whole("filter_order", 64),
        features=settings.whole("emb_dim", 3),
        inner_filters=settings.whole("num_inner_mlps", 2, least=0),
        taps=settings.whole("short_filter_order", 3),
        positions=settings.whole("max_seq_len"),
        longest=_longest(checkpoint, settings.whole("max_seq_len"), request),
        epsilon=settings.number("layer_norm_epsilon", 1e-5),
        frequency=None if settings.flag("train_freq", True) else settings.number("activation_freq"),
    )


def _original_shape(checkpoint: Checkpoint, settings: Settings, request: Request) -> HyenaShape:
    layer = settings.inner("layer")
    stored = checkpoint.config["layer"]
    for key, value in stored.items():
        if key not in _ORIGINAL_PLAIN and value not in _ORIGINAL_SWITCHES.get(key, ()):
            layer.refuse(key, f"is {value!r}, which changes what the model computes and is not implemented")
    refuse_switches(checkpoint, _SWITCHES)
    width = settings.whole("d_model")
    return HyenaShape(
        width=width,
        layers=settings.whole("n_layer"),
        inner=settings.whole("d_inner", 4 * width),
        vocabulary=_padded(settings),
        filter_width=layer.whole("filter_order", 64),
        features=layer.whole("emb_dim", 3),
        inner_filters=layer.whole("num_inner_mlps", 2, least=0),
        taps=layer.whole("short_filter_order", 3),
        positions=layer.whole("l_max"),
        longest=_longest(checkpoint, layer.whole("l_max"), request),
        epsilon=settings.number("layer_norm_epsilon", 1e-5),
        frequency=None if layer.flag("train_freq", True) else layer.number("w", 1),
        modulated=layer.flag("modulate", True),
    )


def _padded(settings: Settings) -> int:
    rows, multiple = settings.whole("vocab_size"), settings.whole("pad_vocab_size_multiple", 8)
    return -(-rows // multiple) * multiple


def _longest(checkpoint: Checkpoint, positions: int, request: Request) -> int:
    if request.max_length is not None and request.max_length > positions:
        raise FamilyError(
            checkpoint, f"rows of {request.max_length} tokens are longer than the model's {positions} positions"
        )
    return request.max_length or positions


def _layout(checkpoint: Checkpoint, shape: HyenaShape, task: TaskKind, *, tied: bool) -> Layout:
    embeddings = "embeddings.word_embeddings.weight"
    renames = [
        (_BACKBONE + r"embeddings\.word_embeddings\.weight", r"embeddings.weight"),
        (_FILTER + r"pos_emb\.([zt])", _TO_FILTER + r"\2"),
        (_FILTER + r"modulation\.deltas", _TO_FILTER + "deltas"),
        (_FILTER + r"implicit_filter\.1\.freq", _TO_FILTER + "freq"),
        (_FILTER + rf"implicit_filter\.{2 * shape.inner_filters + 2}\.weight", _TO_FILTER + "last.weight"),
    ]
    renames += [
        (_FILTER + rf"implicit_filter\.{2 * number}\.(weight|bias)", _TO_FILTER + rf"linear.{number}.\2")
        for number in range(shape.inner_filters + 1)
    ]
    renames += [
        (_LAYER + r"(mixer|mlp)\.(?:layer\.)?(.+)", r"layers.\1.\2.\3"),
        (_LAYER + r"(norm\d\..+)", r"layers.\1.\2"),
        (_BACKBONE + r"ln_f\.(.+)", r"ln_f.\1"),
        (r"(?:model\.)?lm_head\.weight", "head.weight") if task == "causal-lm" else (r"score\.weight", "head.weight"),
    ]
    aliases = [(r"(.+\.implicit_filter)\.(?!1\.)\d+\.freq", r"\1.1.freq")]
    if tied:
        aliases += [(r"lm_head\.weight", rf"hyena.backbone.{embeddings}")]
        aliases += [(r"model\.lm_head\.weight", rf"model.backbone.{embeddings}")]
    unused = (
        {r"(model\.)?lm_head\.weight": "the task that was asked for does not decode"} if task != "causal-lm" else {}
    )
    if task == "embedding":
        unused[r"score\.weight"] = "the task that was asked for does not classify"
    optional = {} if shape.modulated else {r".*\.deltas": "the filters do not fade"}
    return Layout(
        renames=tuple(renames),
        aliases=tuple(aliases),
        unused=unused,
        optional=optional,
        published=_published(checkpoint, shape),
    )


def _published(checkpoint: Checkpoint, shape: HyenaShape) -> tuple[tuple[str, str], ...]:
    """What the parts of a filter are called in this checkpoint."""
    example = next(match for name in checkpoint.tensors if (match := re.fullmatch(rf"({_LAYER}).*filter_fn\..*", name)))
    outer = example.group(1).removesuffix(f"{example.group(2)}.")
    inner = "mixer.layer." if "mixer.layer." in example.group() else "mixer."
    ours, theirs = r"layers\.(\d+)\.mixer\.filter_fn\.", rf"{outer}\1.{inner}filter_fn."
    return (
        (ours + "([zt])", theirs + r"pos_emb.\2"),
        (ours + "deltas", theirs + "modulation.deltas"),
        (ours + "freq", theirs + "implicit_filter.1.freq"),
        (ours + r"last\.weight", theirs + f"implicit_filter.{2 * shape.inner_filters + 2}.weight"),
        *(
            (ours + rf"linear\.{number}\.(.+)", theirs + rf"implicit_filter.{2 * number}.\2")
            for number in range(shape.inner_filters + 1)
        ),
    )


FAMILY = HyenaDna()
