"""Evo 2 (Brixi et al. 2025): StripedHyena 2, whose stripes are short, medium and long convolutions and attention."""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Mapping
from typing import Any

import torch

from edgeseq.manifest import TaskKind
from export.checkpoint import Checkpoint
from export.errors import CheckpointError, FamilyError, TensorsError
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
from export.networks.striped_hyena import Attention, Mixing, StripedNetwork, StripedShape
from export.operators.float8 import rounded
from export.settings import Settings
from export.switches import refuse_switches
from export.tasks import task_of
from export.tokenizer import tokenizer_spec
from export.weights import load_weights

FLOAT8_WIDTHS = (1920, 8192)
"""hidden_size of the published models that do not work without products in eight bits: 1B, and 20B and 40B. The setting
use_fp8_input_projections cannot tell, since every published configuration has it, that of 7B (4096) included."""

_ORIENTED = 128
"""From so many taps on, a filter is stored with its first tap at the position itself, and has a skip connection."""
_KINDS: Mapping[str, Mixing] = {"hcs": "short", "hcm": "medium", "hcl": "real", "attn": "attention"}
_SWITCHES: Mapping[str, tuple[Any, ...]] = {
    "mlp_activation": ("gelu",),
    "proj_groups": (1,),
    "smeared_gqa": (False,),
    "hyena_filter_groups": (1,),
}
_FLOAT8_CHOICES = ("emulate", "ignore")


class Evo2:
    """Reads Evo 2 checkpoints."""

    name = "Evo 2"
    tokenizer = "bytes"
    tasks: tuple[TaskKind, ...] = ("causal-lm", "embedding")
    max_length = "8,192 to 1,048,576 bytes"
    proven = "golden outputs"
    options: dict[str, str] = {  # noqa: RUF012
        "fp8": "emulate: round inputs and weights of the input projections to eight bits, with the stored scales; "
        "ignore: compute them in full precision",
        "mask": "yes: the graph takes an attention_mask, and padding may be anywhere",
    }

    def recognises(self, checkpoint: Checkpoint) -> bool:
        if not {"hcl_layer_idxs", "hcm_layer_idxs", "hcs_layer_idxs"} & set(checkpoint.config):
            return False
        return any(re.search(r"blocks\.\d+\.pre_norm\.scale$", name) for name in checkpoint.tensors)

    def read(self, checkpoint: Checkpoint, request: Request) -> Model:
        """The model. Raises `CheckpointError` and `FamilyError`."""
        settings = Settings(checkpoint.config, checkpoint.config_file)
        task = task_of(checkpoint, request, self.tasks, "causal-lm")
        refuse_switches(checkpoint, _SWITCHES)
        shape = _shape(checkpoint, settings, request)
        float8 = _float8(checkpoint, settings, request, shape)
        network = StripedNetwork(shape, masked=_masked(checkpoint, request))
        loaded = load_weights(network, checkpoint.tensors, layout(shape), checkpoint)
        network.settle(
            _speeds(checkpoint, settings, shape),
            columns=gate_columns(settings, shape.width, shape.heads),
            attention_rows=attention_rows(settings, shape.width, shape.heads),
            fold=folds(shape),
        )
        notes = filter_notes(shape)
        if float8 == "emulate":
            _emulate(network, checkpoint)
            notes += ("Inputs and weights of the input projections are rounded to eight bits, as in training.",)
        elif float8 == "ignore":
            notes += ("The input projections, trained in eight bits, are computed in full precision, as asked.",)
        return Model(
            network=network,
            task=task,
            tokenizer=tokenizer_spec(checkpoint.folder),
            max_length=shape.longest,
            loaded=loaded,
            notes=notes,
            tolerance=1e-3 if float8 == "emulate" else 1e-4,
        )


def _shape(checkpoint: Checkpoint, settings: Settings, request: Request) -> StripedShape:
    layers, width = settings.whole("num_layers"), settings.whole("hidden_size")
    kinds = {number: kind for kind in _KINDS for number in settings.wholes(f"{kind}_layer_idxs", ())}
    listed = [number for kind in _KINDS for number in settings.wholes(f"{kind}_layer_idxs", ())]
    if sorted(listed) != list(range(layers)):
        raise FamilyError(
            checkpoint.config_file,
            f"{', '.join(f'{kind}_layer_idxs' for kind in _KINDS)} do not name each of {layers} layers once",
        )
    lengths = {"hcs": settings.whole("hcs_filter_length", 7), "hcm": settings.whole("hcm_filter_length", 128)}
    groups = {kind: settings.whole(f"{kind}_filter_groups", width) for kind in ("hcs", "hcm", "hcl")}
    for kind, count in groups.items():
        if width % count:
            settings.refuse(f"{kind}_filter_groups", f"is {count}, which does not divide hidden_size {width}")
    if any(
        name.endswith(".filter.log_poles") and value.shape[:1] == (width,) for name, value in checkpoint.tensors.items()
    ):
        groups["hcl"] = width  # published long filters are stored channel by channel, whatever the setting says
    mixing = tuple(_mixing(kinds[number], lengths) for number in range(layers))
    only_first = settings.flag("evo2_style_activations", False)
    return StripedShape(
        width=width,
        heads=heads_of(settings, width),
        inner=settings.whole("inner_mlp_size"),
        vocabulary=settings.whole("vocab_size"),
        mixing=mixing,
        active=tuple(number == 0 or not only_first for number in range(layers)),
        taps=tuple(lengths.get(kinds[number], 0) for number in range(layers)),
        groups=tuple(groups.get(kinds[number], width) for number in range(layers)),
        modes=settings.whole("state_size", 16),
        featuriser=settings.whole("short_filter_length", 3),
        epsilon=settings.number("eps", 1e-6),
        longest=longest_of(checkpoint, settings, request),
        positions_per_step=positions_per_step(settings),
        input_bias=settings.flag("qkv_proj_bias", False),
        featuriser_bias=settings.flag("short_filter_bias", False),
        attention_bias=settings.flag("mha_out_proj_bias", True),
        output_bias=settings.flag("hyena_out_proj_bias", True),
        tied=settings.flag("tie_embeddings", True),
        final_norm=settings.flag("final_norm", True),
    )


def _mixing(kind: str, lengths: Mapping[str, int]) -> Mixing:
    if kind in lengths:
        return "medium" if lengths[kind] >= _ORIENTED else "short"
    return _KINDS[kind]


def _speeds(checkpoint: Checkpoint, settings: Settings, shape: StripedShape) -> torch.Tensor:
    """Angles per position as they were stored, rounding included; from the base where none are.

    Raises `TensorsError` where stored ones are not for this size of head, or differ from layer to layer.
    """
    stored = [(name, value) for name, value in checkpoint.tensors.items() if name.endswith(".rotary_emb.inv_freq")]
    size = shape.width // shape.heads
    for name, value in stored:
        if tuple(value.shape) != (size // 2,) or not torch.equal(value.float(), stored[0][1].float()):
            raise TensorsError(checkpoint, f"tensor {name} is not what this configuration and the other layers have")
        if not torch.isfinite(value).all():
            raise TensorsError(checkpoint, f"tensor {name} holds values that are not finite")
    if stored:
        return stored[0][1]
    base = settings.number("rotary_emb_base", 1e6)
    return 1.0 / base ** (torch.arange(0, size, 2, dtype=torch.float32) / size)


def _masked(checkpoint: Checkpoint, request: Request) -> bool:
    choice = request.options.get("mask", "no")
    if choice not in ("yes", "no"):
        raise FamilyError(checkpoint, f"option mask is {choice!r}, not yes or no")
    return choice == "yes"


def _float8(checkpoint: Checkpoint, settings: Settings, request: Request, shape: StripedShape) -> str:
    """What to do about products in eight bits: ``emulate``, ``ignore``, or nothing. Raises `FamilyError` where the
    checkpoint needs them and the user did not choose."""
    choice = request.options.get("fp8", "")
    if choice and choice not in _FLOAT8_CHOICES:
        raise FamilyError(checkpoint, f"option fp8 is {choice!r}", remedy=f"known: {', '.join(_FLOAT8_CHOICES)}")
    if choice:
        return choice
    elsewhere = next((name for name in checkpoint.tensors if re.search(_BEYOND, name)), None)
    wanted = settings.flag("use_fp8_input_projections", False)
    if not wanted or (shape.width not in FLOAT8_WIDTHS and elsewhere is None):
        return ""
    why = f"holds {elsewhere}" if elsewhere else f"hidden_size is {shape.width}, as in Evo 2 1B, 20B and 40B"
    raise FamilyError(
        checkpoint,
        f"was trained with products in eight bits ({why}), and its outputs are close to random without them",
        remedy="--option fp8=emulate rounds as in training (from published descriptions, never compared with the "
        "original on its GPU); --option fp8=ignore computes in full precision",
    )


_BEYOND = r"blocks\.\d+\.(mlp|inner_mha_cls|out_filter_dense)\b.*\._extra_state$"
"""Scales of other products than the input projections: only the models that need eight bits store those."""


def _emulate(network: StripedNetwork, checkpoint: Checkpoint) -> None:
    """Rounds the weights of the input projections, and has their inputs rounded.

    Raises `CheckpointError` where a scale is missing or unusable.
    """
    prefix = "backbone." if any(name.startswith("backbone.") for name in checkpoint.tensors) else ""
    for number, mixer in enumerate(network.mixers()):
        if isinstance(mixer, Attention):
            continue
        name = f"{prefix}blocks.{number}.projections._extra_state"
        blob = checkpoint.tensors.get(name)
        if blob is None:
            raise CheckpointError(checkpoint, f"{name} is missing, and with it the scale of the inputs")
        scales = _scales(blob, name, checkpoint)
        weight = mixer.projections.weight
        with torch.no_grad():
            weight.copy_(rounded(weight * scales[1]) / scales[1])
        mixer.float8 = scales[0]


def _scales(blob: torch.Tensor, name: str, checkpoint: Checkpoint) -> tuple[float, float]:
    """The scales of input and weight. Raises `CheckpointError`."""
    try:
        content = torch.load(io.BytesIO(blob.contiguous().numpy().tobytes()), map_location="cpu", weights_only=True)
        scales = content["scale_fwd"].float().flatten().tolist()
        inputs, weights = float(scales[0]), float(scales[1])
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError) as error:
        raise CheckpointError(checkpoint, f"{name} holds no scale_fwd of input and weight as plain data") from error
    if not (0 < inputs < float("inf") and 0 < weights < float("inf")):
        raise CheckpointError(
            checkpoint, f"{name} has the scales {inputs} and {weights}, which are not positive numbers"
        )
    return inputs, weights


FAMILY = Evo2()
