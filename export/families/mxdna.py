"""MxDNA (Qiao et al. 2024), whose tokenizer is a layer of the model."""

from __future__ import annotations

from dataclasses import replace

from edgeseq.manifest import TaskKind
from export.checkpoint import Checkpoint
from export.errors import FamilyError, TensorsError
from export.families.bert import activation_of
from export.network import Model, Request
from export.networks.heads import Head, MaskedHead, PooledHead
from export.networks.mxdna import MxdnaNetwork, MxdnaShape
from export.operators.activations import ACTIVATIONS
from export.operators.gated import silu
from export.operators.gelu import gelu
from export.operators.suppression import TAKEN
from export.settings import Settings
from export.switches import refuse_switches
from export.tasks import labels_of, output_names, task_of
from export.tokenizer import tokenizer_spec
from export.weights import Layout, load_weights

_ACTIVATIONS = {**ACTIVATIONS, "silu": silu, "swish": silu}
_GATE = "model.conversion_layer.gate.weight"
_MERGE = "model.conversion_layer.conv_moe.experts.{}.grouped_conv.weight"
_TAPS = "model.conversion_layer.deform_conv.regular_conv.weight"
_SPECIAL = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3}
"""Ids that the tokenizer adds to a sequence; hidden and unknown bases are bases."""
_OPTION = "rows"
_EACH_ALONE = (
    "As published, the last unit of a row depends on whether another row of its batch has more units. The bundle "
    f"scores each row in a batch of its own; with --option {_OPTION}=independent rows may share a batch."
)
_TIES = (
    "Units are chosen by comparing scores: where two differ by rounding alone, a different batch, engine or processor "
    "may cut the row elsewhere."
)


class Mxdna:
    """Reads MxDNA checkpoints."""

    name = "MxDNA"
    tokenizer = "single bases; units are learned"
    tasks: tuple[TaskKind, ...] = ("masked-lm", "sequence-classification", "regression", "embedding")
    max_length = "2,048 bases"
    proven = "golden outputs"
    options: dict[str, str] = {  # noqa: RUF012
        _OPTION: "independent: hide padding from every row, so that rows may share a batch; single rows stay the same"
    }

    def recognises(self, checkpoint: Checkpoint) -> bool:
        return checkpoint.config.get("model_type") == "mxdna" or _GATE in checkpoint.tensors

    def read(self, checkpoint: Checkpoint, request: Request) -> Model:
        settings = Settings(checkpoint.config, checkpoint.config_file)
        shape = _shape(checkpoint, request, settings)
        task = task_of(checkpoint, _as_trained(checkpoint, request), self.tasks, "embedding")
        head, outputs = _head(checkpoint, request, shape, task)
        network = MxdnaNetwork(shape, head, decodes=task == "masked-lm", norms_again=head is not None)
        loaded = load_weights(network, checkpoint.tensors, _layout(task), checkpoint, task=task)
        return Model(
            network=network,
            task=task,
            labels=output_names(checkpoint, request, task, outputs),
            activation=activation_of(checkpoint),
            tokenizer=tokenizer_spec(checkpoint.folder),
            max_length=_longest(checkpoint, request, settings, shape),
            loaded=loaded,
            pads_exactly=shape.independent,
            shares_batches=shape.independent,
            notes=(_TIES,) if shape.independent else (_EACH_ALONE, _TIES),
        )


def _as_trained(checkpoint: Checkpoint, request: Request) -> Request:
    """The request, asking for what the checkpoint has a head for where neither it nor the configuration says more."""
    if request.task is not None or checkpoint.architecture not in ("", "MxDNAModel"):
        return request
    heads = {name.split(".")[0] for name in checkpoint.tensors}
    if "lm_head" in heads:
        return replace(request, task="masked-lm")
    if "task_head" not in heads:
        return request
    single = checkpoint.config.get("problem_type") == "regression" or len(labels_of(checkpoint, request)) == 1
    return replace(request, task="regression" if single else "sequence-classification")


def _shape(checkpoint: Checkpoint, request: Request, settings: Settings) -> MxdnaShape:
    refuse_switches(checkpoint, {"hidden_act": tuple(_ACTIVATIONS)})
    width, heads = settings.whole("hidden_size"), settings.whole("num_attention_heads")
    shared = settings.whole("num_key_value_heads", heads)
    if width % (2 * heads):
        settings.refuse("num_attention_heads", f"is {heads}, which does not cut {width} channels into even parts")
    if heads % shared:
        settings.refuse("num_key_value_heads", f"is {shared}, which does not divide {heads} heads")
    layers, converted = settings.whole("num_hidden_layers"), settings.whole("conversion_layer_idx", least=0)
    if converted >= layers:
        settings.refuse("conversion_layer_idx", f"is {converted}, which is none of {layers} layers, counted from 0")
    sizes = settings.wholes("expert_kernel_sizes")
    if not sizes or min(sizes) < 1:
        settings.refuse("expert_kernel_sizes", f"is {list(sizes)}; each kind of unit needs 1 base or more")
    if settings.whole("num_local_experts", len(sizes)) != len(sizes):
        settings.refuse("num_local_experts", f"is not the number of expert_kernel_sizes, {len(sizes)}")
    taps = settings.whole("deformable_conv_kernel_size")
    if taps % 2 == 0:
        settings.refuse("deformable_conv_kernel_size", f"is {taps}; an even number of taps changes the length of a row")
    return MxdnaShape(
        vocabulary=settings.whole("vocab_size"),
        width=width,
        heads=heads,
        shared_heads=shared,
        inner=settings.whole("intermediate_size"),
        base_layers=converted,
        unit_layers=layers - converted - 1,
        experts=tuple((size, _groups(checkpoint, number, width)) for number, size in enumerate(sizes)),
        taps=taps,
        epsilon=settings.number("layer_norm_eps", 1e-5),
        turning=settings.number("rope_theta"),
        activation=_ACTIVATIONS[settings.text("hidden_act", "silu")],
        special=tuple(settings.whole(key, default, least=0) for key, default in _SPECIAL.items()),
        independent=_independent(checkpoint, request),
    )


def _groups(checkpoint: Checkpoint, number: int, width: int) -> int:
    """In how many groups an expert merges channels: the divisor of the width next to its size, of which there may be
    two, so that its tensor says which. Raises `TensorsError`."""
    name = _MERGE.format(number)
    weight = checkpoint.tensors.get(name)
    if weight is None:
        raise TensorsError(checkpoint, f"tensor {name} is missing")
    if weight.ndim != 3 or not weight.shape[1] or width % weight.shape[1]:
        raise TensorsError(
            checkpoint, f"tensor {name} has shape {tuple(weight.shape)}, which cuts {width} channels badly"
        )
    return width // int(weight.shape[1])


def _independent(checkpoint: Checkpoint, request: Request) -> bool:
    asked = request.options.get(_OPTION)
    if asked not in (None, "independent"):
        raise FamilyError(checkpoint, f"option {_OPTION} is {asked!r}; known: independent")
    return asked is not None


def _head(checkpoint: Checkpoint, request: Request, shape: MxdnaShape, task: TaskKind) -> tuple[Head | None, int]:
    """The head for a task and the number of its outputs (0 without labels)."""
    if task == "embedding":
        return None, 0
    if task == "masked-lm":
        return MaskedHead(shape.width, shape.vocabulary, shape.epsilon, gelu, tied=False), 0
    weight = checkpoint.tensors.get("task_head.out_proj.weight")
    outputs = len(labels_of(checkpoint, request)) or 2 if weight is None or weight.ndim != 2 else int(weight.shape[0])
    return PooledHead(shape.width, outputs), outputs


def _longest(checkpoint: Checkpoint, request: Request, settings: Settings, shape: MxdnaShape) -> int:
    """The longest row in tokens; positions turn, so that it may be longer than in training. Raises `FamilyError`."""
    longest = request.max_length or settings.whole("max_position_embeddings")
    most = int(TAKEN - 2) // len(shape.experts)
    if longest > most:
        raise FamilyError(
            checkpoint, f"rows of {longest} tokens; with {len(shape.experts)} kinds of units {most} at most"
        )
    return longest


def _layout(task: TaskKind) -> Layout:
    another = "head of another task"
    conversion = r"model\.conversion_layer\."
    unused = {
        conversion + r"basic_unit_masked_token_embedding": "read by nothing in the published model",
        r"lm_head\.weight": "read by nothing in the published head, which has a decoder of its own",
        r".*rotary_emb\.inv_freq": "speeds of rotation, which the graph computes itself",
    }
    if task != "masked-lm":
        unused |= {r"decoder\..+": another, r"lm_head\..+": another}
    if task not in ("sequence-classification", "regression"):
        unused |= {r"task_head\..+": another}
    if task == "embedding":
        unused |= {r"norm\.norm\..+": "norm in front of a head"}
    return Layout(
        renames=(
            (conversion + r"conv_moe\.experts\.(.+)", r"conversion.experts.\1"),
            (conversion + r"deform_conv\.input_layernorm\.(.+)", r"conversion.deform_norm.\1"),
            (conversion + r"deform_conv\.offset_conv\.(.+)", r"conversion.deform.offset.\1"),
            (conversion + r"deform_conv\.modulator_conv\.(.+)", r"conversion.deform.factor.\1"),
            (conversion + r"deform_conv\.regular_conv\.(.+)", r"conversion.deform.\1"),
            (conversion + r"(.+)", r"conversion.\1"),
            (r"(?:model\.)?(.+)\.projection_([kv])\.weight", r"\1.projections.projection_\2.weight"),
            (r"model\.(.+)\.projection_q\.weight", r"\1.projections.projection_q.weight"),
            (r"(?:model\.)?(.+)\.ffn\.ffn\.(w[13])\.weight", r"\1.ffn.wide.\2.weight"),
            (r"(?:model\.)?(.+)\.ffn\.ffn\.w2\.weight", r"\1.ffn.w2.weight"),
            (r"model\.norm\.norm\.(.+)", r"unit_norm.\1"),
            (r"norm\.norm\.(.+)", r"norm.\1"),
            (r"(?:model\.)?(.+layernorm)\.norm\.(.+)", r"\1.\2"),
            (r"model\.(.+)", r"\1"),
            (r"lm_head\.layer_norm\.(.+)", r"head.norm.\1"),
            (r"lm_head\.(dense\..+|decoder\..+|bias)", r"head.\1"),
            (r"task_head\.dense\.(.+)", r"head.pooler.\1"),
            (r"task_head\.out_proj\.(.+)", r"head.classifier.\1"),
        ),
        unused=unused,
        published=((r"conversion\.(gate|input_layernorm)\.(.+)", r"model.conversion_layer.\1.\2"),),
    )


FAMILY = Mxdna()
