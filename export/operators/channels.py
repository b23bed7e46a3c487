"""Bases, and what is known of each of them, as channels that are 0 or 1: input without a table of embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional


def channels(
    bases: torch.Tensor,
    vocabulary: int,
    features: Sequence[torch.Tensor],
    values: int,
    width: int,
    probabilities: torch.Tensor | None = None,
) -> torch.Tensor:
    """Batch × length × ``width``: the channels of the base, then those of each feature, then zeros.

    ``bases`` are ids (batch × length). Each of ``features`` (batch × length × number of features) holds whole numbers
    below ``values``; channel ``i`` of one is 1 where it is ``i``. Where any of a base's ``probabilities`` (batch ×
    length × ``vocabulary``) is not 0, they are its channels instead.
    """
    found = _one_hot(bases, vocabulary)
    if probabilities is not None:
        found = torch.where((probabilities != 0).any(dim=-1, keepdim=True), probabilities, found)
    parts = [found, *(_one_hot(each, values).flatten(-2) for each in features)]
    joined = torch.cat(parts, dim=-1) if len(parts) > 1 else found
    return functional.pad(joined, (0, width - joined.shape[-1]))


def _one_hot(x: torch.Tensor, values: int) -> torch.Tensor:
    return functional.one_hot(x, values).to(torch.float32)
