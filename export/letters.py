"""Letters and their ids, for a net that comes without a tokenizer of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.manifest import Alphabet
from edgeseq.tokenizers import load_tokenizer
from export.errors import FamilyError


@dataclass(frozen=True, slots=True)
class LetterIds:
    """Each letter's id, that of all other letters, that of padding, and ids around a sequence."""

    ids: dict[str, int]
    unknown: int
    pad: int
    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()

    @property
    def below(self) -> int:
        """One more than the largest id."""
        return max(*self.ids.values(), self.unknown, self.pad, *self.prefix, *self.suffix) + 1

    @property
    def added(self) -> int:
        """Ids that a row has beyond its letters."""
        return len(self.prefix) + len(self.suffix)

    def one_hot(self) -> NDArray[np.float32]:
        """Channels (ids × letters): 1 at an id's own letter, in the order of the letters; none for any other id."""
        table = np.zeros((self.below, len(self.ids)), np.float32)
        for channel, number in enumerate(self.ids.values()):
            table[number, channel] = 1
        return table

    def spec(self) -> dict[str, Any]:
        """For `edgeseq.tokenizers.load_tokenizer`."""
        frame = {"prefix": list(self.prefix), "suffix": list(self.suffix)}
        return {
            "type": "nucleotide",
            "vocabulary": dict(self.ids),
            "case": "either",
            "unknown": self.unknown,
            "pad": self.pad,
            **{key: value for key, value in frame.items() if value},
        }


def read_letters(
    written: str,
    *,
    one_hot: bool,
    alphabet: Alphabet = "dna",
    pad: int | None = None,
    prefix: tuple[int, ...] = (),
    suffix: tuple[int, ...] = (),
) -> LetterIds:
    """What a user wrote: ``ACGTN`` (ids from 0 on) or ``A=7,C=8,G=9,T=10,N=11``.

    Letters that are not listed are N's (a protein's: X's). ``one_hot``: without such a letter they have no channel.
    ``pad`` is the id of padding; without it, that of unknown letters. Raises `FamilyError` for a vocabulary that is
    not written so, and for one that leaves unknown letters without an id.
    """
    pairs = [(letter, str(number)) for number, letter in enumerate(written)]
    if "=" in written:
        pairs = [(letter, number) for letter, _, number in (part.partition("=") for part in written.split(","))]
    if not pairs or any(not number.isdecimal() for _, number in pairs):
        raise FamilyError(written or "an empty vocabulary", "a vocabulary is written ACGTN, or A=7,C=8,G=9,T=10,N=11")
    ids = {letter: int(number) for letter, number in pairs}
    if len(ids) < len(pairs) or any(len(letter) != 1 or not letter.isupper() for letter in ids):
        raise FamilyError(written, "a vocabulary lists upper-case letters, each once")
    letter = "X" if alphabet == "protein" else "N"
    unknown = ids.get(letter)
    if unknown is None:
        if not one_hot:
            raise FamilyError(written, f"has no {letter}, which stands for every letter that is not listed")
        unknown = max(ids.values()) + 1
    found = LetterIds(ids, unknown, unknown if pad is None else pad, prefix, suffix)
    load_tokenizer(found.spec())
    return found
