"""Commands under emulation: ``edgeseq …`` and ``python …`` as an Arm board runs them.

The guest has the aarch64 Python and wheels of the `Environment`, the code of edgeseq that runs here, and the files of
this machine. Its results are those of a device; its speed says nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import devices
import edgeseq
from devices.arm import guest_root
from devices.environment import PYTHON, Environment, clean_variables
from edgeseq.errors import UsageError

PROGRAMS = ("edgeseq", "python")
"""What can run: the guest has no other programs."""


def emulate(environment: Environment, core: str, command: Sequence[str]) -> int:
    """The exit code of ``command`` under emulation, as a shell would give it (128 + n where signal n ended it).

    Standard streams are those of this process, and signals are passed on: call it in the main thread. Raises
    UsageError for a program that the guest does not have.
    """
    with started(environment, core, command) as (arguments, variables):
        process = subprocess.Popen(arguments, env=variables)
        with _passed_on(process):
            code = process.wait()
    return 128 - code if code < 0 else code


def emulated(
    environment: Environment, core: str, command: Sequence[str], *, timeout: float | None = None
) -> subprocess.CompletedProcess[str]:
    """What a command under emulation printed, and its exit code. Raises subprocess.TimeoutExpired."""
    with started(environment, core, command) as (arguments, variables):
        return subprocess.run(
            arguments,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )


@contextmanager
def started(
    environment: Environment,
    core: str,
    command: Sequence[str],
    *,
    emulator: Sequence[str] = (),
    options: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> Iterator[tuple[list[str], dict[str, str]]]:
    """The arguments and variables of a process that runs ``command``; they hold while entered.

    ``emulator`` and ``options`` (those of qemu) replace the environment's own.
    """
    words = program(command)
    with guest_root(environment.root, core) as root, _code() as code:
        arguments = [*(emulator or environment.emulator), "-cpu", core, *options, "-L", str(root)]
        search = os.pathsep.join((str(environment.site), str(code)))
        yield (
            [*arguments, str(environment.python), *words],
            {**clean_variables(), **(variables or {}), "PYTHONPATH": search},
        )


def program(command: Sequence[str]) -> list[str]:
    """The arguments of Python for ``edgeseq …`` and ``python …``. Raises UsageError for anything else."""
    if not command:
        raise UsageError("no command; write it after --, as in: -- edgeseq score reads.fastq")
    name, *rest = command
    base = Path(name).name
    if base == "edgeseq":
        return ["-m", "edgeseq", *rest]
    if base in ("python", "python3", f"python{PYTHON}"):
        return rest
    raise UsageError(f"{name!r} does not run under emulation: the guest has {' and '.join(PROGRAMS)} alone")


@contextmanager
def _passed_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """While entered, what would end this process ends the guest instead, in the guest's own way."""

    def pass_on(number: int, _: object) -> None:
        process.send_signal(number)

    def leave(_: int, __: object) -> None:
        """The terminal sent it to the guest as well."""

    handlers = {signal.SIGTERM: pass_on, signal.SIGHUP: pass_on, signal.SIGINT: leave}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _code() -> Iterator[Path]:
    """A folder with the packages ``edgeseq`` and ``devices`` that run here, and nothing else of this machine."""
    with tempfile.TemporaryDirectory(prefix="edgeseq-code-") as name:
        for package in (edgeseq, devices):
            assert package.__file__ is not None
            folder = Path(package.__file__).resolve().parent
            (Path(name) / folder.name).symlink_to(folder)
        yield Path(name)
