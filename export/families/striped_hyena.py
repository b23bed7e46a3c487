"""What Evo 1 and Evo 2 have in common as checkpoints: names, orders of channels, limits."""

from __future__ import annotations

import torch

from export.checkpoint import Checkpoint
from export.errors import FamilyError
from export.network import Request
from export.networks.striped_hyena import StripedShape
from export.settings import Settings
from export.weights import Layout

LARGEST_TABLES = 64 << 20
"""Bytes of long filters that a graph stores; larger ones are computed from their exponentials in each pass."""

_BLOCK = r"(?:backbone\.)?blocks\.(\d+)\."
_RENAMES = (
    (_BLOCK + r"inner_mha_cls\.((?:Wqkv|out_proj)\..+)", r"blocks.\1.mixer.\2"),
    (_BLOCK + r"filter\.(short_filter_.+)", r"blocks.\1.mixer.\2"),
    (_BLOCK + r"(filter\..+|projections\.(?:weight|bias)|out_filter_dense\..+)", r"blocks.\1.mixer.\2"),
    (r"backbone\.(.+)", r"\1"),
)
_UNUSED = {
    r".*\._extra_state": "scales of a training in eight bits",
    r".*\.mixer\.mixer\.filter\.t": "counts from 0",
    r".*\.rotary_emb\.inv_freq": "read apart from the weights, or follows from the configuration",
    r".*\.rotary_emb\.scale": "the positions are not scaled by length",
}


def layout(shape: StripedShape) -> Layout:
    """How published names become those of the network."""
    unused = dict(_UNUSED)
    if shape.tied:
        unused[r"(backbone\.)?unembed\.weight"] = "the decoder is the table of embeddings"
    if not shape.final_norm:
        unused[r"(backbone\.)?norm\.scale"] = "there is no last norm"
    return Layout(renames=_RENAMES, unused=unused)


def gate_columns(settings: Settings, width: int, heads: int) -> torch.Tensor:
    """Which published channel of a projection (3 · width) is which of x2, x1, v.

    ``interleave``: the three take turns. ``column_split_hyena``: they lie beside each other head by head.
    ``hyena_flip_x1x2``: the first two change places.
    """
    rows = torch.arange(3 * width)
    by_turns, by_heads = settings.flag("interleave", False), settings.flag("column_split_hyena", False)
    if by_turns and by_heads:
        settings.refuse("column_split_hyena", "is True, and interleave as well; only one order of channels can be")
    if by_turns:
        rows = rows.reshape(width, 3).T.reshape(-1)
    if by_heads:
        rows = rows.reshape(heads, 3, width // heads).transpose(0, 1).reshape(-1)
    if settings.flag("hyena_flip_x1x2", False):
        rows = rows.reshape(3, width)[[1, 0, 2]].reshape(-1)
    return rows


def attention_rows(settings: Settings, width: int, heads: int) -> torch.Tensor:
    """Which published row of ``Wqkv`` is which of queries, keys and values. ``column_split``: head by head."""
    rows = torch.arange(3 * width)
    if settings.flag("column_split", False):
        rows = rows.reshape(heads, 3, width // heads).transpose(0, 1).reshape(-1)
    return rows


def heads_of(settings: Settings, width: int) -> int:
    """The number of heads, which divides the width into even parts."""
    heads = settings.whole("num_attention_heads")
    if width % heads or (width // heads) % 2:
        settings.refuse("num_attention_heads", f"is {heads}, which does not divide hidden_size {width} into pairs")
    return heads


def positions_per_step(settings: Settings) -> float:
    """By how much rotary positions are stretched."""
    if not settings.flag("use_interpolated_rotary_pos_emb", False):
        return 1.0
    return settings.number("rotary_emb_scaling_factor")


def longest_of(checkpoint: Checkpoint, settings: Settings, request: Request) -> int:
    """The longest row in tokens. Raises `FamilyError` where more is asked for than the model was made for."""
    longest = settings.whole("max_seqlen")
    if request.max_length is not None and request.max_length > longest:
        raise FamilyError(checkpoint, f"rows of {request.max_length} tokens are longer than max_seqlen {longest}")
    return request.max_length or longest


def folds(shape: StripedShape) -> bool:
    """Whether the long filters are small enough to be stored as tables."""
    long = sum(kind in ("real", "complex") for kind in shape.mixing)
    return 4 * long * shape.longest * shape.width <= LARGEST_TABLES


def filter_notes(shape: StripedShape) -> tuple[str, ...]:
    """How the graph has its long filters, for the model card."""
    if not {"real", "complex"} & set(shape.mixing):
        return ()
    if folds(shape):
        return ("The long filters are stored as tables.",)
    return ("The long filters are computed from their exponentials in each pass (--max-length can make them small).",)
