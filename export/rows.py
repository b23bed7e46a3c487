"""Rows of ids that look like real input: sequences of random bases or residues through the model's own tokenizer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeseq.manifest import Alphabet
from edgeseq.tokenizers import Tokenizer, load_tokenizer
from export.errors import FamilyError
from export.network import Model

_LETTERS: dict[Alphabet, bytes] = {"dna": b"ACGT", "protein": b"ACDEFGHIKLMNPQRSTVWY"}
_UNKNOWN: dict[Alphabet, bytes] = {"dna": b"N", "protein": b"X"}


def row(tokenizer: Tokenizer, alphabet: Alphabet, tokens: int, seed: int) -> NDArray[np.int64]:
    """``tokens`` ids of a sequence with 1 % unknown letters, as the tokenizer gives them.

    The row is cut at its right end where the tokenizer does not hit the number exactly. Raises `FamilyError` for a
    tokenizer that takes whole sequences for one word, however long.
    """
    rng = np.random.default_rng([seed, tokens])
    bases = max(8, tokens)
    while True:
        letters = np.frombuffer(_LETTERS[alphabet], np.uint8)[rng.integers(0, len(_LETTERS[alphabet]), bases)]
        letters = np.where(rng.random(bases) < 0.01, np.uint8(_UNKNOWN[alphabet][0]), letters)
        ids = tokenizer.encode(letters.astype(np.uint8).tobytes())
        if len(ids) >= tokens:
            return ids[:tokens].astype(np.int64)
        if bases > 1000 + 100 * tokens:
            raise FamilyError(
                "tokenizer",
                f"it makes {len(ids)} tokens of {bases} letters, and never {tokens}",
                remedy="give the model a tokenizer for sequences",
            )
        bases = bases * 2


def batch_for(model: Model, lengths: Sequence[int], *, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """As `batch`, for a model. For a model of signal only the shapes mean anything: so many samples, none of them
    padding."""
    if model.alphabet != "signal":
        return batch(load_tokenizer(model.tokenizer), model.alphabet, lengths, seed=seed)
    ids = np.zeros((len(lengths), max(lengths)), np.int64)
    return ids, np.ones_like(ids)


def batch(
    tokenizer: Tokenizer, alphabet: Alphabet, lengths: Sequence[int], *, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of these token lengths, padded to the longest on the tokenizer's side, and their mask: (rows × length)."""
    longest = max(lengths)
    ids = np.full((len(lengths), longest), tokenizer.pad_id, np.int64)
    mask = np.zeros_like(ids)
    for at, tokens in enumerate(lengths):
        place = slice(longest - tokens, None) if tokenizer.pad_side == "left" else slice(0, tokens)
        ids[at, place] = row(tokenizer, alphabet, tokens, seed + at)
        mask[at, place] = 1
    return ids, mask
