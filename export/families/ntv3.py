"""Nucleotide Transformer v3 as pre-trained (InstaDeep 2025), on single bases."""

from __future__ import annotations

import torch

from edgeseq.manifest import TaskKind
from export.checkpoint import Checkpoint
from export.errors import FamilyError, TensorsError
from export.network import Model, Request
from export.networks.ntv3 import ROTARY_BASE, Ntv3Network, Shape
from export.settings import Settings
from export.tasks import output_names, task_of
from export.tokenizer import tokenizer_spec
from export.weights import Layout, load_weights

LONGEST_INSIDE = 8192
"""Longest row of the transformer: with the published seven halvings, the published context of 1 Mb."""
_STRETCHES = {
    "conv_transpose": False,
    "convtranspose": False,
    "repeat+conv": True,
    "repeat_conv": True,
    "repeatconv": True,
}
"""``deconv_upsample_type`` → whether positions are repeated."""
_LAYOUT = Layout(
    renames=((r"core\.(.+)", r"\1"),),
    unused={r"core\..+\.rotary_embedding\.inv_freq": "speeds of the rotary embedding, computed in the graph"},
)
_HEADLESS = Layout(
    renames=_LAYOUT.renames,
    unused={**_LAYOUT.unused, r"core\.lm_head\..+": "language-model head; an embedding was asked for"},
)


class Ntv3:
    """Reads pre-trained NTv3 checkpoints."""

    name = "Nucleotide Transformer v3"
    tokenizer = "single bases"
    tasks: tuple[TaskKind, ...] = ("masked-lm", "embedding")
    max_length = "1 Mb"
    proven = "golden outputs"
    options: dict[str, str] = {}  # noqa: RUF012

    def recognises(self, checkpoint: Checkpoint) -> bool:
        named = f"{checkpoint.config.get('model_type', '')} {checkpoint.architecture}".lower()
        return "ntv3" in named and "deconv_upsample_type" in checkpoint.config

    def read(self, checkpoint: Checkpoint, request: Request) -> Model:
        _refuse_post_trained(checkpoint)
        settings = Settings(checkpoint.config, checkpoint.config_file)
        task = task_of(checkpoint, request, self.tasks, "masked-lm")
        tokenizer = tokenizer_spec(checkpoint.folder)
        shape = _shape(settings, task, tokenizer["vocabulary"].get("N", tokenizer["unknown"]))
        _check_rotary(checkpoint, shape)
        network = Ntv3Network(shape)
        loaded = load_weights(network, checkpoint.tensors, _LAYOUT if shape.head else _HEADLESS, checkpoint, task=task)
        if not request.unfolded:
            network.fold()
        whole = 1 << shape.halvings
        notes = [
            (
                f"Rows are filled up with N on the right to a multiple of {whole} bases and outputs cut back: exact "
                f"for multiples of {whole}, and otherwise what the model says of the sequence with N behind it."
            )
        ]
        if low := sorted({str(v) for k, v in checkpoint.config.items() if k.endswith("_compute_dtype")} - {"float32"}):
            notes.append(f"Published to be computed partly in {', '.join(low)}; the graph computes in float32.")
        return Model(
            network=network,
            task=task,
            labels=output_names(checkpoint, request, task, 0),
            tokenizer=tokenizer,
            max_length=request.max_length or LONGEST_INSIDE * whole,
            loaded=loaded,
            ids_below=shape.vocabulary,
            pads_exactly=False,
            notes=tuple(notes),
        )


def _refuse_post_trained(checkpoint: Checkpoint) -> None:
    """Raises `FamilyError` for models that are conditioned on a species."""
    architecture = checkpoint.architecture
    conditioned = next((name for name in checkpoint.tensors if "modulation" in name or "condition" in name), "")
    if "post" in architecture.lower() or "condition" in architecture.lower() or conditioned:
        raise FamilyError(
            checkpoint,
            f"a post-trained NTv3 ({conditioned or architecture}): its norms are adapted to a species that the graph "
            "would have to be told, and its layers are not covered",
            remedy="use the pre-trained checkpoint (…_pre)",
        )


def _shape(settings: Settings, task: TaskKind, filler: int) -> Shape:
    written = settings.text("deconv_upsample_type")
    repeats = _STRETCHES.get(written.strip().split(".")[-1].lower().replace("-", "_"))
    if repeats is None:
        settings.refuse("deconv_upsample_type", f"is {written!r}; known: conv_transpose, repeat+conv")
    width, heads = settings.whole("embed_dim"), settings.whole("attention_heads")
    if "key_size" not in settings and width % heads:
        settings.refuse("key_size", f"is missing, and embed_dim {width} is no multiple of attention_heads {heads}")
    return Shape(
        vocabulary=settings.whole("alphabet_size", 11),
        token=settings.whole("token_embed_dim", 16),
        first=settings.whole("conv_init_embed_dim"),
        width=width,
        halvings=settings.whole("num_downsamples"),
        layers=settings.whole("num_layers", least=0),
        heads=heads,
        head_size=settings.whole("key_size", width // heads, least=2),
        feed_forward=settings.whole("ffn_embed_dim"),
        eps=settings.number("layer_norm_eps", 1e-5),
        repeats=bool(repeats),
        odd=settings.text("deconv_phase", "odd", choices=("odd", "even")) == "odd",
        skips=settings.flag("use_skip_connection", True),
        head=task == "masked-lm",
        head_layers=settings.whole("num_hidden_layers_head", 0, least=0),
        filler=filler,
    )


def _check_rotary(checkpoint: Checkpoint, shape: Shape) -> None:
    """Raises `TensorsError` where published speeds are not those that the network computes with."""
    expected = ROTARY_BASE ** -(torch.arange(0, shape.head_size, 2, dtype=torch.float32) / shape.head_size)
    for name, value in checkpoint.tensors.items():
        if not name.endswith("rotary_embedding.inv_freq"):
            continue
        if value.shape != expected.shape or not torch.allclose(value.float(), expected, rtol=0.01):
            raise TensorsError(checkpoint, f"tensor {name} is not of a rotary embedding with base {ROTARY_BASE:g}")


FAMILY = Ntv3()
