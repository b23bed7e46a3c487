"""Ways of telling somebody: a channel delivers a message, or raises `ChannelError` with the reason why not.

A channel's settings are a frozen dataclass with a ``name`` that tells it from the others, and ``open`` that gives the
channel itself. A channel blocks as long as its time limit says, and never longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from edgeseq.errors import EdgeseqError


class ChannelError(EdgeseqError):
    """A message was not delivered; it may be tried again."""


class Channel(Protocol):
    """Somebody who can be told."""

    def deliver(self, message: Mapping[str, Any]) -> None:
        """Returns once the message arrived. Raises ChannelError."""

    def close(self) -> None:
        """Frees what the channel holds."""


class ChannelSettings(Protocol):
    """Where a channel leads."""

    @property
    def label(self) -> str:
        """What the channel is called in the journal and on the page: no secret is part of it."""

    def open(self) -> Channel:
        """The channel. Raises MissingExtraError where it needs a package that is not installed."""
