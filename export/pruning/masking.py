"""Hidden tokens: a masked-language model is asked for what it was trained for, not for tokens that it can see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.network import Model

SHARE = 0.15
"""Of the tokens of a row, as in the training of all these models."""
_NAMES = ("<mask>", "[MASK]", "?")


def mask_of(model: Model) -> int | None:
    """The id that hides a token of a masked-language model; None for other models, or where there is none."""
    if model.task != "masked-lm":
        return None
    words = _special(model.tokenizer) | dict(model.tokenizer.get("vocabulary") or {})
    return next((int(words[name]) for name in _NAMES if name in words), None)


def hidden(model: Model, ids: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """A row with `SHARE` of its tokens hidden, one at least, special ones never; rows of other models as they are.

    Where words overlap, as many neighbours are hidden as know a base of the word.
    """
    mask = mask_of(model)
    if mask is None:
        return ids
    spec = model.tokenizer
    around = {int(each) for key in ("prefix", "suffix") for each in spec.get(key) or ()}
    kept = around | {int(each) for each in _special(spec).values()}
    open_ = np.flatnonzero(~np.isin(ids, sorted(kept)))
    if not len(open_):
        return ids
    run = int(spec["k"]) if spec.get("overlap") else 1
    count = max(1, round(len(open_) * SHARE / run))
    starts = rng.choice(len(open_), min(count, len(open_)), replace=False)
    places = np.unique(np.clip(starts[:, None] + np.arange(run), 0, len(open_) - 1))
    found = ids.copy()
    found[open_[places]] = mask
    return found


def _special(spec: Mapping[str, Any]) -> dict[str, int]:
    added = {str(token["content"]): int(token["id"]) for token in spec.get("added_tokens") or ()}
    return added | {str(name): int(number) for name, number in (spec.get("special") or {}).items()}
