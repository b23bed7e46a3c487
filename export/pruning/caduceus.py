"""Caduceus: channels inside the Mamba mixers, their states, channels of the whole network, layers.

A model that reads both strands turns its channels with them: channel ``c`` leaves with its mirror image, and, where the
strands change places from layer to layer, layers leave in pairs. States leave by importance and without a bound: the
recurrence depends on the input at every step, so that it is no fixed linear system, for which balanced truncation knows
the error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from export.checkpoint import Checkpoint
from export.network import Model
from export.networks.caduceus import CaduceusNetwork, CaduceusShape
from export.pruning import configure
from export.pruning.gpn import NORMS
from export.pruning.names import Names, singles
from quantize.prune.anatomy import Anatomy, Config, Kept, Kind, Stack
from quantize.prune.units import Place, Units

MULTIPLE = 8


def anatomy(_: Checkpoint, model: Model, names: Names) -> Anatomy:
    """What can leave a model of either kind."""
    network = model.network
    assert isinstance(network, CaduceusNetwork)
    shape = network.shape
    turns = shape.both_strands and shape.swaps

    def rescale(tensors: dict[str, Any], kept: Kept) -> None:
        """The root of the mean square over fewer channels is larger, and what it divides smaller."""
        factor = math.sqrt(shape.mixer.width / len(kept[0]))
        for own in (*(f"layers.{layer}.norm.weight" for layer in range(shape.layers)), "norm_f.weight"):
            for name in names.published(own):
                tensors[name] = (tensors[name].double() * factor).to(tensors[name].dtype)

    def configure_width(config: Config, kept: Kept) -> None:
        width = len(kept[0])
        mixer = config.setdefault("ssm_cfg", {})
        inner = int(mixer.get("expand", 2) * int(config["d_model"]))
        mixer["expand"], mixer["dt_rank"] = expansion(inner, width), shape.mixer.rank
        config["d_model"] = width
        if shape.rms:
            config["norm_epsilon"] = shape.epsilon * shape.mixer.width / width

    width = Kind(
        "width",
        (_width(shape, names, turns),),
        configure_width,
        exact=shape.rms,
        note="" if shape.rms else NORMS,
        rescale=rescale if shape.rms else None,
    )
    parity = tuple(number % 2 for number in range(shape.layers + 1)) if turns else ()
    return Anatomy(
        stated={"pooling_strategy": network.head.pooling} if network.head.outputs else {},
        kinds=(
            Kind("channels", tuple(_inner(shape, names)), _configure_inner),
            Kind("states", tuple(_states(shape, names)), _configure_states),
            width,
        ),
        stack=Stack(
            shape.layers,
            r"((?:caduceus\.)?backbone\.layers\.)(\d+)(\..+)",
            configure.layers("n_layer"),
            places=parity[:-1],
            ends=parity,
        ),
        refusals={
            "heads": "the network has no attention",
            "ffn": "the network has no feed-forwards; take --channels",
            "vocabulary": "the rows are the bases and a few special tokens",
            "modes": "the states of a selective scan are no modes of a fixed filter, and have no bound; take --states",
            "taps": "the network has no long filters",
        },
    )


def expansion(inner: int, width: int) -> int | float:
    """The factor whose product with the width, cut off to a whole number as the published code does, is ``inner``."""
    if inner % width == 0:
        return inner // width
    factor = inner / width
    return factor if int(factor * width) == inner else math.nextafter(factor, math.inf)


def _configure_inner(config: Config, kept: Kept) -> None:
    mixer = config.setdefault("ssm_cfg", {})
    mixer["expand"] = expansion(configure.common(kept), int(config["d_model"]))


def _configure_states(config: Config, kept: Kept) -> None:
    config.setdefault("ssm_cfg", {})["d_state"] = configure.common(kept)


def _directions(shape: CaduceusShape, layer: int) -> Sequence[str]:
    at = f"layers.{layer}.mixer."
    return (f"{at}mamba_fwd.", f"{at}mamba_rev.")[: 1 + shape.both_directions]


def _inner(shape: CaduceusShape, names: Names) -> list[Units]:
    """Both directions share their projections, and so their channels; otherwise each direction has its own."""
    count, found = shape.mixer.inner, []
    through, both = singles(count), singles(count, 0, count)
    for layer in range(shape.layers):
        sides: list[tuple[str, list[Place]]] = []
        for way in _directions(shape, layer):
            places = names.linear(f"{way}in_proj", rows=both) + names.linear(f"{way}out_proj", columns=through)
            places += names.linear(f"{way}conv1d", rows=through) + names.linear(f"{way}x_proj", columns=through)
            places += names.linear(f"{way}dt_proj", rows=through)
            places += names.places(f"{way}A_log", 0, through) + names.places(f"{way}D", 0, through)
            sides.append((way, places))
        if shape.tied_directions and len(sides) == 2:
            sides = [(sides[0][0], sides[0][1] + sides[1][1])]
        for way, places in sides:
            where = f"layer {layer}" if len(sides) == 1 else f"layer {layer}, {way.split('.')[-2]}"
            found.append(Units(where, count, tuple(places), multiple=MULTIPLE))
    return found


def _states(shape: CaduceusShape, names: Names) -> list[Units]:
    count, rank, found = shape.mixer.states, shape.mixer.rank, []
    for layer in range(shape.layers):
        for way in _directions(shape, layer):
            places = names.places(f"{way}x_proj.weight", 0, singles(count, rank, rank + count))
            places += names.places(f"{way}A_log", 1, singles(count))
            found.append(Units(f"layer {layer}, {way.split('.')[-2]}", count, tuple(places)))
    return found


def _width(shape: CaduceusShape, names: Names, turns: bool) -> Units:
    width = shape.mixer.width
    through = torch.arange(width)[:, None]
    places = names.places("embedding.weight", 1, through) + names.norm("norm_f", through)
    places += names.places("score.weight", 1, through) + names.places("lm_head.weight", 1, through)
    for layer in range(shape.layers):
        places += names.norm(f"layers.{layer}.norm", through)
        for way in _directions(shape, layer):
            places += names.linear(f"{way}in_proj", columns=through) + names.linear(f"{way}out_proj", rows=through)
    pairs = tuple(tuple({channel, width - 1 - channel}) for channel in range((width + 1) // 2))
    unique = {(place.tensor, place.axis): place for place in places}
    return Units("all layers", width, tuple(unique.values()), bound=pairs if turns else (), multiple=MULTIPLE)
