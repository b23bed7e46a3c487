"""ESM, the Nucleotide Transformers, DNABERT, GENA-LM and GPN-MSA: encoders with attention and feed-forwards.

Heads can leave each layer on its own where the published code reads ``pruned_heads``; the size of a head stays
``hidden_size / num_attention_heads``. Channels of the whole network leave with as many heads of every layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from export.checkpoint import Checkpoint
from export.network import Model
from export.networks.bert import Bert, BertShape
from export.networks.esm import EsmNetwork, EsmShape
from export.networks.gpn_msa import GpnMsaNetwork, GpnMsaShape
from export.pruning import configure
from export.pruning.gpn import NORMS
from export.pruning.names import Names, blocks, singles
from export.pruning.pieces import piece_vocabulary
from export.pruning.width import distinct, head_places, width_kind
from quantize.prune.anatomy import Anatomy, Config, Kept, Kind, Stack
from quantize.prune.units import Place, Units

MULTIPLE = 16
KMERS = (
    "the tokenizer counts the rows of all words of k bases, and every one of them can occur in a read: without a row "
    "of its own it would have none"
)
BASES = "the rows are the bases and a few special tokens"
ALIGNED = (
    "the published code of GPN-MSA cannot prune heads, and no key says that there are fewer; --width takes them out of "
    "all layers, with their channels"
)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The network's own names: of a layer and its parts, and of what stands before and behind the layers."""

    layer: str
    inputs: str
    mix: str
    wide: str
    narrow: str
    norms: tuple[str, ...]
    tables: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()


_BLOCK = ("qkv", "mix", "widen", "narrow", ("mix_norm", "narrow_norm"))
_PARTS: dict[type, _Parts] = {
    EsmNetwork: _Parts(
        "blocks",
        "attention.inputs",
        "attention.output",
        "feed_forward.wide",
        "feed_forward.narrow",
        ("attention_norm", "feed_forward_norm"),
        ("embeddings.words", "embeddings.positions"),
        ("embeddings.norm", "norm"),
    ),
    Bert: _Parts("layers", *_BLOCK, ("words", "positions", "types"), ("norm", "last_norm")),
    GpnMsaNetwork: _Parts("blocks", *_BLOCK),
}


def anatomy(checkpoint: Checkpoint, model: Model, names: Names) -> Anatomy:
    """Heads, channels of the feed-forwards and of the whole network, layers; words of a learned vocabulary."""
    network = model.network
    assert isinstance(network, (EsmNetwork, Bert, GpnMsaNetwork))
    shape: EsmShape | BertShape | GpnMsaShape = network.shape
    parts, aligned = _PARTS[type(network)], isinstance(shape, GpnMsaShape)
    feed, heads = _feeds(shape, names, parts), _heads(shape, names, parts)
    kinds = [Kind("ffn", feed, configure.size("intermediate_size")), _width(shape, names, parts, heads)]
    refusals = {"channels": "is --width for this family"}
    vocabulary = None
    if isinstance(shape, GpnMsaShape):
        refusals |= {"heads": ALIGNED, "vocabulary": BASES}
    else:
        note = "pruned_heads of the configuration says which are left"
        kinds.append(Kind("heads", heads, configure.heads, note=note))
        vocabulary = piece_vocabulary(checkpoint, names, parts.tables[0], ("head.decoder.weight", "head.bias"))
        refusals |= {} if vocabulary is not None else {"vocabulary": KMERS}
    prefix = r"(?:model\.)?" if aligned else r"(?:esm\.|bert\.)?"
    return Anatomy(
        kinds=tuple(kinds),
        stack=Stack(shape.layers, rf"({prefix}encoder\.layer\.)(\d+)(\..+)", configure.layers("num_hidden_layers")),
        refusals=refusals,
        dropped={
            r"(esm\.)?contact_head\.regression\..+": ("heads", "layers", "width"),
            **{pattern: ("width",) for pattern in model.loaded.explained if pattern in _OTHER_HEADS},
        },
        vocabulary=vocabulary,
    )


_OTHER_HEADS = (
    r"cls\..+",
    r"cls\.predictions\..+",
    r"cls\.seq_relationship\..+",
    r"(lm_head|classifier)\..+",
    r"classifier\..+",
    r"(esm\.)?pooler\.dense\.(weight|bias)",
    r"(?:bert\.)?pooler\..+",
)
"""Patterns by which families explain heads of other tasks, which are as wide as the network."""


def _heads_in(shape: EsmShape | BertShape | GpnMsaShape, layer: int) -> int:
    return shape.heads if isinstance(shape, GpnMsaShape) else shape.heads_in(layer)


def _feeds(shape: EsmShape | BertShape | GpnMsaShape, names: Names, parts: _Parts) -> tuple[Units, ...]:
    halves = (0, shape.inner) if isinstance(shape, EsmShape) and shape.gated else (0,)
    found = []
    for layer in range(shape.layers):
        at = f"{parts.layer}.{layer}."
        wide = names.linear(at + parts.wide, rows=singles(shape.inner, *halves))
        narrow = names.linear(at + parts.narrow, columns=singles(shape.inner))
        found.append(Units(f"layer {layer}", shape.inner, (*wide, *narrow), multiple=MULTIPLE))
    return tuple(found)


def _heads(shape: EsmShape | BertShape | GpnMsaShape, names: Names, parts: _Parts) -> tuple[Units, ...]:
    size, found = shape.width // shape.heads, []
    for layer in range(shape.layers):
        at, left = f"{parts.layer}.{layer}.", _heads_in(shape, layer)
        places = names.linear(at + parts.mix, columns=blocks(left, size))
        for part in ("query", "key", "value"):
            places += names.linear(f"{at}{parts.inputs}.{part}", rows=blocks(left, size))
        found.append(Units(f"layer {layer}", left, tuple(places)))
    return tuple(found)


def _width(shape: EsmShape | BertShape | GpnMsaShape, names: Names, parts: _Parts, heads: Sequence[Units]) -> Kind:
    """The channels that all layers add to, and the heads that leave with them."""
    through = singles(shape.width)
    places: list[Place] = head_places(names, through)
    for own in parts.tables:
        places += names.places(f"{own}.weight", 1, through)
    for own in parts.ends:
        places += names.norm(own, through)
    for layer in range(shape.layers):
        at = f"{parts.layer}.{layer}."
        for own in parts.norms:
            places += names.norm(at + own, through)
        for part in ("query", "key", "value"):
            places += names.linear(f"{at}{parts.inputs}.{part}", columns=through)
        places += names.linear(at + parts.wide, columns=through)
        for own in (parts.mix, parts.narrow):
            places += names.linear(at + own, rows=through)
    entering = shape.vocabulary + shape.species * shape.species_vocabulary if isinstance(shape, GpnMsaShape) else 0
    outer = Units("all layers", shape.width, distinct(places), pinned=frozenset(range(entering)))
    return width_kind(outer, heads, shape.heads, _configure_width, one_by_one=True, note=NORMS)


def _configure_width(config: Config, kept: Kept) -> None:
    """Heads that were pruned before are named anew: of heads that are alike, any number will do."""
    size = int(config["hidden_size"]) // int(config["num_attention_heads"])
    config["hidden_size"] = len(kept[0])
    config["num_attention_heads"] = heads = len(kept[0]) // size
    if "embedding_size" in config:
        config["embedding_size"] = len(kept[0])
    before = config.get("pruned_heads")
    if before:
        config["pruned_heads"] = {layer: list(range(heads - len(gone), heads)) for layer, gone in before.items()}
