"""A device that is reached over the system's ssh: commands run on it, files sent to it.

Nothing of ours is ever pasted into a shell: arguments are quoted for the shell of the device, and there is no shell on
this side. Host keys are checked as the user's own configuration of ssh says.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from edgeseq.errors import EdgeseqError, UsageError

NO_CONNECTION, NO_COMMAND = 255, 127
"""Exit codes of ssh: of its own, and of a shell that does not find a program."""
_OPTIONS = ("BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=15", "ServerAliveCountMax=4")
_TARGET = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_.][\w.@-]*)@)?(?P<host>[A-Za-z0-9_][\w.-]*|\[[0-9A-Fa-f:.%\w]+\])(?::(?P<port>\d{1,5}))?"
)


class RemoteError(EdgeseqError):
    """Something failed on a device: ``device``, what was tried, and why it failed."""

    def __init__(self, device: str, tried: str, why: str, remedy: str = "") -> None:
        super().__init__(device, tried, why, remedy)
        self.device, self.tried, self.why, self.remedy = device, tried, why, remedy

    def __str__(self) -> str:
        sentence = f"{self.device}: {self.tried}: {self.why}"
        return f"{sentence}; {self.remedy}" if self.remedy else sentence


@dataclass(frozen=True, slots=True)
class Remote:
    """One device. ``config`` is a configuration file for ssh instead of the user's own."""

    host: str
    port: int | None = None
    config: Path | None = None
    shared: Path | None = None
    """The socket of a connection that all commands share: see `connected`."""

    @classmethod
    def parse(cls, target: str, config: Path | None = None) -> Remote:
        """The device that ``user@host[:port]`` names. Raises UsageError."""
        found = _TARGET.fullmatch(target)
        port = int(found["port"]) if found is not None and found["port"] else None
        if found is None or (port is not None and not 0 < port < 65536):
            raise UsageError(f"{target!r} names no device; write user@host or user@host:port")
        host = found["host"].strip("[]")
        return cls(f"{found['user']}@{host}" if found["user"] else host, port, config)

    @contextmanager
    def connected(self) -> Iterator[Remote]:
        """The same device over one connection, held until the end: each command is spared a handshake.

        Raises RemoteError where ssh does not get there.
        """
        with tempfile.TemporaryDirectory(prefix="edgeseq-") as folder:
            path = Path(folder, "ssh")
            with Path(folder, "said").open("w+b") as said:
                argv = [*self._ssh(), "-M", "-N", "-S", str(path), "--", self.host]
                try:
                    master = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)
                except FileNotFoundError as error:
                    why, remedy = "ssh is not installed here", "install an ssh client"
                    raise RemoteError(str(self), "connecting", why, remedy) from error
                try:
                    while not path.exists() and master.poll() is None:
                        time.sleep(0.02)
                    if master.poll() is not None:
                        said.seek(0)
                        raise self._failure(NO_CONNECTION, said.read(), "ssh", "connecting", "")
                    yield replace(self, shared=path)
                finally:
                    master.terminate()
                    master.wait()

    def __str__(self) -> str:
        return self.host if self.port is None else f"{self.host} port {self.port}"

    def run(
        self, argv: Sequence[str], tried: str, *, send: BinaryIO | None = None, remedy: str = "", timeout: float = 600.0
    ) -> str:
        """What a command says on its standard output; ``send`` is its standard input.

        Raises RemoteError where ssh does not get there, or the command fails or takes longer than ``timeout`` seconds.
        """
        try:
            done = subprocess.run(
                self.ssh(argv),
                stdin=subprocess.DEVNULL if send is None else send,
                capture_output=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise RemoteError(str(self), tried, f"took more than {timeout:g} s", "try again") from error
        if done.returncode:
            raise self._failure(done.returncode, done.stderr, argv[0], tried, remedy)
        return done.stdout.decode("utf-8", "replace")

    def script(
        self, text: str, arguments: Sequence[str], tried: str, *, send: BinaryIO | None = None, remedy: str = ""
    ) -> str:
        """As `run`, for a script of the POSIX shell in which the arguments are ``$1``, ``$2`` …"""
        return self.run(["sh", "-c", text, "sh", *arguments], tried, send=send, remedy=remedy)

    def ssh(self, argv: Sequence[str]) -> list[str]:
        """The command line here that runs another one there."""
        return [*self._ssh(), "-S", str(self.shared or "none"), "-T", "--", self.host, shlex.join(argv)]

    def _ssh(self) -> list[str]:
        config = ["-F", str(self.config)] if self.config is not None else []
        port = ["-p", str(self.port)] if self.port is not None else []
        return ["ssh", *config, *[part for option in _OPTIONS for part in ("-o", option)], *port]

    def _failure(self, code: int, said: bytes, program: str, tried: str, remedy: str) -> RemoteError:
        lines = [line for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
        why = lines[-1].strip() if lines else f"exit code {code}"
        if code == NO_CONNECTION:
            return RemoteError(str(self), "connecting", why, f"try it by hand: ssh {shlex.quote(self.host)} true")
        if code == NO_COMMAND and not remedy:
            remedy = f"install {program} on the device"
        return RemoteError(str(self), tried, why, remedy)
