"""Evo 1 and Evo 2: channels of the feed-forwards, layers, rows of the vocabulary, and the long filters themselves.

``--modes``   fewer exponentials in each long filter, by balanced truncation with its bound
``--taps``    Evo 2: long filters become medium ones with a fixed number of taps, with the bound of what is left out
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from export.checkpoint import Checkpoint
from export.families.evo2 import FLOAT8_WIDTHS
from export.network import Model
from export.networks.striped_hyena import StripedNetwork
from export.pruning import configure
from export.pruning.names import Names, singles
from export.pruning.striped_width import striped_width
from quantize.prune.anatomy import Anatomy, Config, Kind, Stack, Vocabulary
from quantize.prune.errors import PruneError
from quantize.prune.modes import Reduced, reduce_filter
from quantize.prune.taps import truncation
from quantize.prune.units import Place, Units

MULTIPLE = 16
BYTES = 256
"""Rows that stay in any case: every byte has one."""
ORIENTED = 128
"""Fewest taps of a medium filter that has its first tap at the position itself."""
_LISTS = ("attn", "hyena", "hcs", "hcm", "hcl")
_FILTER = r"(?P<at>(?:backbone\.)?blocks\.(?P<layer>\d+)\.filter\.)"
_SHAPED = (
    "gates, filters and attention of every layer have hidden_size channels in the published code; --width takes heads "
    "out of all layers, with their channels"
)
_EIGHT_BITS = (
    "checkpoints of {} channels are known by their number to need products in eight bits (use_fp8_input_projections "
    "cannot tell: all published configurations have it); with fewer channels nothing would say so"
)


def anatomy(checkpoint: Checkpoint, model: Model, names: Names) -> Anatomy:
    """What can leave either generation."""
    network = model.network
    assert isinstance(network, StripedNetwork)
    shape = network.shape
    count = len(shape.mixing)
    feed = tuple(
        Units(
            f"layer {layer}",
            shape.inner,
            (
                *names.linear(f"blocks.{layer}.mlp.l1", rows=singles(shape.inner)),
                *names.linear(f"blocks.{layer}.mlp.l2", rows=singles(shape.inner)),
                *names.linear(f"blocks.{layer}.mlp.l3", columns=singles(shape.inner)),
            ),
            multiple=MULTIPLE,
        )
        for layer in range(count)
    )

    def reduce(tensors: dict[str, Any], config: Config, order: int) -> dict[str, Any]:
        return _reduce(tensors, config, order, shape.modes, shape.longest)

    def shorten(tensors: dict[str, Any], config: Config, taps: int) -> dict[str, Any]:
        return _shorten(tensors, config, taps, shape.width, shape.longest)

    rows = names.run("embedding_layer.weight", 0, shape.vocabulary) + names.run("unembed.weight", 0, shape.vocabulary)
    rows += [Place.run(name, 0, shape.vocabulary) for name in _unread_head(checkpoint, names)]
    second = "hyena_layer_idxs" not in checkpoint.config
    refusals = {"heads": _SHAPED, "channels": _SHAPED}
    kinds = [Kind("ffn", feed, configure.size("inner_mlp_size"))]
    if second and shape.width in FLOAT8_WIDTHS:
        refusals["width"] = _EIGHT_BITS.format(shape.width)
    else:
        kinds.append(striped_width(checkpoint, network, names, _unread_head(checkpoint, names)))
    if not second:
        refusals["taps"] = "the published configuration of Evo 1 has no filters of a fixed length; take --modes"
    return Anatomy(
        kinds=tuple(kinds),
        stack=Stack(count, r"((?:backbone\.)?blocks\.)(\d+)(\..+)", _configure_layers, places=shape.active),
        refusals=refusals,
        frozen=(r"blocks\.\d+\.mixer\.filter\..+",),
        vocabulary=Vocabulary(Units("vocabulary", shape.vocabulary, tuple(rows)), _rows, _configure_rows),
        rewrites={"modes": reduce, **({"taps": shorten} if second else {})},
        apart=(("taps", "width"),),
    )


def _unread_head(checkpoint: Checkpoint, names: Names) -> list[str]:
    """A tied decoder that is stored as well."""
    if names.published("unembed.weight"):
        return []
    return [name for name in checkpoint.tensors if re.fullmatch(r"(backbone\.)?unembed\.weight", name)]


def _configure_layers(config: Config, kept: Sequence[int]) -> None:
    config["num_layers"] = len(kept)
    places = {layer: at for at, layer in enumerate(kept)}
    for kind in _LISTS:
        key = f"{kind}_layer_idxs"
        if key in config:
            config[key] = [places[layer] for layer in config[key] or () if layer in places]


def _rows(_: Path, __: Sequence[bytes]) -> tuple[list[int], dict[str, str]]:
    """Ids are bytes, whatever the sequences are: the rows behind them are never used."""
    return list(range(BYTES)), {}


def _configure_rows(config: Config, kept: Sequence[int]) -> None:
    config["vocab_size"] = len(kept)


def _filters(tensors: Mapping[str, torch.Tensor]) -> dict[int, tuple[str, torch.Tensor, torch.Tensor, bool]]:
    """Of each layer with long filters: prefix of its tensors, poles and residues (filters × modes, complex), and
    whether the poles are stored as logarithms of numbers above 0."""
    found = {}
    for name, value in tensors.items():
        match = re.fullmatch(_FILTER + "(log_)?poles", name)
        if match is None:
            continue
        at, residues = match["at"], tensors[match["at"] + "residues"].double()
        if name.endswith("log_poles"):
            poles = value[..., 0].double().exp().to(torch.complex128)
            found[int(match["layer"])] = at, poles, residues.to(torch.complex128), True
        else:
            complex_poles = torch.view_as_complex(value.double().contiguous())[..., 0]
            complex_residues = torch.view_as_complex(residues.contiguous())[..., 0]
            found[int(match["layer"])] = at, complex_poles, complex_residues, False
    return dict(sorted(found.items()))


def _reduce(tensors: dict[str, Any], config: Config, order: int, modes: int, longest: int) -> dict[str, Any]:
    filters = _filters(tensors)
    if not filters:
        raise PruneError(f"--modes {order}", "the checkpoint has no long filters")
    if not 0 < order < modes:
        raise PruneError(f"--modes {order}", f"long filters have {modes} modes; ask for fewer, and for one at least")
    layers = {}
    for layer, (at, poles, residues, positive) in filters.items():
        reduced = [reduce_filter(p, r, order, longest, positive=positive) for p, r in zip(poles, residues, strict=True)]
        new_poles = torch.stack([one.poles for one in reduced])
        new_residues = torch.stack([one.residues for one in reduced])
        if positive:
            _store(tensors, f"{at}log_poles", new_poles.real.log()[..., None])
            _store(tensors, f"{at}residues", new_residues.real)
        else:
            _store(tensors, f"{at}poles", torch.view_as_real(new_poles)[:, :, None])
            _store(tensors, f"{at}residues", torch.view_as_real(new_residues)[:, :, None])
        layers[str(layer)] = _figures(reduced)
    config["state_size"] = order
    return {"modes_before": modes, "modes": order, "layers": layers}


def _store(tensors: dict[str, Any], name: str, value: torch.Tensor) -> None:
    """In the precision it was stored in, and single precision at least: rounding is no part of the bound."""
    tensors[name] = value.to(torch.promote_types(tensors[name].dtype, torch.float32)).contiguous()


def _figures(reduced: Sequence[Reduced]) -> dict[str, Any]:
    shares = [one.left / one.whole if one.whole else 0.0 for one in reduced]
    return {
        "filters": len(reduced),
        "fitted": sum(one.fitted for one in reduced),
        "largest_bound": max(one.bound for one in reduced),
        "largest_gain": max(2 * float(one.singular.sum()) for one in reduced),
        "largest_left": max(one.left for one in reduced),
        "mean_share_left": sum(shares) / len(shares),
        "largest_share_left": max(shares),
    }


def _shorten(tensors: dict[str, Any], config: Config, taps: int, width: int, longest: int) -> dict[str, Any]:
    """Long filters as medium ones: the published layout has them per group, so that all medium filters are then stored
    channel by channel."""
    filters = _filters(tensors)
    if not filters:
        raise PruneError(f"--taps {taps}", "the checkpoint has no long filters")
    medium = sorted(config.get("hcm_layer_idxs") or ())
    if medium and taps != config.get("hcm_filter_length", ORIENTED):
        raise PruneError(
            f"--taps {taps}", f"all medium filters have one length, here {config.get('hcm_filter_length', ORIENTED)}"
        )
    if not ORIENTED <= taps < longest:
        raise PruneError(f"--taps {taps}", f"medium filters have {ORIENTED} taps or more, and rows here {longest}")
    layers = {}
    for layer, (at, poles, residues, _) in filters.items():
        times = torch.arange(longest, dtype=torch.float64)
        h = torch.stack([(p[None] ** times[:, None] @ r).real for p, r in zip(poles, residues, strict=True)], dim=1)
        layers[str(layer)] = truncation(h, taps).as_json()
        kept = h[:taps].T.repeat_interleave(width // h.shape[1], dim=0)[:, None]
        dtype = tensors[f"{at}residues"].dtype
        for name in ("log_poles", "residues", "t"):
            tensors.pop(f"{at}{name}", None)
        tensors[f"{at}h"] = kept.to(dtype).contiguous()
    for name, value in list(tensors.items()):
        match = re.fullmatch(_FILTER + "h", name)
        if match is not None and int(match["layer"]) in medium:
            tensors[name] = value.repeat_interleave(width // value.shape[0], dim=0)
    config["hcm_layer_idxs"] = sorted((*medium, *filters))
    config["hcl_layer_idxs"] = []
    config["hcm_filter_length"], config["hcm_filter_groups"] = taps, width
    return {"taps": taps, "layers": layers}
