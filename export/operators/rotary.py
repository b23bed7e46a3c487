"""Rotary position embeddings (Su et al. 2021): pairs of channels turned by an angle that grows with the position."""

from __future__ import annotations

import torch

from export.operators.engine import exporting, node


def rotary_tables(x: torch.Tensor, size: int, *, base: float = 10000.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines (length × size / 2) of the angles for each position of ``x`` (batch × length × …).

    Pair ``j`` of a head's ``size`` channels turns by ``base ** (-2 j / size)`` per position; positions count from 0 at
    the left end of the row.
    """
    speeds = 1.0 / base ** (torch.arange(0, size, 2, dtype=torch.float32, device=x.device) / size)
    angles = torch.arange(x.shape[1], dtype=torch.float32, device=x.device)[:, None] * speeds
    return angles.cos(), angles.sin()


def rotary(
    x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor, heads: int, *, interleaved: bool = False
) -> torch.Tensor:
    """``x`` (batch × length × heads · size) with each head's channels turned, in the same layout.

    ``cosines`` and ``sines`` are (length × pairs); channels beyond the first ``2 · pairs`` of a head stay. A pair is
    channel ``j`` with ``j + pairs``, or, ``interleaved``, ``2 j`` with ``2 j + 1``.
    """
    if exporting():
        return _fused(x, cosines, sines, heads, interleaved)
    pairs = cosines.shape[-1]
    split = x.unflatten(-1, (heads, -1))
    turned, rest = split[..., : 2 * pairs], split[..., 2 * pairs :]
    first, second = (turned[..., 0::2], turned[..., 1::2]) if interleaved else turned.chunk(2, dim=-1)
    cosines, sines = cosines[:, None, :], sines[:, None, :]
    new = first * cosines - second * sines, second * cosines + first * sines
    joined = torch.stack(new, dim=-1).flatten(-2) if interleaved else torch.cat(new, dim=-1)
    return torch.cat((joined, rest), dim=-1).flatten(-2) if rest.shape[-1] else joined.flatten(-2)


def _fused(x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor, heads: int, interleaved: bool) -> torch.Tensor:
    first = torch.zeros(1, dtype=torch.int64, device=x.device)
    attributes = {
        "interleaved": int(interleaved),
        "num_heads": heads,
        "rotary_embedding_dim": 2 * int(cosines.shape[-1]),
    }
    return node("RotaryEmbedding", (x, first, cosines, sines), x.shape, x.dtype, attributes)
