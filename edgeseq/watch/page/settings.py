"""Where the page is served, and to whom."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from edgeseq.errors import UsageError

TOKEN_LENGTH = 16
"""The fewest characters of a token."""


@dataclass(frozen=True, slots=True)
class PageSettings:
    """The page is for this machine alone, unless a token is set."""

    host: str = "127.0.0.1"
    """An address of this machine, or ``0.0.0.0`` or ``::`` for all of them."""
    port: int = 8437
    """0 takes any free one."""
    token: str = field(default="", repr=False)
    """Whoever wants to see the page has to name it. Without one, only this machine is listened to."""

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise UsageError(f"page: port is {self.port}; it lies from 0 to 65535")
        if self.token and (len(self.token) < TOKEN_LENGTH or not self.token.isascii() or not self.token.isprintable()):
            raise UsageError(f"page: the token has to have at least {TOKEN_LENGTH} printable ASCII characters")
        if not self.token and not self.loopback:
            raise UsageError(
                f"page: {self.host} can be reached from other machines; set a token of at least {TOKEN_LENGTH} "
                "characters, or serve the page on 127.0.0.1"
            )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the host."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False
