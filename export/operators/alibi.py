"""Attention with linear biases (Press et al. 2022), in the symmetric form of encoders."""

from __future__ import annotations

import torch


def alibi_slopes(heads: int) -> tuple[float, ...]:
    """How fast each head's attention falls with distance.

    For a power of two, ``2 ** (-8 (h + 1) / heads)``. Otherwise the slopes of the largest power of two below, then
    every second slope of twice that many heads, from the first, until there are enough.
    """
    below = 1 << (heads.bit_length() - 1)
    slopes = _even(below)
    return (slopes + _even(2 * below)[0::2])[:heads]


def alibi_bias(x: torch.Tensor, slopes: tuple[float, ...]) -> torch.Tensor:
    """The bias of attention scores, 1 × heads × length × length, for ``x`` (batch × length × …): minus slope times
    distance. It is computed once a run and shared by all layers and rows."""
    places = torch.arange(x.shape[1], dtype=torch.float32, device=x.device)
    distances = (places[None, :] - places[:, None]).abs()
    return distances * -torch.tensor(slopes, dtype=torch.float32, device=x.device)[None, :, None, None]


def _even(heads: int) -> tuple[float, ...]:
    return tuple(2.0 ** (-8.0 * (head + 1) / heads) for head in range(heads))
