"""Alerts handed to a program on its standard input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeseq.errors import UsageError
from edgeseq.watch.channels import Channel, ChannelError

_SHOWN = 200
"""Characters of an error message that are shown."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program and its arguments; no shell is in between. Exit code 0 counts as delivered."""

    argv: tuple[str, ...]
    """The program and its arguments, a text each."""
    name: str = ""
    """How it is called in the journal and on the page."""
    timeout: float = 30.0
    """Seconds after which the program, and all that it started, is killed."""

    def __post_init__(self) -> None:
        if not self.argv or not self.argv[0]:
            raise UsageError("an alert command names no program")
        if not 0 < self.timeout <= 3600:
            raise UsageError(f"command {self.label}: timeout is {self.timeout}; it lies above 0 and up to 3600 seconds")

    @property
    def label(self) -> str:
        return self.name or f"command {Path(self.argv[0]).name}"

    def open(self) -> Channel:
        return _Command(self)


class _Command:
    def __init__(self, settings: Command) -> None:
        self._settings = settings

    def deliver(self, message: Mapping[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        try:
            with tempfile.TemporaryFile() as said:
                process = subprocess.Popen(
                    self._settings.argv,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    start_new_session=True,
                )
                self._finish(process, data)
                if process.returncode:
                    said.seek(0)
                    lines = said.read().decode("utf-8", "replace").strip().splitlines()
                    why = f": {lines[-1][:_SHOWN]}" if lines else ""
                    raise ChannelError(f"ended with exit code {process.returncode}{why}")
        except OSError as error:
            raise ChannelError(f"not started: {error.strerror or error}") from error

    def _finish(self, process: subprocess.Popen[bytes], data: bytes) -> None:
        """Feeds the program and waits for its end. Raises ChannelError where it takes too long."""
        try:
            process.communicate(data, timeout=self._settings.timeout)
        except subprocess.TimeoutExpired as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise ChannelError(f"did not end within {self._settings.timeout:g} s and was killed") from error
        finally:
            if process.stdin is not None:
                with suppress(OSError):
                    process.stdin.close()

    def close(self) -> None:
        """Nothing is held."""
