"""Text as a tokenizer sees it: one byte for each character, special tokens apart."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

LETTER = b"\xff"
"""Stands for a character outside ASCII; no vocabulary has it."""
MARK = b"\xfe"
"""Stands for punctuation outside ASCII, and for ideographs, which are words of their own."""
SPACES = b" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f"
"""ASCII white space, as Python's ``str.split`` has it."""


def one_byte_per_character(sequence: bytes) -> bytes:
    """UTF-8 text with every character outside ASCII replaced by a space, `MARK` or `LETTER`.

    Bytes that are not UTF-8 count as one character each. ASCII comes back as it is.
    """
    if sequence.isascii():
        return sequence
    return b"".join(map(_byte, sequence.decode("utf-8", errors="replace")))


def _byte(character: str) -> bytes:
    if character < "\x80":
        return character.encode()
    if character.isspace():
        return b" "
    if unicodedata.category(character).startswith("P") or unicodedata.name(character, "").startswith("CJK UNIFIED"):
        return MARK
    return LETTER


class Splitter:
    """Cuts text at special tokens that are written out in it, such as ``<mask>``.

    Where several start at one place the longest wins. A token in ``strips_left`` swallows the white space before it.
    """

    def __init__(self, special: Mapping[str, int], strips_left: Sequence[str]) -> None:
        names = sorted(special, key=len, reverse=True)
        self._ids = {name.encode(): number for name, number in special.items()}
        self._strips_left = frozenset(name.encode() for name in strips_left)
        self._pattern = re.compile(b"|".join(re.escape(name.encode()) for name in names))
        self._openings = tuple({name.encode()[:1] for name in names})

    def split(self, sequence: bytes) -> list[bytes | int]:
        """The text between special tokens and the ids of these, in order; no empty text."""
        if not any(opening in sequence for opening in self._openings):
            return [sequence] if sequence else []
        pieces: list[bytes | int] = []
        start = 0
        for match in self._pattern.finditer(sequence):
            before = sequence[start : match.start()]
            pieces.append(before.rstrip(SPACES) if match.group() in self._strips_left else before)
            pieces.append(self._ids[match.group()])
            start = match.end()
        pieces.append(sequence[start:])
        return [piece for piece in pieces if piece != b""]
