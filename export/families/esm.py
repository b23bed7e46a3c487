"""ESM-1b, ESM-1v and ESM-2 (Rives et al. 2021, Meier et al. 2021, Lin et al. 2023) and both first generations of the
Nucleotide Transformer (Dalla-Torre et al. 2023): one encoder, plain or with gated feed-forwards."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from edgeseq.manifest import Activation, TaskKind
from export.checkpoint import Checkpoint
from export.errors import FamilyError
from export.network import Model, Request
from export.networks.esm import EsmNetwork, EsmShape
from export.networks.heads import Head, MaskedHead, PooledHead, TokenHead
from export.operators.gelu import gelu
from export.settings import Settings
from export.tasks import labels_of, output_names, task_of
from export.tokenizer import tokenizer_spec
from export.weights import Layout, load_weights

TASKS: tuple[TaskKind, ...] = (
    "masked-lm",
    "sequence-classification",
    "token-classification",
    "regression",
    "embedding",
)
RESERVED = 2
"""Rows of ``max_position_embeddings`` that are no token's position: those up to the padding's."""

_NAMES = {
    "esm.embeddings.word_embeddings": "embeddings.words",
    "esm.embeddings.position_embeddings": "embeddings.positions",
    "esm.embeddings.layer_norm": "embeddings.norm",
    "esm.encoder.layer.*.attention.LayerNorm": "blocks.*.attention_norm",
    "esm.encoder.layer.*.attention.self.query": "blocks.*.attention.inputs.query",
    "esm.encoder.layer.*.attention.self.key": "blocks.*.attention.inputs.key",
    "esm.encoder.layer.*.attention.self.value": "blocks.*.attention.inputs.value",
    "esm.encoder.layer.*.attention.output.dense": "blocks.*.attention.output",
    "esm.encoder.layer.*.LayerNorm": "blocks.*.feed_forward_norm",
    "esm.encoder.layer.*.intermediate.dense": "blocks.*.feed_forward.wide",
    "esm.encoder.layer.*.output.dense": "blocks.*.feed_forward.narrow",
    "esm.encoder.emb_layer_norm_after": "norm",
}
"""Published names, which re-saved bare encoders have without the prefix ``esm.``, and the module's."""
_CLASSIFIER = {"classifier.dense": "head.pooler", "classifier.out_proj": "head.classifier"}
_HEADS: dict[TaskKind, dict[str, str]] = {
    "masked-lm": {
        "lm_head": "head",
        "lm_head.dense": "head.dense",
        "lm_head.layer_norm": "head.norm",
        "lm_head.decoder": "head.decoder",
    },
    "sequence-classification": _CLASSIFIER,
    "regression": _CLASSIFIER,
    "token-classification": {"classifier": "head.classifier"},
    "embedding": {},
}
_UNUSED = {
    r"(esm\.)?embeddings\.position_ids": "counts from 0",
    r"(esm\.)?encoder\.layer\.\d+\.attention\.self\.rotary_embeddings\.inv_freq": "follows from the size of a head",
    r"(esm\.)?contact_head\.regression\.(weight|bias)": "predicts contacts, which no output needs",
    r"(esm\.)?pooler\.dense\.(weight|bias)": "no output needs the pooled state",
}
_UNUSED_ROTARY = {r"(esm\.)?embeddings\.position_embeddings\.weight": "positions are rotary"}
_UNUSED_HEADS = {r"(lm_head|classifier)\..+": "the task that was asked for has no such head"}
_OTHER_MATHS: dict[str, tuple[object, ...]] = {
    "is_folding_model": (False, None),
    "esmfold_config": (None,),
    "is_decoder": (False, None),
    "add_cross_attention": (False, None),
    "hidden_act": ("gelu", None),
    "chunk_size_feed_forward": (0, None),
}
"""Settings that change what a model computes, with the values under which it computes what this module does."""
_ACTIVATIONS: dict[str, Activation] = {"multi_label_classification": "sigmoid"}


@dataclass(frozen=True, slots=True)
class Esm:
    """Reads the checkpoints of ESM's layout whose feed-forwards are ``gated``, or are not."""

    name: str
    tokenizer: str
    max_length: str
    gated: bool
    proven: str = "golden outputs"
    tasks: tuple[TaskKind, ...] = TASKS

    @property
    def options(self) -> dict[str, str]:
        """None."""
        return {}

    def recognises(self, checkpoint: Checkpoint) -> bool:
        """Configurations of Nucleotide Transformer v2 name no model type, or one whose plain code is another model:
        the shape of the first feed-forward tells the two apart."""
        config = checkpoint.config
        kind = config.get("model_type") or ("esm" if checkpoint.architecture.startswith("Esm") else "")
        return kind == "esm" and self.gated == _is_gated(checkpoint)

    def read(self, checkpoint: Checkpoint, request: Request) -> Model:
        """The model. Raises `CheckpointError` and `FamilyError`."""
        settings = Settings(checkpoint.config, checkpoint.config_file)
        task = task_of(checkpoint, request, self.tasks, "masked-lm")
        shape = _shape(checkpoint, settings, self.gated)
        outputs = _outputs(checkpoint) if task not in ("masked-lm", "embedding") else 0
        network = EsmNetwork(shape, _head(shape, settings, task, outputs))
        unused = dict(_UNUSED)
        if shape.rotary:
            unused |= _UNUSED_ROTARY
        if task == "embedding":
            unused |= _UNUSED_HEADS
        loaded = load_weights(network, checkpoint.tensors, _layout(settings, task, unused), checkpoint, task=task)
        tokenizer = tokenizer_spec(checkpoint.folder)
        problem = settings.text("problem_type", "")
        return Model(
            network=network,
            task=task,
            tokenizer=tokenizer,
            max_length=_max_length(checkpoint, request, shape),
            loaded=loaded,
            labels=output_names(checkpoint, request, task, outputs),
            activation="identity" if task == "regression" else _ACTIVATIONS.get(problem, "softmax"),
            alphabet="protein" if tokenizer.get("type") == "protein" else "dna",
            ids_below=shape.vocabulary,
        )


def _is_gated(checkpoint: Checkpoint) -> bool:
    ending = "encoder.layer.0.intermediate.dense.weight"
    first = next((value for name, value in checkpoint.tensors.items() if name.endswith(ending)), None)
    inner = checkpoint.config.get("intermediate_size")
    return first is not None and isinstance(inner, int) and first.shape[0] == 2 * inner


def _shape(checkpoint: Checkpoint, settings: Settings, gated: bool) -> EsmShape:
    for key, same in _OTHER_MATHS.items():
        if checkpoint.config.get(key) not in same:
            raise FamilyError(
                checkpoint.config_file, f"{key} is {checkpoint.config[key]!r}, which this family does not compute"
            )
    kinds = ("absolute", "rotary")
    position = checkpoint.config.get("position_embedding_type", "absolute")
    if position not in kinds:
        raise FamilyError(checkpoint.config_file, f"position_embedding_type is {position!r}; known: {', '.join(kinds)}")
    width, heads = settings.whole("hidden_size"), settings.whole("num_attention_heads")
    if width % heads or (position == "rotary" and (width // heads) % 2):
        settings.refuse("num_attention_heads", f"is {heads}, which does not divide hidden_size {width} into pairs")
    dropout = settings.flag("token_dropout", False)
    vocabulary = settings.whole("vocab_size")
    shape = EsmShape(
        width=width,
        heads=heads,
        layers=settings.whole("num_hidden_layers"),
        inner=settings.whole("intermediate_size"),
        vocabulary=vocabulary,
        positions=settings.whole("max_position_embeddings", least=RESERVED + 1),
        epsilon=settings.number("layer_norm_eps", 1e-12),
        rotary=position == "rotary",
        token_dropout=dropout,
        norm_before=settings.flag("emb_layer_norm_before", False),
        gated=gated,
        feed_forward_bias=settings.flag("add_bias_fnn", True),
        padding=settings.whole("pad_token_id", 1, least=0),
        mask=settings.whole("mask_token_id", least=0) if dropout else -1,
        left=settings.heads("pruned_heads", settings.whole("num_hidden_layers"), heads),
    )
    for key, token in (("pad_token_id", shape.padding), ("mask_token_id", shape.mask)):
        if token >= vocabulary:
            settings.refuse(key, f"is {token}, beyond the vocabulary of {vocabulary}")
    return shape


def _head(shape: EsmShape, settings: Settings, task: TaskKind, outputs: int) -> Head | None:
    if task == "embedding":
        return None
    if task == "masked-lm":
        tied = settings.flag("tie_word_embeddings", True)
        return MaskedHead(shape.width, shape.vocabulary, shape.epsilon, gelu, tied=tied)
    return (TokenHead if task == "token-classification" else PooledHead)(shape.width, outputs)


def _outputs(checkpoint: Checkpoint) -> int:
    """How many outputs a classifier has: as many as the configuration has labels, or the file has rows."""
    labels = labels_of(checkpoint, Request())
    names = ("classifier.out_proj.weight", "classifier.weight")
    rows = [len(checkpoint.tensors[name]) for name in names if name in checkpoint.tensors]
    return len(labels) or (rows[0] if rows else 2)


def _layout(settings: Settings, task: TaskKind, unused: Mapping[str, str]) -> Layout:
    names = (_NAMES | _HEADS[task]).items()
    return Layout(
        renames=tuple((_pattern(published), _replacement(own)) for published, own in names),
        published=tuple((_pattern(own), _replacement(published)) for published, own in names),
        aliases=_aliases(settings),
        unused=unused,
    )


def _pattern(name: str) -> str:
    optional = r"(?:esm\.)?" if name.startswith("esm.") else ""
    return optional + re.escape(name.removeprefix("esm.")).replace(r"\*", r"(\d+)") + r"\.(weight|bias)"


def _replacement(name: str) -> str:
    return name.replace("*", r"\1") + (r".\2" if "*" in name else r".\1")


def _aliases(settings: Settings) -> tuple[tuple[str, str], ...]:
    """What re-saved files hold twice."""
    bias = ((r"lm_head\.decoder\.bias", "lm_head.bias"),)
    if not settings.flag("tie_word_embeddings", True):
        return bias
    return (*bias, (r"lm_head\.decoder\.weight", "esm.embeddings.word_embeddings.weight"))


def _max_length(checkpoint: Checkpoint, request: Request, shape: EsmShape) -> int:
    """Learned positions end; rotary ones do not, and the published limit is what the model was trained with."""
    longest = shape.positions - (RESERVED if shape.rotary else shape.padding + 1)
    if request.max_length is None:
        return longest
    if request.max_length > longest and not shape.rotary:
        raise FamilyError(checkpoint, f"rows of {request.max_length} tokens; the model has positions for {longest}")
    return request.max_length


FAMILY = Esm(
    name="ESM-1b, ESM-1v, ESM-2, Nucleotide Transformer v1",
    tokenizer="single residues; 6-mers",
    max_length="1,024 residues; 1,000 6-mers",
    gated=False,
)
