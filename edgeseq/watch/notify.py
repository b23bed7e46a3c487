"""What a service tells the system's service manager: ready, how it is, that it goes on, reloads or ends.

The protocol is that of sd_notify(3): lines of ``NAME=value`` in one datagram to the socket that ``NOTIFY_SOCKET``
names. Without a service manager nothing is sent.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

SHARE = 4
"""How many signs of life there are in the time after which a service counts as hung, while work advances."""
STATUS = 10.0
"""Seconds between two texts for ``systemctl status``."""
POLL = 1.0


class Notifier:
    """A line to the service manager. ``watchdog`` is the time in seconds after which silence means death, or None."""

    def __init__(self, address: str = "", watchdog: float | None = None) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog = watchdog if self._address else None

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] | None = None) -> Notifier:
        """The line that the service manager gave to this very process."""
        environment = os.environ if environment is None else environment
        wanted = environment.get("WATCHDOG_USEC", "")
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        seconds = int(wanted) / 1e6 if wanted.isdigit() and int(wanted) and mine else None
        return cls(environment.get("NOTIFY_SOCKET", ""), seconds)

    def ready(self) -> None:
        """The service is up, or has reloaded."""
        self._send("READY=1")

    def reloading(self) -> None:
        """The service reads its configuration again; `ready` follows."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The service ends in good order."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Work advances."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send("STATUS=" + text.replace("\n", " "))

    def _send(self, *lines: str) -> None:
        """Without waiting: a manager that does not listen must not hold up the scoring."""
        if self._address:
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
                line.setblocking(False)
                line.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)


class Heartbeat(threading.Thread):
    """Tells the service manager that work advances, and only then: not because some thread still runs.

    ``advanced`` gives the time (of the monotonic clock) up to which work is known to have gone on; ``status`` one line
    for people.
    """

    def __init__(
        self, notifier: Notifier, advanced: Callable[[], float], status: Callable[[], str], *, poll: float = POLL
    ) -> None:
        super().__init__(name="edgeseq-heartbeat", daemon=True)
        self._notifier = notifier
        self._advanced = advanced
        self._status = status
        self._ended = threading.Event()
        watchdog = notifier.watchdog
        self._between = watchdog / SHARE if watchdog is not None else None
        self._poll = min(poll, self._between) if self._between is not None else poll

    def run(self) -> None:
        """Runs until `stop`."""
        known, told, described = -1.0, -1e9, -1e9
        while not self._ended.wait(self._poll):
            now = time.monotonic()
            if self._between is not None and now - told >= self._between and (latest := self._advanced()) > known:
                known, told = latest, now
                self._notifier.alive()
            if now - described >= STATUS:
                described = now
                self._notifier.status(self._status())

    def stop(self) -> None:
        """Ends the signs of life."""
        self._ended.set()
