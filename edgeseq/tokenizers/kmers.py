"""k-mers as numbers: the positional value of their letters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import TokenizerError
from edgeseq.tokenizers.fields import HIGHEST_ID, Fields


@dataclass(frozen=True, slots=True)
class Kmers:
    """All words of ``k`` letters, numbered from ``first`` on in the order of ``letters``, the last letter fastest."""

    k: int
    letters: str
    first: int

    def __post_init__(self) -> None:
        distinct = set(self.letters)
        if len(distinct) != len(self.letters) or len(distinct) < 2 or not self.letters.isascii():
            raise TokenizerError(f"tokenizer specification: 'letters' are {self.letters!r}; expected distinct letters")
        if self.last > HIGHEST_ID:
            raise TokenizerError(f"tokenizer specification: {self.k}-mers have more ids than 2^31")

    @classmethod
    def read(cls, fields: Fields) -> Kmers:
        """The k-mers of a specification: ``k``, ``letters`` (``"ACGT"``) and ``first``. Raises `TokenizerError`."""
        return cls(fields.number("k", least=1), fields.text("letters", "ACGT"), fields.number("first"))

    def spec(self) -> dict[str, Any]:
        """The entries that `read` reads."""
        return {"k": self.k, "letters": self.letters, "first": self.first}

    @property
    def last(self) -> int:
        """The highest id of a k-mer."""
        return self.first + int(len(self.letters) ** self.k) - 1

    def digits(self) -> bytes:
        """A translation table from letters to digits; every other byte becomes 0."""
        table = bytearray(256)
        for digit, letter in enumerate(self.letters.encode()):
            table[letter] = digit
        return bytes(table)

    def values(self, digits: NDArray[np.uint8]) -> NDArray[Any]:
        """The number of the k-mer that starts at each place, without ``first``; k - 1 fewer than ``digits``.

        Words are put together from halves, in the smallest integers that hold them.
        """
        rows: dict[int, NDArray[Any]] = {1: digits}

        def row(length: int) -> NDArray[Any]:
            if length not in rows:
                right = length // 2
                left = length - right
                base = len(self.letters) ** right
                heads, tails = row(left), row(right)
                kind = np.min_scalar_type(len(self.letters) ** length - 1)
                value = heads[: len(digits) - length + 1].astype(kind) * kind.type(base)
                value += tails[left : left + len(value)]
                rows[length] = value
            return rows[length]

        return row(self.k)

    def spell(self, ids: NDArray[Any], place: int) -> NDArray[np.uint8]:
        """The letter at ``place`` of each k-mer, as bytes of the shape of ``ids``."""
        base = len(self.letters)
        digit = (ids.astype(np.int64) - self.first) // base ** (self.k - 1 - place) % base
        letters: NDArray[np.uint8] = np.frombuffer(self.letters.encode(), np.uint8)[digit]
        return letters

    def holds(self, ids: NDArray[Any]) -> NDArray[np.bool_]:
        """Which ids are k-mers."""
        inside: NDArray[np.bool_] = (ids >= self.first) & (ids <= self.last)
        return inside
