"""The page, served from a thread of the daemon's process: GET only, nothing can be changed from it.

/               the page, with the newest snapshot inside
/events         snapshots as server-sent events, at most one a second
/status.json    the newest snapshot
/metrics        the same for Prometheus
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseq.errors import MissingExtraError, UsageError
from edgeseq.watch.live import Live
from edgeseq.watch.page.feed import Feed
from edgeseq.watch.page.guard import Guard
from edgeseq.watch.page.settings import PageSettings

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

BEAT, FLOW = 1.0, 200_000
"""Seconds between events at least, and bytes a second for each listener: phones have slow links."""
TICK = 0.1
"""Seconds within which a listener hears of the end."""
CLIENTS = 16
"""How many may listen to events at the same time."""
CONNECTIONS = 64
STARTED, ENDED = 10.0, 3.0
"""Seconds within which the server has to be up, and has to be gone."""
_HERE = Path(__file__).parent


class Page:
    """Serves the page from `start` to `close`. ``address`` is where."""

    def __init__(self, live: Live, settings: PageSettings) -> None:
        """Binds the port. Raises UsageError where that fails, MissingExtraError without the extra ``dashboard``."""
        try:
            import prometheus_client  # noqa: F401  # whether it is there
            import starlette  # noqa: F401
            import uvicorn
        except ImportError as error:
            raise MissingExtraError(error.name or "starlette", "dashboard") from error
        self._feed = Feed(live)
        self._live = live
        self._clients = 0
        self._socket = _listening(settings)
        host, port = self._socket.getsockname()[:2]
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        parts = {name: (_HERE / name).read_text(encoding="utf-8") for name in ("page.html", "style.css", "page.js")}
        page = parts["page.html"].replace("{{style}}", parts["style.css"]).replace("{{script}}", parts["page.js"])
        self._before, self._after = page.split("{{first}}")
        config = uvicorn.Config(
            Guard(self._routes(), settings),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="edgeseq-page", daemon=True)

    def start(self) -> None:
        """Returns once the page can be asked for."""
        self._thread.start()
        until = time.monotonic() + STARTED
        while not self._server.started and self._thread.is_alive() and time.monotonic() < until:
            time.sleep(0.005)

    def close(self) -> None:
        """Ends; who is listening is sent away."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(ENDED)
        self._socket.close()

    def _serve(self) -> None:
        asyncio.run(self._server.serve([self._socket]))

    def _routes(self) -> Starlette:
        from starlette.applications import Starlette
        from starlette.routing import Route

        return Starlette(
            routes=[
                Route("/", self._page),
                Route("/events", self._events),
                Route("/status.json", self._status),
                Route("/metrics", self._metrics),
            ]
        )

    async def _page(self, _: Request) -> Response:
        from starlette.responses import HTMLResponse

        nonce = secrets.token_urlsafe(16)
        first = await asyncio.to_thread(self._feed.document)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
            "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        before, after = (part.replace("{{nonce}}", nonce) for part in (self._before, self._after))
        return HTMLResponse(before + first + after, headers={"content-security-policy": policy})

    async def _status(self, _: Request) -> Response:
        from starlette.responses import Response

        return Response(await asyncio.to_thread(self._feed.status), media_type="application/json")

    async def _metrics(self, _: Request) -> Response:
        from starlette.responses import Response

        from edgeseq.watch.page.metrics import CONTENT_TYPE, exposition

        told = await asyncio.to_thread(self._live.snapshot)
        return Response(await asyncio.to_thread(exposition, told), headers={"content-type": CONTENT_TYPE})

    async def _events(self, _: Request) -> Response:
        from starlette.responses import PlainTextResponse, StreamingResponse

        if self._clients >= CLIENTS:
            return PlainTextResponse("Too many are listening already.\n", 503, headers={"retry-after": "10"})
        return StreamingResponse(self._stream(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})

    async def _stream(self) -> AsyncIterator[bytes]:
        """Events for one listener. While it is slow to take one, none is made for it: nothing piles up."""
        self._clients += 1
        seen = (0, 0)
        try:
            yield b"retry: 2000\n\n"
            last = False
            while not last:
                last = self._server.should_exit  # the end is told as well
                events, seen = await asyncio.to_thread(self._feed.events, seen)
                if events:
                    yield events
                until = time.monotonic() + max(BEAT, len(events) / FLOW)
                while not self._server.should_exit and time.monotonic() < until:
                    await asyncio.sleep(TICK)
        finally:
            self._clients -= 1


def _listening(settings: PageSettings) -> socket.socket:
    """A socket that listens there. Raises UsageError where there is none to be had."""
    where = f"page: {settings.host} port {settings.port}"
    try:
        found = socket.getaddrinfo(settings.host.strip("[]"), settings.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        if not settings.token and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
            raise UsageError(f"{where}: {settings.host} is {address[0]}, which other machines can reach; set a token")
        with ExitStack() as opened:
            listener = opened.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(CONNECTIONS)
            opened.pop_all()
    except OSError as error:
        raise UsageError(f"{where} cannot be listened on: {error.strerror or error}; choose another port") from error
    return listener
