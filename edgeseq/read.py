"""One sequencing read."""

from __future__ import annotations

from edgeseq.header import Header
from edgeseq.headers import barcode, parse_header

__all__ = ["Header", "Read"]


class Read:
    """One read as its source holds it: not normalised, not trimmed.

    ``sequence`` and ``quality`` are immutable ``bytes`` that the read owns; ``quality`` is empty where the source has
    none (FASTA, BAM without qualities). ``description`` is the header line after the id, undecoded. ``source`` names
    the file as the caller gave it, ``record`` is the zero-based index of the record in it and ``offset`` the byte
    offset at which the record starts in the decompressed stream. `header` parses ``description`` on first use.
    """

    __slots__ = ("_header", "description", "id", "offset", "quality", "record", "sequence", "source")

    def __init__(
        self,
        id: str,
        sequence: bytes,
        quality: bytes = b"",
        description: bytes = b"",
        source: str = "",
        record: int = 0,
        offset: int = 0,
        header: Header | None = None,
    ) -> None:
        self.id = id
        self.sequence = sequence
        self.quality = quality
        self.description = description
        self.source = source
        self.record = record
        self.offset = offset
        self._header = header

    def __len__(self) -> int:
        return len(self.sequence)

    def __repr__(self) -> str:
        return f"Read({self.id!r}, {len(self.sequence)} b, {self.source}:{self.record})"

    @property
    def header(self) -> Header:
        """The parsed header."""
        if self._header is None:
            self._header = parse_header(self.description, source=self.source, read_id=self.id)
        return self._header

    @property
    def barcode(self) -> str:
        """`header.barcode`, mostly without parsing the rest of the header."""
        if self._header is not None:
            return self._header.barcode
        return barcode(self.description, self.source)
