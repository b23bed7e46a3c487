"""HyenaDNA: channels of the whole network (its inner ones with them), of the feed-forwards, layers.

The long filters cannot be cut off in a checkpoint, since they are computed for every position; what a cut would leave
out is told instead.
"""

from __future__ import annotations

from typing import Any

import torch

from export.checkpoint import Checkpoint
from export.network import Model
from export.networks.hyenadna import HyenaNetwork, HyenaShape
from export.pruning import configure
from export.pruning.gpn import NORMS
from export.pruning.names import Names, singles
from quantize.prune.anatomy import Anatomy, Config, Kept, Kind, Stack
from quantize.prune.errors import PruneError
from quantize.prune.taps import shortest, truncation
from quantize.prune.units import Units

MULTIPLE = 8
LITTLE = 0.01


def anatomy(_: Checkpoint, model: Model, names: Names) -> Anatomy:
    """What can leave, and why filters cannot be cut off."""
    network = model.network
    assert isinstance(network, HyenaNetwork)
    shape = network.shape

    def configure_width(config: Config, kept: Kept) -> None:
        config["d_model"] = len(kept[0])
        config["d_inner"] = config.get("d_inner") or shape.inner

    def refuse_taps(_: dict[str, Any], __: Config, taps: int) -> dict[str, Any]:
        raise PruneError(
            f"--taps {taps}",
            "the published layout computes the filters of every position, and has no key that ends them; "
            + "; ".join(_behind(network, taps)),
            remedy="shorter rows (--max-length of the export) cut the filters with them",
        )

    feed = tuple(
        Units(
            f"layer {layer}",
            shape.inner,
            (
                *names.linear(f"layers.{layer}.mlp.fc1", rows=singles(shape.inner)),
                *names.linear(f"layers.{layer}.mlp.fc2", columns=singles(shape.inner)),
            ),
            multiple=MULTIPLE,
        )
        for layer in range(shape.layers)
    )
    return Anatomy(
        kinds=(
            Kind("ffn", feed, configure.size("d_inner")),
            Kind("channels", _channels(shape, names), configure_width, exact=False, note=NORMS),
        ),
        stack=Stack(
            shape.layers,
            r"((?:hyena\.|model\.)?(?:backbone\.)?layers\.)(\d+)(\..+)",
            configure.layers("n_layer"),
        ),
        refusals={
            "heads": "the network has no attention",
            "vocabulary": "the rows are the bases and a few special tokens",
            "width": "is --channels for this family",
        },
        rewrites={"taps": refuse_taps},
    )


def _channels(shape: HyenaShape, names: Names) -> tuple[Units, ...]:
    """The channels that all layers add to, then those inside each layer's operator, which are as many."""
    width, through = shape.width, singles(shape.width)
    outer = names.places("embeddings.weight", 1, through) + names.norm("ln_f", through)
    outer += names.places("head.weight", 1, through)
    inner = []
    for layer in range(shape.layers):
        at = f"layers.{layer}."
        outer += names.norm(f"{at}norm1", through) + names.norm(f"{at}norm2", through)
        outer += names.linear(f"{at}mixer.in_proj", columns=through)
        outer += names.linear(f"{at}mixer.out_proj", rows=through)
        outer += names.linear(f"{at}mlp.fc1", columns=through) + names.linear(f"{at}mlp.fc2", rows=through)
        three = singles(width, 0, width, 2 * width)
        places = names.linear(f"{at}mixer.in_proj", rows=three) + names.linear(f"{at}mixer.short_filter", rows=three)
        places += names.linear(f"{at}mixer.out_proj", columns=through)
        places += names.places(f"{at}mixer.filter_fn.bias", 0, through)
        places += names.linear(f"{at}mixer.filter_fn.last", rows=through)
        places += names.places(f"{at}mixer.filter_fn.deltas", 2, through)
        inner.append(Units(f"layer {layer}", width, tuple(places), multiple=MULTIPLE))
    unique = {(place.tensor, place.axis): place for place in outer}  # a tied head is the table of embeddings
    return (Units("all layers", width, tuple(unique.values()), multiple=MULTIPLE), *inner)


def _behind(network: HyenaNetwork, taps: int) -> list[str]:
    """What each layer's filters have behind so many taps."""
    found = []
    for number, layer in enumerate(network.layers):
        with torch.no_grad():
            filters = layer.mixer.filter_fn.made(network.shape.longest)  # type: ignore[union-attr, operator]
        left = truncation(filters, taps).as_json()
        found.append(
            f"layer {number} would lose {left['mean_share_left']:.0%} of its filters' 1-norm (at most "
            f"{left['largest_share_left']:.0%} of one; |change| up to {left['largest_left']:.3g} times the largest "
            f"input), and needs {shortest(filters, LITTLE):,} taps to lose {LITTLE:.0%}"
        )
    return found
