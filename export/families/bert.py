"""What the families of BERT's kind have in common: their tasks, heads and published names."""

from __future__ import annotations

from typing import Any

import torch

from edgeseq.manifest import Activation, TaskKind
from export.checkpoint import Checkpoint
from export.errors import FamilyError, TensorsError
from export.network import Model, Request
from export.networks.bert import Bert, BertShape
from export.networks.heads import Head, MaskedHead, Nonlinearity, PooledHead, TokenHead
from export.operators.activations import ACTIVATIONS
from export.settings import Settings
from export.switches import refuse_switches
from export.tasks import output_names, task_of
from export.tokenizer import tokenizer_spec
from export.weights import Layout, load_weights

TASKS: tuple[TaskKind, ...] = (
    "masked-lm",
    "sequence-classification",
    "token-classification",
    "regression",
    "embedding",
)
SWITCHES: dict[str, tuple[Any, ...]] = {
    "position_embedding_type": ("absolute",),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
    "is_encoder_decoder": (False,),
    "pruned_heads": (),
    "problem_type": ("regression", "single_label_classification", "multi_label_classification"),
}
"""Keys of stock BERT whose other values are not implemented."""

_WORDS = "bert.embeddings.word_embeddings.weight"
_POSITION_IDS = r"(?:bert\.)?embeddings\.position_ids"
_BLOCK = r"(?:bert\.)?encoder\.layer\.(\d+)\."
_UNUSED_HEADS = {
    r"cls\.predictions\..+": "head of the masked language model",
    r"(?:bert\.)?pooler\..+": "the pooler serves the classification of whole rows alone",
    r"classifier\..+": "head of a classifier",
}


def task_and_default(checkpoint: Checkpoint, request: Request) -> TaskKind:
    """The task asked for, else that of ``architectures``, else that of the head that the tensors hold."""
    names = checkpoint.tensors.keys()
    default: TaskKind = "embedding"
    if any(name.startswith("cls.predictions.") for name in names):
        default = "masked-lm"
    elif "classifier.weight" in names:
        single = checkpoint.tensors["classifier.weight"].shape[0] == 1
        pooled = any(name.endswith("pooler.dense.weight") for name in names)
        whole: TaskKind = "regression" if single else "sequence-classification"
        default = whole if pooled else "token-classification"
    return task_of(checkpoint, request, TASKS, default)


def make_head(
    checkpoint: Checkpoint, task: TaskKind, width: int, vocabulary: int, epsilon: float, activation: Nonlinearity
) -> tuple[Head | None, int]:
    """The head for a task and the number of its outputs (0 without labels).

    A classifier has as many outputs as the configuration has labels; without any, as its published weight has rows.
    """
    if task == "embedding":
        return None, 0
    if task == "masked-lm":
        tied = Settings(checkpoint.config, checkpoint.config_file).flag("tie_word_embeddings", True)
        return MaskedHead(width, vocabulary, epsilon, activation, tied=tied), 0
    outputs = len(Settings(checkpoint.config, checkpoint.config_file).labels())
    if not outputs:
        weight = checkpoint.tensors.get("classifier.weight")
        outputs = 2 if weight is None or weight.ndim != 2 else int(weight.shape[0])
    head = TokenHead(width, outputs) if task == "token-classification" else PooledHead(width, outputs)
    return head, outputs


def bert_layout(checkpoint: Checkpoint, head: Head | None, blocks: tuple[tuple[str, str], ...]) -> Layout:
    """The published names of embeddings and heads, and those of ``blocks`` (behind ``encoder.layer.N.``).

    Raises `TensorsError` where stored position numbers are not simply 0, 1, 2 ….
    """
    for name, value in checkpoint.tensors.items():
        if name.endswith("embeddings.position_ids") and not torch.equal(
            value.flatten(), torch.arange(value.numel(), dtype=value.dtype)
        ):
            raise TensorsError(checkpoint, f"tensor {name} does not count 0, 1, 2 …")
    used = {
        MaskedHead: (r"cls\.predictions\..+",),
        PooledHead: (r"(?:bert\.)?pooler\..+", r"classifier\..+"),
        TokenHead: (r"classifier\..+",),
    }.get(type(head), ())
    tied = isinstance(head, MaskedHead) and head.decoder is None
    return Layout(
        renames=(
            (r"(?:bert\.)?embeddings\.word_embeddings\.(.+)", r"words.\1"),
            (r"(?:bert\.)?embeddings\.position_embeddings\.(.+)", r"positions.\1"),
            (r"(?:bert\.)?embeddings\.token_type_embeddings\.(.+)", r"types.\1"),
            (r"(?:bert\.)?embeddings\.LayerNorm\.(.+)", r"norm.\1"),
            *((_BLOCK + published, r"layers.\1." + ours) for published, ours in blocks),
            (r"cls\.predictions\.transform\.dense\.(.+)", r"head.dense.\1"),
            (r"cls\.predictions\.transform\.LayerNorm\.(.+)", r"head.norm.\1"),
            (r"cls\.predictions\.decoder\.weight", r"head.decoder.weight"),
            (r"cls\.predictions\.bias", r"head.bias"),
            (r"(?:bert\.)?pooler\.dense\.(.+)", r"head.pooler.\1"),
            (r"classifier\.(.+)", r"head.classifier.\1"),
        ),
        aliases=(
            (r"cls\.predictions\.decoder\.bias", "cls.predictions.bias"),
            *(((r"cls\.predictions\.decoder\.weight", _WORDS),) if tied else ()),
        ),
        unused={
            _POSITION_IDS: "the numbers 0, 1, 2 …, which the graph counts itself",
            r"cls\.seq_relationship\..+": "head that tells whether two sentences follow each other",
            **{pattern: reason for pattern, reason in _UNUSED_HEADS.items() if pattern not in used},
        },
    )


def activation_of(checkpoint: Checkpoint) -> Activation:
    """How logits become scores: by ``problem_type``."""
    kinds: dict[str, Activation] = {"multi_label_classification": "sigmoid", "regression": "identity"}
    return kinds.get(str(checkpoint.config.get("problem_type")), "softmax")


def longest(checkpoint: Checkpoint, request: Request, positions: int) -> int:
    """The longest row in tokens: what was asked for, at most ``positions``. Raises `FamilyError`."""
    if request.max_length is not None and request.max_length > positions:
        raise FamilyError(
            checkpoint,
            f"rows of {request.max_length} tokens were asked for, but the table of positions ends at {positions}",
            remedy=f"ask for {positions} or fewer; longer reads are scored in windows",
        )
    return request.max_length or positions


def read_bert(
    checkpoint: Checkpoint,
    request: Request,
    *,
    norm_first: bool = False,
    norm_last: bool = False,
    notes: tuple[str, ...] = (),
) -> Model:
    """A BERT with learned positions. Raises `CheckpointError` and `FamilyError`."""
    settings = Settings(checkpoint.config, checkpoint.config_file)
    switches = {key: values for key, values in SWITCHES.items() if key != "pruned_heads"}
    refuse_switches(checkpoint, {**switches, "hidden_act": tuple(ACTIVATIONS)})
    task = task_and_default(checkpoint, request)
    shape = BertShape(
        width=settings.whole("hidden_size"),
        inner=settings.whole("intermediate_size"),
        heads=settings.whole("num_attention_heads"),
        layers=settings.whole("num_hidden_layers"),
        vocabulary=settings.whole("vocab_size"),
        positions=settings.whole("max_position_embeddings"),
        types=settings.whole("type_vocab_size", 2),
        epsilon=settings.number("layer_norm_eps", 1e-12),
        activation=ACTIVATIONS[settings.text("hidden_act", "gelu")],
        norm_first=norm_first,
        norm_last=norm_last,
        left=settings.heads("pruned_heads", settings.whole("num_hidden_layers"), settings.whole("num_attention_heads")),
    )
    if shape.width % shape.heads:
        settings.refuse("num_attention_heads", f"is {shape.heads}, which does not divide {shape.width} channels")
    head, outputs = make_head(checkpoint, task, shape.width, shape.vocabulary, shape.epsilon, shape.activation)
    network = Bert(shape, head)
    first, second = (
        ("pre_attention_ln", "post_attention_ln") if norm_first else ("attention.output.LayerNorm", "output.LayerNorm")
    )
    blocks = (
        (r"attention\.self\.(query|key|value)\.(.+)", r"qkv.\2.\3"),
        (r"attention\.output\.dense\.(.+)", r"mix.\2"),
        (r"intermediate\.dense\.(.+)", r"widen.\2"),
        (r"output\.dense\.(.+)", r"narrow.\2"),
        (first.replace(".", r"\.") + r"\.(.+)", r"mix_norm.\2"),
        (second.replace(".", r"\.") + r"\.(.+)", r"narrow_norm.\2"),
    )
    layout = bert_layout(checkpoint, head, blocks)
    last = (r"(?:bert\.)?encoder\.last_layer_ln\.(.+)", r"last_norm.\1")
    layout = Layout((*layout.renames, last), layout.aliases, layout.unused)
    loaded = load_weights(network, checkpoint.tensors, layout, checkpoint, task=task)
    return Model(
        network=network,
        task=task,
        labels=output_names(checkpoint, request, task, outputs),
        activation=activation_of(checkpoint),
        tokenizer=tokenizer_spec(checkpoint.folder),
        max_length=longest(checkpoint, request, shape.positions),
        loaded=loaded,
        notes=notes,
    )
