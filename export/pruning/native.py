"""Other architectures of the transformers library: feed-forwards and layers, found by the names that it gives them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from export.checkpoint import Checkpoint
from export.network import Model
from export.optimum_graph import NativeNetwork
from export.pruning import configure
from export.pruning.encoders import MULTIPLE
from export.pruning.names import Names, singles
from export.pruning.pieces import piece_vocabulary
from quantize.prune.anatomy import Anatomy, Config, Kind, Stack, Vocabulary
from quantize.prune.units import Place, Units

_FEEDS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("intermediate.dense",), "output.dense"),
    (("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj"),
    (("mlp.gate_up_proj",), "mlp.down_proj"),
    (("mlp.Wi",), "mlp.Wo"),
    (("mlp.c_fc",), "mlp.c_proj"),
    (("mlp.dense_h_to_4h",), "mlp.dense_4h_to_h"),
    (("mlp.fc1",), "mlp.fc2"),
    (("mlp.fc_in",), "mlp.fc_out"),
    (("ffn.lin1",), "ffn.lin2"),
    (("fc1",), "fc2"),
)
"""What a layer's feed-forward is called: the products that widen, and the one that narrows again."""
_INNER = ("intermediate_size", "hidden_dim", "n_inner", "ffn_dim", "ffn_hidden_size")
"""Keys of the channels in between."""
_KINDS = "layer_types"
"""Key of what each layer is, where configurations say it layer by layer."""
_NUMBERED = r"((?:.*?\.)?)(\d+)(\..+)"
_COUNTED = ("layer_idx", "layer_id", "layer_number")
"""Attributes that say where a layer stands, not what it is."""
_HEADS = (
    "the library has dropped the key that says which heads were pruned (pruned_heads), and the size of a head follows "
    "from their number; take --ffn or --layers"
)
_WIDTH = "the size of a head follows from hidden_size, and with it what a head computes; take --ffn or --layers"


@dataclass(frozen=True, slots=True)
class _Layers:
    """The list of a module's layers: its name, and the modules in it."""

    name: str
    modules: tuple[nn.Module, ...]


def anatomy(checkpoint: Checkpoint, model: Model, names: Names) -> Anatomy:
    """Channels of the feed-forwards, layers, words: those for which the configuration has a key."""
    network = model.network
    assert isinstance(network, NativeNetwork)
    config = network.module.config
    layers = _layers(network, int(getattr(config, "num_hidden_layers", 0)))
    kinds, stack = [], None
    refusals = {"heads": _HEADS, "width": _WIDTH, "channels": _WIDTH}
    inner = next((key for key in _INNER if hasattr(config, key)), None)
    feeds = _feeds(names, layers) if layers is not None else ()
    if inner is None or not feeds:
        refusals["ffn"] = f"no key or no known name says how wide the feed-forwards of {config.model_type} are"
    else:
        kinds.append(Kind("ffn", feeds, configure.size(inner)))
    if layers is None:
        refusals["layers"] = f"the layers of {config.model_type} are not one list of num_hidden_layers modules"
    else:
        stack = _stack(model, layers, config)
    vocabulary = _vocabulary(checkpoint, network, names)
    if vocabulary is None:
        refusals["vocabulary"] = "the checkpoint has no tokenizer.json with learned words, or no table of as many rows"
    return Anatomy(kinds=tuple(kinds), stack=stack, refusals=refusals, vocabulary=vocabulary)


def _layers(network: NativeNetwork, count: int) -> _Layers | None:
    found = [
        _Layers(name, tuple(module))
        for name, module in network.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    return found[0] if len(found) == 1 else None


def _stack(model: Model, layers: _Layers, config: Any) -> Stack | None:
    """The layers by their published names; those that differ in anything but their place are told apart."""
    own = re.escape(layers.name + ".")
    published = next(
        (name for mine, name in model.loaded.names.items() if re.match(own + r"\d+\.", mine)),
        "",
    )
    match = re.fullmatch(_NUMBERED, published)
    key = config.attribute_map.get("num_hidden_layers", "num_hidden_layers")
    if match is None:
        return None
    scaled = bool(getattr(config, "scale_attn_by_inverse_layer_idx", False))
    places = tuple((at if scaled else 0, _made(layer)) for at, layer in enumerate(layers.modules))

    def configure_layers(left: Config, kept: Sequence[int]) -> None:
        configure.layers(key)(left, kept)
        if left.get(_KINDS):
            left[_KINDS] = [left[_KINDS][layer] for layer in kept]

    return Stack(len(layers.modules), rf"({re.escape(match.group(1))})(\d+)(\..+)", configure_layers, places)


def _made(layer: nn.Module) -> tuple[object, ...]:
    """What a layer is: its modules, their plain settings, and the shapes of their parameters."""
    found: list[object] = []
    for name, module in layer.named_modules():
        settings = sorted(
            (key, repr(value))
            for key, value in vars(module).items()
            if _is_plain(value) and not key.startswith("_") and key not in _COUNTED
        )
        shapes = [(key, tuple(value.shape)) for key, value in module.named_parameters(recurse=False)]
        found.append((name, type(module).__name__, tuple(settings), tuple(shapes)))
    return tuple(found)


def _is_plain(value: object) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_is_plain(each) for each in value)
    return isinstance(value, (bool, int, float, str))


def _feeds(names: Names, layers: _Layers) -> tuple[Units, ...]:
    found = []
    for number, layer in enumerate(layers.modules):
        parts = dict(layer.named_modules())
        pair = next((pair for pair in _FEEDS if all(part in parts for part in (*pair[0], pair[1]))), None)
        if pair is None:
            return ()
        at = f"{layers.name}.{number}."
        inner = _size(parts[pair[1]], into=True)
        places: list[Place] = []
        for wide in pair[0]:
            rows = _size(parts[wide], into=False)
            if rows % inner:
                return ()
            starts = range(0, rows, inner)
            places += _places(names, at + wide, parts[wide], singles(inner, *starts), into=False)
        places += _places(names, at + pair[1], parts[pair[1]], singles(inner), into=True)
        found.append(Units(f"layer {number}", inner, tuple(places), multiple=MULTIPLE))
    return tuple(found)


def _turned(product: nn.Module) -> bool:
    """Whether a product stores its weight as input × output, as GPT-2 does."""
    return type(product).__name__ == "Conv1D"


def _size(product: nn.Module, *, into: bool) -> int:
    weight = product.weight
    assert isinstance(weight, nn.Parameter)
    return int(weight.shape[into != _turned(product)])


def _places(names: Names, own: str, product: nn.Module, entries: Any, *, into: bool) -> list[Place]:
    found = names.places(f"{own}.weight", int(into != _turned(product)), entries)
    return found if into else found + names.places(f"{own}.bias", 0, entries)


def _vocabulary(checkpoint: Checkpoint, network: NativeNetwork, names: Names) -> Vocabulary | None:
    """The table of words, and what has a row for each of them behind the layers."""
    words, decoder = (getattr(network.module, f"get_{way}_embeddings")() for way in ("input", "output"))
    table = getattr(words, "weight", None)
    count = int(checkpoint.config.get("vocab_size") or 0)
    if not isinstance(table, nn.Parameter) or len(table) != count:
        return None
    tables = [table, *(decoder.parameters() if isinstance(decoder, nn.Module) else ())]
    rows = [own for own, each in network.named_parameters(remove_duplicate=False) if any(each is one for one in tables)]
    first = next(own for own in rows if own.endswith(".weight"))
    return piece_vocabulary(checkpoint, names, first.removesuffix(".weight"), [own for own in rows if own != first])
