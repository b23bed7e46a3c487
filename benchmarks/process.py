"""Programs run as processes of their own and measured from outside: wall time, processor time, peak memory.

A small launcher between this process and the program does the measuring. Without it the kernel would count this
process's memory as the program's: the peak survives fork and exec.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_LAUNCHER = """
import json, os, sys, time
report, *argv = sys.argv[1:]
began = time.perf_counter()
child = os.posix_spawnp(argv[0], argv, os.environ)
_, status, used = os.wait4(child, 0)
took = time.perf_counter() - began
with open(report, "w") as file:
    json.dump([took, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, os.waitstatus_to_exitcode(status)], file)
"""


@dataclass(frozen=True, slots=True)
class Run:
    """What a process took: wall and processor seconds, peak resident bytes; and what it wrote to standard output."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: bytes


class ProgramError(Exception):
    """A program under measurement failed. Holds its name, its exit code and the end of what it said."""

    def __init__(self, program: str, code: int, said: str) -> None:
        super().__init__(program, code, said)
        self.program, self.code, self.said = program, code, said

    def __str__(self) -> str:
        return f"{self.program} ended with code {self.code}: {self.said.strip()[-600:]}"


def measure(argv: Sequence[str | Path], *, stdin: int | BinaryIO | None = None) -> Run:
    """One run of a program to its end. Raises ProgramError unless its exit code is 0."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(report), *map(str, argv)]
        done = subprocess.run(launcher, stdin=stdin, capture_output=True, check=False)
        if not report.exists():
            raise ProgramError(str(argv[0]), done.returncode, done.stderr.decode(errors="replace"))
        seconds, cpu_seconds, peak, code = json.loads(report.read_text())
    if code:
        raise ProgramError(" ".join(map(str, argv[:4])), code, done.stderr.decode(errors="replace"))
    return Run(seconds, cpu_seconds, peak, done.stdout)


def first_row_seconds(argv: Sequence[str | Path], chunks: Iterable[bytes] | None = None) -> float:
    """Seconds from the start of a program to its second line on standard output: the one after the column names.

    ``chunks`` are written to its standard input, which then stays open until that line has come. The program is ended
    afterwards. Raises ProgramError if it ends before.
    """
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        stdin = subprocess.DEVNULL if chunks is None else subprocess.PIPE
        process = subprocess.Popen(list(map(str, argv)), stdin=stdin, stdout=subprocess.PIPE, stderr=said)
        feeder = threading.Thread(target=_feed, args=(process, chunks), daemon=True)
        feeder.start()
        assert process.stdout is not None
        rows = [process.stdout.readline(), process.stdout.readline()]
        took = time.perf_counter() - began
        process.kill()
        process.wait()
        feeder.join()
        process.stdout.close()
        if process.stdin is not None:
            process.stdin.close()
        if not all(row.endswith(b"\n") for row in rows):
            said.seek(0)
            raise ProgramError(str(argv[0]), process.returncode, said.read().decode(errors="replace"))
    return took


def _feed(process: subprocess.Popen[bytes], chunks: Iterable[bytes] | None) -> None:
    if chunks is None or process.stdin is None:
        return
    try:
        for chunk in chunks:
            process.stdin.write(chunk)
            process.stdin.flush()
    except BrokenPipeError:  # it was ended after its first row
        return
