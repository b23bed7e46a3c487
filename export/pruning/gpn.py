"""GPN: channels of the whole network and of the feed-forwards, layers.

Channels that the bases and their features come in by have to stay. A layer's dilation and taps follow from its number,
so that layers leave at the end, or a whole cycle of dilations at a time.
"""

from __future__ import annotations

from export.checkpoint import Checkpoint
from export.network import Model
from export.networks.gpn import GpnNetwork, GpnShape
from export.pruning import configure
from export.pruning.names import Names, singles
from quantize.prune.anatomy import Anatomy, Config, Kept, Kind, Stack
from quantize.prune.units import Place, Units

MULTIPLE = 16
NORMS = (
    "norms take their mean and variance over the channels that are left, so that the rest changes as well: recovery "
    "is needed more than for other cuts"
)


def anatomy(_: Checkpoint, model: Model, names: Names) -> Anatomy:
    """What can leave one of the three encoders."""
    network = model.network
    assert isinstance(network, GpnNetwork)
    shape = network.shape
    legacy = shape.encoder == "legacy"
    kinds = [Kind("channels", _channels(shape, names), _configure, exact=False, note=NORMS)]
    refusals = {"heads": "the network has no attention"}
    if shape.encoder == "convnet":
        kinds.append(Kind("ffn", _feed(shape, names), configure.size("intermediate_size")))
    else:
        refusals["ffn"] = "its inner width is hidden_size in the published code; take --channels"
    places = tuple(
        (shape.taps[layer], shape.dilations[layer], shape.depthwise and layer > 0) for layer in range(len(shape.taps))
    )
    pattern = r"((?:model\.)?encoder\.)(\d+)(\..+)" if legacy else r"((?:model\.)?encoder\.layer\.)(\d+)(\..+)"
    return Anatomy(
        kinds=tuple(kinds),
        stack=Stack(len(shape.taps), pattern, configure.layers("n_layers" if legacy else "num_hidden_layers"), places),
        refusals={
            **refusals,
            "vocabulary": "the rows are the bases and a few special tokens",
            "width": "is --channels for this family",
        },
    )


def _configure(config: Config, kept: Kept) -> None:
    config["hidden_size"] = len(kept[0])


def _feed(shape: GpnShape, names: Names) -> tuple[Units, ...]:
    channels = singles(shape.inner)
    return tuple(
        Units(
            f"layer {layer}",
            shape.inner,
            (
                *names.linear(f"layers.{layer}.ffn.1", rows=channels),
                *names.linear(f"layers.{layer}.ffn.3", columns=channels),
            ),
            multiple=MULTIPLE,
        )
        for layer in range(len(shape.taps))
    )


def _channels(shape: GpnShape, names: Names) -> tuple[Units, ...]:
    """The channels that all layers add to, then the inner ones of each layer and of the head, which are as many."""
    width, through = shape.width, singles(shape.width)
    outer: list[Place] = names.places("embedding.weight", 1, through)
    inner: list[Units] = []
    for layer in range(len(shape.taps)):
        depthwise = shape.depthwise and layer > 0
        _LAYERS[shape.encoder](f"layers.{layer}.", depthwise, shape, names, outer, inner)
    outer += names.norm("ln_f", through) + names.norm("classifier.ln", through)
    for head, norm, last in (("cls.dense", "cls.norm", "cls.decoder"), ("classifier.dense", "", "classifier.out_proj")):
        if names.published(f"{head}.weight"):
            outer += names.linear(head, columns=through)
            places = names.linear(head, rows=through) + names.linear(last, columns=through)
            places += names.norm(norm, through) if norm else []
            inner.append(Units("head", width, tuple(places), multiple=MULTIPLE))
        else:
            outer += names.linear(last, columns=through)
    entering = frozenset() if shape.embedded else frozenset(range(shape.vocabulary + shape.features * shape.values))
    return (Units("all layers", width, tuple(outer), pinned=entering, multiple=MULTIPLE), *inner)


def _convnet(at: str, depthwise: bool, shape: GpnShape, names: Names, outer: list[Place], inner: list[Units]) -> None:
    through = singles(shape.width)
    outer += names.norm(f"{at}conv.0", through) + names.linear(f"{at}conv.5", rows=through)
    outer += names.norm(f"{at}ffn.0", through) + names.linear(f"{at}ffn.1", columns=through)
    outer += names.linear(f"{at}ffn.3", rows=through)
    made = names.linear(f"{at}conv.2", rows=through) + names.linear(f"{at}conv.5", columns=through)
    if depthwise:
        outer += made
    else:
        outer += names.linear(f"{at}conv.2", columns=through)
        inner.append(Units(at.removesuffix("."), shape.width, tuple(made), multiple=MULTIPLE))


def _bytenet(at: str, depthwise: bool, shape: GpnShape, names: Names, outer: list[Place], inner: list[Units]) -> None:
    through, within = singles(shape.width), singles(shape.inner)
    outer += names.norm(f"{at}layer.0", through) + names.linear(f"{at}layer.2", columns=through)
    outer += names.linear(f"{at}layer.10", rows=through)
    places = names.linear(f"{at}layer.2", rows=within) + names.norm(f"{at}layer.3", within)
    places += names.linear(f"{at}layer.6", rows=within, columns=None if depthwise else within)
    places += names.norm(f"{at}layer.8", within) + names.linear(f"{at}layer.10", columns=within)
    multiple = MULTIPLE * shape.inner // shape.width
    inner.append(Units(at.removesuffix("."), shape.inner, tuple(places), multiple=multiple))


def _legacy(at: str, _: bool, shape: GpnShape, names: Names, outer: list[Place], __: list[Units]) -> None:
    through = singles(shape.width)
    outer += names.linear(f"{at}conv.1", rows=through, columns=through) + names.norm(f"{at}conv.4", through)
    outer += names.linear(f"{at}ffn.0", rows=through, columns=through) + names.norm(f"{at}ffn.2", through)


_LAYERS = {"convnet": _convnet, "bytenet": _bytenet, "legacy": _legacy}
