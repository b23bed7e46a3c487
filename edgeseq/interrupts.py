"""Ctrl-C and SIGTERM, held back while a row is being written."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While entered, SIGINT and SIGTERM raise KeyboardInterrupt, but never between `hold` and `release`.

    A signal that came in between is raised by `release`; a second one is not held back. ``exit_code`` is 130 or 143, as
    shells expect, once there was a signal. Outside the main thread nothing is changed.
    """

    def __init__(self) -> None:
        self._held = False
        self._signal = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def exit_code(self) -> int:
        """128 and the number of the signal that came first; 130 if none was seen."""
        return 128 + (self._signal or signal.SIGINT)

    def hold(self) -> None:
        """From here on, a signal waits for `release`."""
        self._held = True

    def release(self) -> None:
        """Raises KeyboardInterrupt if a signal waits."""
        self._held = False
        if self._signal:
            raise KeyboardInterrupt

    def _receive(self, number: int, _: FrameType | None) -> None:
        waiting, self._signal = self._signal, self._signal or number
        if waiting or not self._held:
            raise KeyboardInterrupt
