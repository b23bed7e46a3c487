"""Evo 1 (Nguyen et al. 2024): StripedHyena with long convolutions of complex exponentials."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from edgeseq.manifest import TaskKind
from export.checkpoint import Checkpoint
from export.errors import FamilyError
from export.families.striped_hyena import (
    attention_rows,
    filter_notes,
    folds,
    gate_columns,
    heads_of,
    layout,
    longest_of,
    positions_per_step,
)
from export.network import Model, Request
from export.networks.striped_hyena import Mixing, StripedNetwork, StripedShape
from export.settings import Settings
from export.switches import refuse_switches
from export.tasks import task_of
from export.tokenizer import tokenizer_spec
from export.weights import load_weights

_SWITCHES: Mapping[str, tuple[Any, ...]] = {
    "mlp_activation": ("gelu",),
    "proj_groups": (1,),
    "smeared_gqa": (False,),
    "hyena_filter_groups": (1,),
    "evo2_style_activations": (False,),
}


class Evo1:
    """Reads Evo 1 checkpoints."""

    name = "Evo 1"
    tokenizer = "bytes"
    tasks: tuple[TaskKind, ...] = ("causal-lm", "embedding")
    max_length = "8,192 or 131,072 bytes"
    proven = "golden outputs"
    options: dict[str, str] = {}  # noqa: RUF012

    def recognises(self, checkpoint: Checkpoint) -> bool:
        if "hcl_layer_idxs" in checkpoint.config or "hyena_layer_idxs" not in checkpoint.config:
            return False
        return any(re.search(r"blocks\.\d+\.filter\.poles$", name) for name in checkpoint.tensors)

    def read(self, checkpoint: Checkpoint, request: Request) -> Model:
        """The model. Raises `CheckpointError` and `FamilyError`."""
        settings = Settings(checkpoint.config, checkpoint.config_file)
        task = task_of(checkpoint, request, self.tasks, "causal-lm")
        refuse_switches(checkpoint, _SWITCHES)
        shape = _shape(checkpoint, settings, request)
        network = StripedNetwork(shape, masked=False)
        loaded = load_weights(network, checkpoint.tensors, layout(shape), checkpoint)
        size = shape.width // shape.heads
        base = settings.number("rotary_emb_base", 10000)
        network.settle(
            1.0 / base ** (torch.arange(0, size, 2, dtype=torch.float32) / size),
            columns=gate_columns(settings, shape.width, shape.heads),
            attention_rows=attention_rows(settings, shape.width, shape.heads),
            fold=folds(shape),
        )
        return Model(
            network=network,
            task=task,
            tokenizer=tokenizer_spec(checkpoint.folder),
            max_length=shape.longest,
            loaded=loaded,
            notes=filter_notes(shape),
        )


def _shape(checkpoint: Checkpoint, settings: Settings, request: Request) -> StripedShape:
    layers, width = settings.whole("num_layers"), settings.whole("hidden_size")
    attention, hyena = settings.wholes("attn_layer_idxs", ()), settings.wholes("hyena_layer_idxs", ())
    if sorted((*attention, *hyena)) != list(range(layers)):
        raise FamilyError(
            checkpoint.config_file, f"attn_layer_idxs and hyena_layer_idxs do not name each of {layers} layers once"
        )
    mixing: tuple[Mixing, ...] = tuple("attention" if number in attention else "complex" for number in range(layers))
    return StripedShape(
        width=width,
        heads=heads_of(settings, width),
        inner=settings.whole("inner_mlp_size"),
        vocabulary=settings.whole("vocab_size"),
        mixing=mixing,
        active=(True,) * layers,
        taps=(0,) * layers,
        groups=(width,) * layers,
        modes=settings.whole("state_size", 8),
        featuriser=settings.whole("short_filter_length", 3),
        epsilon=settings.number("eps", 1e-6),
        longest=longest_of(checkpoint, settings, request),
        positions_per_step=positions_per_step(settings),
        input_bias=settings.flag("qkv_proj_bias", True),
        featuriser_bias=settings.flag("short_filter_bias", True),
        attention_bias=settings.flag("mha_out_proj_bias", True),
        output_bias=settings.flag("hyena_out_proj_bias", True),
        tied=settings.flag("tie_embeddings", True),
        final_norm=settings.flag("final_norm", True),
    )


FAMILY = Evo1()
