"""Evo 1 and Evo 2: channels of the whole network, with as many inside every gate, filter and attention.

Heads leave attention as a whole. Inside a gate any channel can leave, unless gates are stored head by head
(``column_split_hyena``); channels that share a filter leave together, so that each filter serves as many as before.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from export.checkpoint import Checkpoint
from export.networks.striped_hyena import Attention, StripedNetwork, StripedShape
from export.pruning.names import Names, blocks, singles
from export.pruning.width import distinct, width_kind
from quantize.prune.anatomy import Config, Kept, Kind
from quantize.prune.units import Place, Units

_GROUPED = ("hcs", "hcm", "hcl")


def striped_width(checkpoint: Checkpoint, network: StripedNetwork, names: Names, unread: list[str]) -> Kind:
    """The kind ``width``. ``unread`` are decoders that are stored beside the table that they are.

    Norms divide by the root of the mean of squares, which is larger over fewer channels: scales and epsilon make up for
    that, and the cut is exact.
    """
    shape = network.shape
    stored_by_head = bool(checkpoint.config.get("column_split_hyena"))

    def configure(config: Config, kept: Kept) -> None:
        width = len(kept[0])
        for kind in _GROUPED:
            if config.get(f"{kind}_filter_groups") is not None:
                layers = config.get(f"{kind}_layer_idxs") or ()
                config[f"{kind}_filter_groups"] = (
                    width * max((shape.groups[at] for at in layers), default=1) // shape.width
                )
        config["eps"] = shape.epsilon * math.sqrt(shape.width / width)
        config["hidden_size"], config["num_attention_heads"] = width, width * shape.heads // shape.width

    def rescale(tensors: dict[str, Any], kept: Kept) -> None:
        factor = math.sqrt(shape.width / len(kept[0]))
        norms = [f"blocks.{layer}.{part}_norm.scale" for layer in range(len(shape.mixing)) for part in ("pre", "post")]
        for own in (*norms, "norm.scale"):
            for name in names.published(own):
                value = tensors[name]
                tensors[name] = (value.double() * factor).to(torch.promote_types(value.dtype, torch.float32))

    inner = []
    for layer, mixer in enumerate(network.mixers()):
        at = f"blocks.{layer}.mixer."
        if isinstance(mixer, Attention):
            inner.append(_attention(shape, names, layer, network.rows[f"{at}Wqkv.weight"]))
        else:
            rows = network.rows[f"{at}projections.weight"]
            inner.append(_convolution(shape, names, layer, rows, by_head=stored_by_head))
    outer = Units("all layers", shape.width, _outer(shape, names, unread))
    return width_kind(outer, inner, shape.heads, configure, exact=True, rescale=rescale)


def _outer(shape: StripedShape, names: Names, unread: list[str]) -> tuple[Place, ...]:
    through = singles(shape.width)
    places = names.places("embedding_layer.weight", 1, through) + names.places("unembed.weight", 1, through)
    places += [Place(name, 1, through) for name in unread] + names.places("norm.scale", 0, through)
    for layer, mixing in enumerate(shape.mixing):
        at = f"blocks.{layer}."
        into, out = ("Wqkv", "out_proj") if mixing == "attention" else ("projections", "out_filter_dense")
        places += names.places(f"{at}pre_norm.scale", 0, through) + names.places(f"{at}post_norm.scale", 0, through)
        places += names.linear(f"{at}mixer.{into}", columns=through) + names.linear(f"{at}mixer.{out}", rows=through)
        places += names.linear(f"{at}mlp.l1", columns=through) + names.linear(f"{at}mlp.l2", columns=through)
        places += names.linear(f"{at}mlp.l3", rows=through)
    return distinct(places)


def _attention(shape: StripedShape, names: Names, layer: int, rows: torch.Tensor) -> Units:
    """Heads; ``rows`` says which published row is which of queries, keys and values."""
    at, size = f"blocks.{layer}.mixer.", shape.width // shape.heads
    places = names.linear(f"{at}Wqkv", rows=_three(rows, shape.heads))
    places += names.linear(f"{at}out_proj", columns=blocks(shape.heads, size))
    return Units(f"layer {layer}", shape.heads, tuple(places))


def _convolution(shape: StripedShape, names: Names, layer: int, rows: torch.Tensor, *, by_head: bool) -> Units:
    """Channels between the gates, one or several at a time; ``rows`` says which published row is which of x2, x1, v."""
    at = f"blocks.{layer}.mixer."
    shared = shape.width // shape.groups[layer]
    size = math.lcm(shape.width // shape.heads if by_head else 1, shared)
    count = shape.width // size
    three = _three(rows, count)
    places = names.linear(f"{at}projections", rows=three) + names.places(f"{at}short_filter_weight", 0, three)
    places += names.places(f"{at}short_filter_bias", 0, three)
    places += names.linear(f"{at}out_filter_dense", columns=blocks(count, size))
    places += names.places(f"{at}filter.D", 0, blocks(count, size))
    for own in ("h", "log_poles", "poles", "residues"):
        places += names.places(f"{at}filter.{own}", 0, blocks(count, size // shared))
    return Units(f"layer {layer}", count, tuple(places))


def _three(rows: torch.Tensor, count: int) -> torch.Tensor:
    """The published rows (count × 3 · size) of each unit's three parts, of which each is whole in ``rows``."""
    return rows.reshape(3, count, -1).transpose(0, 1).flatten(1)
