"""Draws with replacement from groups of what was measured: files, sequences, single reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

REPEATS = 2000
_CELLS = 1 << 22


def weights(groups: int, rng: np.random.Generator, repeats: int = REPEATS) -> Iterator[NDArray[np.float64]]:
    """How often each group is in each draw of as many groups as there are, in lots of draws (draws × groups)."""
    lot = max(1, _CELLS // groups)
    odds = np.full(groups, 1 / groups)
    for start in range(0, repeats, lot):
        yield rng.multinomial(groups, odds, min(lot, repeats - start)).astype(np.float64)


def drawn_sums(group: NDArray[Any], values: NDArray[np.floating[Any]], rng: np.random.Generator) -> NDArray[np.float64]:
    """Sums of ``values`` (items × columns) over the items of drawn groups: (draws × columns). ``group`` names the group
    of each item."""
    names, place = np.unique(group, return_inverse=True)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, place, values)
    return np.concatenate([drawn @ sums for drawn in weights(len(names), rng)])
