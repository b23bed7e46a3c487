"""Attention of several heads over rows that may be padded."""

from __future__ import annotations

import torch
from torch.nn import functional

from export.operators.engine import Attribute, exporting, node

MASKED = -10000.0
"""Added to the score of a key that must not be seen: finite, and 0 after the exponential."""


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    heads: int,
    *,
    mask: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> torch.Tensor:
    """What each position of ``query`` (batch × length × heads · size) sees of ``value``, in the same layout.

    ``mask`` (batch × length of the keys; whole numbers or truth values) is 0 at keys that no position sees. ``bias``
    (1 or batch × 1 or heads × length × length of the keys) is added to the scores; it should be finite (`MASKED`).
    ``causal`` hides the keys behind a position. ``scale`` multiplies the scores; without it, one over the root of the
    size of a head.
    """
    if exporting():
        return _fused(query, key, value, heads, mask, bias, causal, scale)
    q, k, v = (each.unflatten(-1, (heads, -1)).transpose(1, 2) for each in (query, key, value))
    if mask is not None:
        hidden = torch.where(mask.to(torch.bool), 0.0, MASKED)[:, None, None, :].to(query.dtype)
        bias = hidden if bias is None else bias + hidden
    if causal and bias is not None:
        lengths = query.shape[1], key.shape[1]
        bias = bias + torch.full(lengths, MASKED, dtype=query.dtype, device=query.device).triu(1)
        causal = False
    seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=causal, scale=scale)
    return seen.transpose(1, 2).flatten(-2)


def _fused(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    heads: int,
    mask: torch.Tensor | None,
    bias: torch.Tensor | None,
    causal: bool,
    scale: float | None,
) -> torch.Tensor:
    attributes: dict[str, Attribute] = {
        "num_heads": heads,
        "mask_filter_value": MASKED,
        "unidirectional": int(causal),
    }
    if scale is not None:
        attributes["scale"] = scale
    shape = (*query.shape[:2], value.shape[2])
    if mask is not None and bias is None and not causal:
        scale = (query.shape[-1] // heads) ** -0.5 if scale is None else scale
        query, key = _with_mask_channel(query, key, mask, heads, scale)
        return node("MultiHeadAttention", (query, key, value), shape, query.dtype, {**attributes, "scale": scale})
    hidden = None if mask is None else mask.to(torch.int32)
    return node("MultiHeadAttention", (query, key, value, None, hidden, bias), shape, query.dtype, attributes)


def _with_mask_channel(
    query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor, heads: int, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries and keys with one more channel a head, whose product adds `MASKED` to the scores of hidden keys.

    The engine's operator computes the scores block by block, which is faster, only where it is given no mask.
    """
    ones = torch.ones((*query.shape[:2], heads, 1), dtype=query.dtype, device=query.device)
    hidden = torch.where(mask.to(torch.bool), 0.0, MASKED / scale).to(key.dtype)
    hidden = hidden[:, :, None, None].expand(-1, -1, heads, 1)
    query, key = (
        torch.cat((each.unflatten(-1, (heads, -1)), more), dim=-1).flatten(-2)
        for each, more in ((query, ones), (key, hidden))
    )
    return query, key
