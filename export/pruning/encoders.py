"""ESM, the Nucleotide Transformers, DNABERT and GENA-LM: encoders with attention and feed-forwards.

Heads can leave each layer on its own: ``pruned_heads`` is what the published code of these models reads, and the size
of a head stays ``hidden_size / num_attention_heads``. The width cannot shrink, since it is the product of both.
"""

from __future__ import annotations

from dataclasses import dataclass

from export.checkpoint import Checkpoint
from export.network import Model
from export.networks.bert import Bert, BertShape
from export.networks.esm import EsmNetwork, EsmShape
from export.pruning import configure
from export.pruning.names import Names, blocks, singles
from export.pruning.pieces import piece_vocabulary
from quantize.prune.anatomy import Anatomy, Kind, Stack
from quantize.prune.units import Units

MULTIPLE = 16
KMERS = (
    "the tokenizer counts the rows of all words of k bases, and every one of them can occur in a read: without a row "
    "of its own it would have none"
)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The network's own names of the parts of a layer."""

    layer: str
    inputs: str
    mix: str
    wide: str
    narrow: str


_PARTS: dict[type, _Parts] = {
    EsmNetwork: _Parts("blocks", "attention.inputs", "attention.output", "feed_forward.wide", "feed_forward.narrow"),
    Bert: _Parts("layers", "qkv", "mix", "widen", "narrow"),
}


def anatomy(checkpoint: Checkpoint, model: Model, names: Names) -> Anatomy:
    """Heads, channels of the feed-forwards, layers; words of a learned vocabulary."""
    network = model.network
    assert isinstance(network, (EsmNetwork, Bert))
    shape: EsmShape | BertShape = network.shape
    config, parts = checkpoint.config, _PARTS[type(network)]
    inner, count = int(config["intermediate_size"]), int(config["num_hidden_layers"])
    size = int(config["hidden_size"]) // int(config["num_attention_heads"])
    halves = (0, inner) if isinstance(shape, EsmShape) and shape.gated else (0,)
    feed, heads = [], []
    for layer in range(count):
        at = f"{parts.layer}.{layer}."
        wide = names.linear(at + parts.wide, rows=singles(inner, *halves))
        narrow = names.linear(at + parts.narrow, columns=singles(inner))
        feed.append(Units(f"layer {layer}", inner, (*wide, *narrow), multiple=MULTIPLE))
        left = shape.heads_in(layer)
        places = names.linear(at + parts.mix, columns=blocks(left, size))
        for part in ("query", "key", "value"):
            places += names.linear(f"{at}{parts.inputs}.{part}", rows=blocks(left, size))
        heads.append(Units(f"layer {layer}", left, tuple(places)))
    vocabulary = piece_vocabulary(checkpoint, names, "words", ("head.decoder.weight", "head.bias"))
    refusals = {
        "channels": "hidden_size is heads times the size of a head in the published code; take --heads or --ffn",
        "width": "hidden_size is heads times the size of a head in the published code; take --heads or --ffn",
    }
    if vocabulary is None:
        refusals["vocabulary"] = KMERS
    return Anatomy(
        kinds=(
            Kind("ffn", tuple(feed), configure.size("intermediate_size")),
            Kind("heads", tuple(heads), configure.heads, note="pruned_heads of the configuration says which are left"),
        ),
        stack=Stack(count, r"((?:esm\.|bert\.)?encoder\.layer\.)(\d+)(\..+)", configure.layers("num_hidden_layers")),
        refusals=refusals,
        dropped={r"(esm\.)?contact_head\.regression\..+": ("heads", "layers")},
        vocabulary=vocabulary,
    )
