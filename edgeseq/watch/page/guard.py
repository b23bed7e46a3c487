"""Who may see the page: a guard in front of everything that is served."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode

from edgeseq.watch.page.settings import PageSettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "edgeseq"
WRONG_PAUSE = 0.5
"""Seconds before somebody who named a wrong token hears so."""
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""Added to every answer."""


class Guard:
    """Lets requests through to ``app`` that name the token, and, on loopback, that mean this machine by name."""

    def __init__(self, app: ASGIApp, settings: PageSettings) -> None:
        self._app = app
        self._settings = settings
        self._cookie = hmac.new(settings.token.encode(), b"edgeseq page", hashlib.sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if self._settings.loopback and not self._meant(headers.get("host", "")):
            await _refuse(send, 421, "This page is served for this machine only: ask for it as localhost.")
            return
        query = parse_qs(scope["query_string"].decode("latin-1"))
        named = query.get("token", [])
        if self._settings.token and not self._known(headers, named):
            if named or "authorization" in headers:
                await asyncio.sleep(WRONG_PAUSE)
            await _refuse(send, 401, "Open this page with ?token=… and the token of the daemon's configuration.")
            return
        added = [*HEADERS]
        if self._settings.token and named:
            cookie = f"{COOKIE}={self._cookie}; HttpOnly; SameSite=Strict; Path=/; Max-Age=604800"
            added.append((b"set-cookie", cookie.encode()))
            if scope["path"] == "/":  # the token stays neither in the address bar nor in the history
                rest = urlencode({key: values for key, values in query.items() if key != "token"}, doseq=True)
                where = f"/?{rest}" if rest else "/"
                await _answer(send, 303, b"", [*added, (b"location", where.encode())])
                return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        await self._app(scope, receive, with_headers)

    def _meant(self, host: str) -> bool:
        """Whether a Host header names this machine: a name that somebody else's DNS points here does not."""
        name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
        if name.lower() in ("localhost", self._settings.host.lower()):
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False

    def _known(self, headers: Mapping[str, str], named: list[str]) -> bool:
        """Whether the request names the token, or has the cookie of somebody who did."""
        kind, _, value = headers.get("authorization", "").partition(" ")
        offered = [*named, value.strip() if kind.lower() == "bearer" else ""]
        by_token = [_same(one, self._settings.token) for one in offered]
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            cookie = None
        return any(by_token) or (cookie is not None and _same(cookie.value, self._cookie))


def _same(one: str, other: str) -> bool:
    """Takes as long whatever they share."""
    return hmac.compare_digest(one.encode("utf-8", "surrogateescape"), other.encode())


async def _refuse(send: Send, status: int, words: str) -> None:
    added = [*HEADERS, (b"content-type", b"text/plain; charset=utf-8")]
    if status == 401:
        added.append((b"www-authenticate", b"Bearer"))
    await _answer(send, status, f"{words}\n".encode(), added)


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
