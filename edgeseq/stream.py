"""The decompressed bytes of one source, as a parser takes them."""

from __future__ import annotations

from collections.abc import Iterator

from edgeseq.inflate import DamageError

CHUNK = 1 << 19
"""Bytes from which a rest is grown by its own size, so that long records cost linear time."""
BLANK = b"\r\n\xef\xbb\xbf"
"""What may stand before the first line: line ends and a byte order mark."""
LIMIT = 512_000_000
"""Longest record, in bytes."""


class Stream:
    """Pieces of a source, joined on demand to the rest that a parser has not used yet.

    ``damage`` is set once the pieces end early, and stays ``None`` where the source ended cleanly.
    """

    def __init__(self, name: str, pieces: Iterator[bytes], limit: int = LIMIT) -> None:
        self.name = name
        self.damage: DamageError | None = None
        self.limit = limit
        self._pieces = pieces
        self._head = b""

    def more(self, rest: bytes) -> bytes | None:
        """``rest`` and what follows it (a byte at least, its own length if it is long), or ``None`` at the end."""
        if len(rest) > self.limit:
            self.damage = DamageError(f"a record is longer than {self.limit} bytes", "is this a file of reads?")
            return None
        parts = [rest] if rest else []
        want = min(len(rest), self.limit + 1 - len(rest)) if len(rest) >= CHUNK else 1
        if self._head:
            parts.append(self._head)
            want -= len(self._head)
            self._head = b""
        while want > 0 and (piece := self._next()):
            parts.append(piece)
            want -= len(piece)
        if len(parts) == bool(rest):
            return None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def peek(self, size: int, lines: int = 1) -> bytes:
        """The first bytes, left in place: so many ``lines`` after blank ones, ``size`` bytes, or all of the source."""
        while self._head.lstrip(BLANK).count(b"\n") < lines and len(self._head) < size and (piece := self._next()):
            self._head += piece
        return self._head[:size]

    def skip(self, size: int) -> None:
        """Nothing; drops the first ``size`` bytes of what `peek` has seen."""
        self._head = self._head[size:]

    def _next(self) -> bytes:
        try:
            return next(self._pieces, b"")
        except DamageError as damage:
            self.damage = damage
            self._pieces = iter(())
            return b""
