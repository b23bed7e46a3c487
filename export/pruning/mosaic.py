"""DNABERT-2: MosaicBERT with gated feed-forwards.

Heads cannot leave: the published code takes queries, keys and values from one weight of three times ``hidden_size``
rows, and a head's linear bias follows from its number.
"""

from __future__ import annotations

from export.checkpoint import Checkpoint
from export.network import Model
from export.pruning import configure
from export.pruning.encoders import MULTIPLE
from export.pruning.names import Names, singles
from export.pruning.pieces import piece_vocabulary
from quantize.prune.anatomy import Anatomy, Kind, Stack
from quantize.prune.units import Units


def anatomy(checkpoint: Checkpoint, _: Model, names: Names) -> Anatomy:
    """Channels of the feed-forwards, layers, words of the vocabulary."""
    inner, count = int(checkpoint.config["intermediate_size"]), int(checkpoint.config["num_hidden_layers"])
    feed = [
        Units(
            f"layer {layer}",
            inner,
            (
                *names.linear(f"layers.{layer}.gated", rows=singles(inner, 0, inner)),
                *names.linear(f"layers.{layer}.narrow", columns=singles(inner)),
            ),
            multiple=MULTIPLE,
        )
        for layer in range(count)
    ]
    tied = (
        "hidden_size is heads times the size of a head in the published code; with fewer heads those that stay would "
        "get other biases, which follow from their number and from how many there are; take --ffn or --layers"
    )
    vocabulary = piece_vocabulary(checkpoint, names, "words", ("head.decoder.weight", "head.bias"))
    refusals = {
        "channels": tied,
        "width": tied,
        "heads": "the published code joins queries, keys and values in one weight of three times hidden_size rows, and "
        "has no key for fewer heads; take --ffn or --layers",
    }
    if vocabulary is None:
        refusals["vocabulary"] = "the checkpoint has no tokenizer.json with learned words"
    return Anatomy(
        kinds=(Kind("ffn", tuple(feed), configure.size("intermediate_size")),),
        stack=Stack(count, r"((?:bert\.)?encoder\.layer\.)(\d+)(\..+)", configure.layers("num_hidden_layers")),
        refusals=refusals,
        vocabulary=vocabulary,
    )
