"""What stands around the tokens of a sequence: special tokens, truncation, padding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edgeseq.errors import TokenizerError
from edgeseq.tokenizers.fields import Fields
from edgeseq.tokenizers.text import Splitter, one_byte_per_character

Ids = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Frame:
    """The part of a specification that all kinds of tokenizer share."""

    pad: int
    """Fills rows of a batch."""
    pad_side: Literal["left", "right"] = "right"
    """Where the published tokenizer puts padding."""
    prefix: tuple[int, ...] = ()
    """Ids before every sequence, such as ``[CLS]``."""
    suffix: tuple[int, ...] = ()
    """Ids after every sequence, such as ``[SEP]``."""
    special: Mapping[str, int] = field(default_factory=dict)
    """Tokens that keep their meaning when they are written out in the text, such as ``<mask>``."""
    strips_left: tuple[str, ...] = ()
    """Special tokens that swallow the white space before them."""
    max_length: int | None = None
    """Longest row, prefix and suffix included; tokens beyond it are cut off at the right end."""
    piece: int | None = None
    """From this many tokens on, pieces of this length get a prefix and suffix each (DNABERT: 510)."""
    _splitter: Splitter | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.max_length is not None and self.max_length < self.added:
            raise TokenizerError(f"tokenizer specification: 'max_length' {self.max_length} leaves no room for sequence")
        unknown = set(self.strips_left) - set(self.special)
        if unknown:
            raise TokenizerError(f"tokenizer specification: 'strips_left' names no special token: {sorted(unknown)}")
        object.__setattr__(self, "_splitter", Splitter(self.special, self.strips_left) if self.special else None)

    @classmethod
    def read(cls, fields: Fields) -> Frame:
        """The frame in a specification. Raises `TokenizerError`."""
        side = fields.text("pad_side", "right", choices=("left", "right"))
        return cls(
            pad=fields.number("pad"),
            pad_side="left" if side == "left" else "right",
            prefix=fields.numbers("prefix"),
            suffix=fields.numbers("suffix"),
            special=fields.ids("special", letters=False),
            strips_left=fields.texts("strips_left"),
            max_length=fields.number("max_length", least=1) if fields.has("max_length") else None,
            piece=fields.number("piece", least=1) if fields.has("piece") else None,
        )

    def spec(self) -> dict[str, Any]:
        """The entries that `read` reads; those that say nothing are left out."""
        entries: dict[str, Any] = {
            "pad_side": "left" if self.pad_side == "left" else None,
            "prefix": list(self.prefix),
            "suffix": list(self.suffix),
            "special": dict(self.special),
            "strips_left": list(self.strips_left),
            "max_length": self.max_length,
            "piece": self.piece,
        }
        return {"pad": self.pad, **{name: value for name, value in entries.items() if value}}

    @property
    def added(self) -> int:
        """How many ids stand around a sequence."""
        return len(self.prefix) + len(self.suffix)

    @property
    def empty(self) -> bool:
        """Whether a row is its tokens and nothing else: nothing is added, cut off or looked for in the text."""
        return not (self.added or self.special) and self.max_length is None and self.piece is None

    @property
    def ids(self) -> frozenset[int]:
        """Every id that the frame can put into a row."""
        return frozenset((self.pad, *self.prefix, *self.suffix, *self.special.values()))

    def count(self, tokens: int) -> int:
        """How many ids a row of that many tokens has."""
        if self.max_length is not None:
            tokens = min(tokens, self.max_length - self.added)
        pieces = tokens // self.piece + 1 if self.piece else 1
        return tokens + pieces * self.added

    def encode(self, sequence: bytes, body: Callable[[bytes], Ids]) -> Ids:
        """The ids of a sequence, of which ``body`` gives those of text without special tokens."""
        sequence = one_byte_per_character(sequence)
        pieces = [sequence] if self._splitter is None else self._splitter.split(sequence)
        if len(pieces) == 1 and isinstance(pieces[0], bytes):
            return self.wrap(body(pieces[0]))
        empty = body(b"")
        parts = [body(piece) if isinstance(piece, bytes) else np.array([piece], empty.dtype) for piece in pieces]
        return self.wrap(np.concatenate(parts) if parts else empty)

    def wrap(self, tokens: Ids) -> Ids:
        """A row: ``tokens``, cut to length, with prefix and suffix. Without any of these, ``tokens`` itself."""
        if self.max_length is not None:
            tokens = tokens[: self.max_length - self.added]
        if not self.added:
            return tokens
        step = self.piece or len(tokens) + 1
        row = np.empty(self.count(len(tokens)), tokens.dtype)
        at = 0
        for start in range(0, len(tokens) + 1, step):
            part = tokens[start : start + step]
            row[at : at + len(self.prefix)] = self.prefix
            at += len(self.prefix)
            row[at : at + len(part)] = part
            at += len(part)
            row[at : at + len(self.suffix)] = self.suffix
            at += len(self.suffix)
        return row

    def spans(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
        """Start and end of each token of a row (tokens × 2), of the sequence's own tokens in order; nothing for others.

        Ids of prefix and suffix start and end at 0. Special tokens that are written out in the text have no place in
        this count: a normalised sequence holds none.
        """
        nobody = replace(self, prefix=(-1,) * len(self.prefix), suffix=(-1,) * len(self.suffix))
        tokens = nobody.wrap(np.arange(len(starts)))
        found: NDArray[np.int64] = np.stack([np.append(starts, 0)[tokens], np.append(ends, 0)[tokens]], axis=1)
        return found


def narrowest(highest: int) -> DTypeLike:
    """The smallest element type that the runtime uses for ids up to ``highest``: uint8 or int32."""
    return np.uint8 if highest < 256 else np.int32
