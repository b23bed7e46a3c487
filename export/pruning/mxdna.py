"""MxDNA: channels of the feed-forwards (bases, units, decoder), layers before and behind the conversion."""

from __future__ import annotations

from collections.abc import Sequence

from export.checkpoint import Checkpoint
from export.network import Model
from export.networks.mxdna import MxdnaNetwork
from export.pruning import configure
from export.pruning.encoders import BASES, MULTIPLE
from export.pruning.names import Names, singles
from quantize.prune.anatomy import Anatomy, Config, Kind, Stack
from quantize.prune.units import Units

_MERGED = (
    "the published code merges the channels of a unit in groups whose number follows from hidden_size, so that another "
    "width would be another network; take --ffn or --layers"
)
_BASES, _UNITS = "model.nucleotide_layers.", "model.token_layers."


def anatomy(_: Checkpoint, model: Model, names: Names) -> Anatomy:
    """What can leave."""
    network = model.network
    assert isinstance(network, MxdnaNetwork)
    shape = network.shape
    places = [f"nucleotide_layers.{layer}" for layer in range(shape.base_layers)]
    places += [f"token_layers.{layer}" for layer in range(shape.unit_layers)]
    feeds = tuple(
        Units(
            own,
            shape.inner,
            (
                *names.linear(f"{own}.ffn.wide.w1", rows=singles(shape.inner)),
                *names.linear(f"{own}.ffn.wide.w3", rows=singles(shape.inner)),
                *names.linear(f"{own}.ffn.w2", columns=singles(shape.inner)),
            ),
            multiple=MULTIPLE,
        )
        for own in (*places, *(["decoder"] if network.decoder is not None else []))
    )

    def configure_layers(config: Config, kept: Sequence[int]) -> None:
        bases = sum(layer < shape.base_layers for layer in kept)
        config["num_hidden_layers"] = len(kept) + 1
        config["conversion_layer_idx"] = bases

    return Anatomy(
        kinds=(Kind("ffn", feeds, configure.size("intermediate_size")),),
        stack=Stack(
            len(places),
            rf"({_BASES}|{_UNITS})(\d+)(\..+)",
            configure_layers,
            begins={_BASES: 0, _UNITS: shape.base_layers},
        ),
        refusals={
            "heads": "hidden_size is heads times the size of a head in the published code, and no key says that a "
            "layer has fewer; take --ffn or --layers",
            "width": _MERGED,
            "channels": _MERGED,
            "vocabulary": BASES,
        },
        dropped={r"decoder\..+": ("ffn",)} if network.decoder is None else {},
    )
