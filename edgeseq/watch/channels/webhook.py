"""Alerts as JSON, posted to a web address."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from edgeseq import __version__
from edgeseq.errors import UsageError
from edgeseq.watch.channels import Channel, ChannelError

_SHOWN = 200
"""Bytes of a refusal that are shown."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address that takes JSON. Any answer of 200 to 299 counts as delivered."""

    url: str = field(repr=False)
    """The address."""
    name: str = ""
    """How it is called where the address, which may hold a secret, must not be shown."""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Further headers of the request, as a table; those that hold secrets come from ``headers_file``."""
    timeout: float = 10.0
    """Seconds."""

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"webhook {self.url!r}: an address starts with http:// or https:// and names a host")
        if not 0 < self.timeout <= 300:
            raise UsageError(f"webhook {self.label}: timeout is {self.timeout}; it lies above 0 and up to 300 seconds")
        if any("\n" in text or "\r" in text for pair in self.headers for text in pair):
            raise UsageError(f"webhook {self.label}: a header holds a line break")

    @property
    def label(self) -> str:
        return self.name or f"webhook {urllib.parse.urlsplit(self.url).hostname}"

    def open(self) -> Channel:
        return _Webhook(self)


class _Webhook:
    def __init__(self, settings: Webhook) -> None:
        self._settings = settings
        self._opener = urllib.request.build_opener(_SameHost)

    def deliver(self, message: Mapping[str, Any]) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": f"edgeseq/{__version__}"}
        headers |= {"Idempotency-Key": str(message["id"]), **dict(self._settings.headers)}
        data = json.dumps(message).encode()
        request = urllib.request.Request(self._settings.url, data, headers, method="POST")
        try:
            with self._opener.open(request, timeout=self._settings.timeout) as answer:
                answer.read(_SHOWN)
        except urllib.error.HTTPError as error:
            with error:
                raise ChannelError(f"answered {error.code} {error.reason}") from error
        except urllib.error.URLError as error:
            raise ChannelError(f"not reached: {error.reason}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ChannelError(f"not reached: {str(error) or type(error).__name__}") from error

    def close(self) -> None:
        """Nothing is held."""


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows no redirection to another host: what an alert says is for the host that was named."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,  # noqa: ARG002  # urllib's signature
        headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if (old.scheme, old.netloc) != (new.scheme, new.netloc):
            raise urllib.error.HTTPError(req.full_url, code, f"redirected to another host, {new.hostname}", headers, fp)
        if code not in (307, 308):  # the others turn a POST into a GET, which delivers nothing
            raise urllib.error.HTTPError(req.full_url, code, f"moved to {new.path}", headers, fp)
        again = urllib.request.Request(newurl, req.data, dict(req.header_items()), method="POST")
        again.timeout = req.timeout
        return again
