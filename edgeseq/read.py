"""One sequencing read, and what its header said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Header:
    """A read header, whichever dialect it was written in.

    Fields that the header does not give are empty strings, ``None`` or an empty mapping.
    """

    run: str = ""
    """Acquisition id: 40 hex digits in old files, a UUID in new ones."""
    channel: int | None = None
    number: int | None = None
    """The read's number within its channel (``read=``, ``rn:i``)."""
    start_time: str = ""
    """As written; ISO 8601."""
    barcode: str = ""
    parent: str = ""
    """Id of the read that this one was split from (``parent_read_id``, ``pi:Z``), where it is another read."""
    flow_cell: str = ""
    sample: str = ""
    model: str = ""
    """Basecalling model."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Every ``key=value`` or ``XX:T:value`` of the header, as text; of a key that occurs twice, the last value that is
    not empty."""


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
            from edgeseq.headers import parse_header

            self._header = parse_header(self.description, source=self.source, read_id=self.id)
        return self._header

    @property
    def barcode(self) -> str:
        """`header.barcode`, mostly without parsing the rest of the header."""
        if self._header is not None:
            return self._header.barcode
        from edgeseq.headers import barcode

        return barcode(self.description, self.source)
