"""Snapshots as bytes, encoded once for all who look."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from edgeseq.watch.live import FRESH, WRITE, Live

SLOWER = 10.0
"""Seconds between two states of the history: it is the largest part, and changes the least."""


class Feed:
    """The newest snapshot in the forms in which it is sent."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._lock = threading.Lock()
        self._told: dict[str, Any] = {}
        self._snapshot = self._history = b""
        self._number = self._history_number = 0
        self._history_made = -1e9

    def document(self) -> str:
        """All of it, as JSON that may stand inside a script element.

        It may be as old as the status file: the page comes at once, and the first event brings the present.
        """
        told = self._live.snapshot(WRITE + FRESH)
        text = json.dumps({**told, "age": max(0.0, time.time() - told["time"])}, separators=(",", ":"))
        return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")

    def status(self) -> bytes:
        """All of it, as JSON."""
        return json.dumps(self._live.snapshot(), indent=1).encode()

    def events(self, seen: tuple[int, int]) -> tuple[bytes, tuple[int, int]]:
        """Server-sent events that somebody who has ``seen`` so many has not, and what has been seen then."""
        with self._lock:
            self._update()
            parts = [self._history] if self._history_number != seen[1] else []
            parts += [self._snapshot] if self._number != seen[0] else []
            return b"".join(parts), (self._number, self._history_number)

    def _update(self) -> None:
        told = self._live.snapshot()
        if told is self._told:
            return
        self._told = told
        now = time.monotonic()
        if now - self._history_made >= SLOWER:
            self._history, self._history_made = _event("history", told["history"]), now
            self._history_number += 1
        self._snapshot = _event("snapshot", {key: value for key, value in told.items() if key != "history"})
        self._number += 1


def _event(name: str, told: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(told, separators=(',', ':'))}\n\n".encode()
