"""What the header of a read said."""

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
