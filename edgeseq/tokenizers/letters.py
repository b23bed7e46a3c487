"""Vocabularies of single letters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import TokenizerError
from edgeseq.tokenizers.frame import Frame, Ids, narrowest


class Letters:
    """Which id each byte has, and which byte each id.

    ``either_case``: lower-case letters count as the upper-case letters of the vocabulary. Bytes outside it get the id
    ``unknown``.
    """

    def __init__(self, vocabulary: Mapping[str, int], unknown: int, frame: Frame, *, either_case: bool) -> None:
        highest = max(*vocabulary.values(), unknown, *frame.ids)
        self.table: NDArray[Any] = np.full(256, unknown, narrowest(highest))
        """One id for each byte."""
        self.known = np.zeros(256, bool)
        """Which bytes are in the vocabulary."""
        self._bytes = np.zeros(highest + 1, np.uint8)
        self._silent = sorted(frame.ids - {unknown})
        for letter, number in vocabulary.items():
            for byte in {ord(letter), ord(letter.lower()) if either_case else ord(letter)}:
                self.table[byte] = number
                self.known[byte] = True
            self._bytes[number] = ord(letter)

    def decode(self, ids: Ids) -> bytes:
        """The letters of a row; special tokens and padding have none. Raises `TokenizerError` at an unknown token."""
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < len(self._bytes):
            raise TokenizerError(f"token ids lie outside the vocabulary: {int(ids.min())} to {int(ids.max())}")
        letters: NDArray[np.uint8] = self._bytes[ids]
        lost = ids[letters == 0]
        odd = lost[~np.isin(lost, self._silent)]
        if len(odd):
            raise TokenizerError(f"token {int(odd[0])} stands for no letter")
        return bytes(letters[letters != 0])


def run_starts(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where runs of true begin, of the shape of ``mask``."""
    starts: NDArray[np.bool_] = mask.copy()
    starts[1:] &= ~mask[:-1]
    return starts
