"""Tiara (Karlicki et al. 2022): is a contig of an organelle, and of which? From the k-mers of pieces of 5000 bases.

Counts of all k-mers in lexicographic order, times their weights (inverse document frequencies), divided by the length
of that vector; then three dense layers. This is the second of tiara's two stages, which is asked about sequences that
the first took for an organelle's.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional

LABELS = ("plastid", "unknown", "mitochondrion")
PIECE = 5000
BASES = 4


class Kmers(nn.Module):
    """Ids (batch × length; A, C, G, T are 0 to 3, everything else is 4 or more) to logits (batch × classes)."""

    weights: torch.Tensor

    def __init__(self, sizes: list[int], weights: torch.Tensor) -> None:
        """``sizes`` are the widths of the layers, the number of k-mers first."""
        super().__init__()
        self.k = len(np.base_repr(sizes[0], BASES)) - 1
        self.register_buffer("weights", weights, persistent=False)
        self.places = (0, 3, 6)
        for place, width, out in zip(self.places, sizes, sizes[1:], strict=False):
            self.add_module(str(place), nn.Linear(width, out))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        kmers = BASES**self.k
        length = ids.shape[1]
        longer = functional.pad(ids, (0, self.k - 1), value=BASES)
        code, whole = torch.zeros_like(ids), torch.ones_like(ids, dtype=torch.bool)
        for place in range(self.k):
            base = longer[:, place : place + length]
            code, whole = code * BASES + base, whole & (base < BASES)
        code = torch.where(whole, code, kmers)
        counts = torch.zeros(ids.shape[0], kmers + 1).scatter_add(1, code, torch.ones_like(code, dtype=torch.float32))
        x = counts[:, :kmers] * self.weights
        x = x / x.norm(dim=1, keepdim=True).clamp_min(1e-12)
        for place in self.places:
            x = self.get_submodule(str(place))(x)
            if place != self.places[-1]:
                x = functional.relu(x)
        return x


def network(tensors: Mapping[str, torch.Tensor], idf: str = "") -> Kmers:
    """The net for a published checkpoint of the second stage.

    ``idf`` is the weights' file, ``model.npy`` of the matching folder in tiara (read as plain numbers). Without it all
    k-mers weigh the same; the published ones lie between 5.0 and 7.9. Raises ValueError for a file of
    another size.
    """
    sizes = [tensors["0.weight"].shape[1], *(tensors[f"{place}.weight"].shape[0] for place in (0, 3, 6))]
    weights = np.load(idf, allow_pickle=False) if idf else np.ones(sizes[0])
    if weights.shape != (sizes[0],) or not np.isfinite(weights).all():
        raise ValueError(f"{idf} holds {weights.shape} weights; the net counts {sizes[0]} k-mers")
    return Kmers(sizes, torch.from_numpy(weights.astype(np.float32)))
