"""Nucleotide Transformer v3: heads, channels of the feed-forwards, layers of the transformer, and channels of the whole
network at each of its scales.

How many channels each scale has follows from the first and the last (``conv_init_embed_dim``, ``embed_dim``), a
straight line between them. Down and up the same channels are added up, so that they leave together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from export.checkpoint import Checkpoint
from export.network import Model
from export.networks.ntv3 import Ntv3Network, Shape
from export.pruning import configure
from export.pruning.encoders import BASES, MULTIPLE
from export.pruning.gpn import NORMS
from export.pruning.names import Names, blocks, singles
from export.pruning.width import distinct
from quantize.prune.anatomy import Anatomy, Config, Kept, Kind, Stack
from quantize.prune.units import Place, Units

_HEAD = r"core\.lm_head\..+"
_SAVED = ("embeddings_layers_to_save", "attention_maps_to_save")
"""Keys that name layers whose states are given back as well; no graph here has such outputs."""


def anatomy(_: Checkpoint, model: Model, names: Names) -> Anatomy:
    """What can leave."""
    network = model.network
    assert isinstance(network, Ntv3Network)
    shape = network.shape
    heads, feeds = [], []
    for layer in range(shape.layers):
        at = f"transformer_blocks.{layer}."
        entries = blocks(shape.heads, shape.head_size)
        places = names.linear(f"{at}sa_layer.mha_output", columns=entries)
        for part in ("query", "key", "value"):
            places += names.linear(f"{at}sa_layer.{part}_head.linear", rows=entries)
        heads.append(Units(f"layer {layer}", shape.heads, tuple(places)))
        wide = names.linear(f"{at}fc1", rows=singles(shape.feed_forward, 0, shape.feed_forward))
        narrow = names.linear(f"{at}fc2", columns=singles(shape.feed_forward))
        feeds.append(Units(f"layer {layer}", shape.feed_forward, (*wide, *narrow), multiple=MULTIPLE))

    def configure_heads(config: Config, kept: Kept) -> None:
        config["attention_heads"], config["key_size"] = configure.common(kept), shape.head_size

    def configure_layers(config: Config, kept: Sequence[int]) -> None:
        config["num_layers"] = len(kept)
        config |= {key: [] for key in _SAVED if config.get(key)}

    return Anatomy(
        kinds=(
            Kind("ffn", tuple(feeds), configure.size("ffn_embed_dim")),
            Kind("heads", tuple(heads), configure_heads, note="as many leave every layer: attention_heads is one key"),
            _width(shape, names),
        ),
        stack=Stack(shape.layers, r"(core\.transformer_blocks\.)(\d+)(\..+)", configure_layers),
        refusals={"channels": "is --width for this family", "vocabulary": BASES},
        dropped={} if shape.head else {_HEAD: ("width",)},
    )


def _width(shape: Shape, names: Names) -> Kind:
    widths, last = shape.widths, shape.halvings
    through = [singles(width) for width in widths]
    down: list[list[Place]] = [[] for _ in widths]
    up = down if shape.skips else [*([] for _ in widths[:-1]), down[-1]]
    down[0] += names.linear("stem.conv", rows=through[0])
    for step in range(last):
        at = f"conv_tower_blocks.{step}."
        down[step] += names.norm(f"{at}conv.layer_norm", through[step])
        down[step] += names.linear(f"{at}conv.conv", columns=through[step])
        down[step + 1] += names.linear(f"{at}conv.conv", rows=through[step + 1])
        beside = f"{at}res_conv.conv_block."
        down[step + 1] += names.norm(f"{beside}layer_norm", through[step + 1])
        down[step + 1] += names.linear(f"{beside}conv", rows=through[step + 1], columns=through[step + 1])
    for layer in range(shape.layers):
        at = f"transformer_blocks.{layer}."
        for own in ("self_attention_layer_norm", "final_layer_norm"):
            down[last] += names.norm(at + own, through[last])
        for own in (*(f"sa_layer.{part}_head.linear" for part in ("query", "key", "value")), "fc1"):
            down[last] += names.linear(at + own, columns=through[last])
        for own in ("sa_layer.mha_output", "fc2"):
            down[last] += names.linear(at + own, rows=through[last])
    for number in range(last):
        at, narrow = f"deconv_tower_blocks.{number}.", last - number - 1
        into, out = (1, 0) if shape.repeats else (0, 1)
        up[narrow + 1] += names.norm(f"{at}conv.layer_norm", through[narrow + 1])
        up[narrow + 1] += names.places(f"{at}conv.conv.weight", into, through[narrow + 1])
        up[narrow] += names.places(f"{at}conv.conv.weight", out, through[narrow])
        up[narrow] += names.places(f"{at}conv.conv.bias", 0, through[narrow])
        beside = f"{at}res_conv.conv_block."
        up[narrow] += names.norm(f"{beside}layer_norm", through[narrow])
        up[narrow] += names.linear(f"{beside}conv", rows=through[narrow], columns=through[narrow])
    found = [(f"scale {number}", number, places) for number, places in enumerate(down)]
    if not shape.skips:
        found += [(f"scale {number}, upwards", number, places) for number, places in enumerate(up[:-1])]
    before = up[0]
    for number in range(shape.head_layers):
        own = f"lm_head.hidden_layers.{number}"
        before += names.linear(own, columns=through[0])
        before = names.linear(own, rows=through[0])
        if before:
            found.append((f"head, layer {number}", 0, before))
    before += names.linear("lm_head.head", columns=through[0])

    def counts(share: float) -> list[int]:
        return [_fewer(shape, share).widths[scale] for _, scale, _ in found]

    def configure_width(config: Config, kept: Kept) -> None:
        config["conv_init_embed_dim"], config["embed_dim"] = len(kept[0]), len(kept[last])
        config["key_size"] = shape.head_size

    parts = tuple(Units(where, widths[scale], distinct(places)) for where, scale, places in found)
    return Kind("width", parts, configure_width, exact=False, note=NORMS, counts=counts)


def _fewer(shape: Shape, share: float) -> Shape:
    """The shape with so many channels less at both ends, in multiples of 16 or 8 where both were some."""
    ends = (shape.first, shape.width)
    each = next(multiple for multiple in (16, 8, 1) if all(end % multiple == 0 and end > multiple for end in ends))
    first, width = (max(each, round(end * (1 - share) / each) * each) for end in ends)
    return replace(shape, first=first, width=width)
