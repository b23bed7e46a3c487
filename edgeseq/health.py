"""Checks of the machine that a bundle is to run on, each with what to do about it.

A check is a function without side effects that returns one `Check`; `CHECKS` lists them in the order in which they are
shown.
"""

from __future__ import annotations

import datetime as dt
import importlib
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeseq import __version__
from edgeseq.bundle import read_bundle
from edgeseq.cache import cache_folder
from edgeseq.cpu import SIMD, read_cpu
from edgeseq.errors import BundleError, EngineError

State = Literal["ok", "warn", "fail"]

RELEASED = dt.date(2026, 1, 1)
"""No correct clock is earlier: this version did not exist."""
MEMORY_WARN, MEMORY_FAIL = 512, 150
"""Available memory, in MiB."""
DISK_WARN, DISK_FAIL = 1024, 50
"""Free space where results go, in MiB."""
READERS = ("isal.igzip", "pysam")
FAST_INTEGERS = {"x86_64": ("avx2",), "aarch64": ("asimddp",)}
"""Without these, eight-bit models run slower than the same model in float."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, how it is, what was seen and, unless all is well, what to do."""

    name: str
    state: State
    seen: str
    remedy: str = ""


def check_machine(bundle: str | None = None) -> Iterator[Check]:
    """All checks, one by one; ``bundle`` names the bundle to test instead of the embedded panel."""
    for check in CHECKS:
        yield check()
    yield check_bundle(bundle)


def check_python() -> Check:
    """Version and architecture of the interpreter."""
    seen = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.maxsize < 2**32:
        return Check("python", "fail", f"{seen}, 32 bits", "install a 64-bit operating system: the engine needs one")
    return Check("python", "ok", seen)


def check_edgeseq() -> Check:
    """Version and place of this package."""
    return Check("edgeseq", "ok", f"{__version__} in {Path(__file__).parent}")


def check_engine() -> Check:
    """Version and providers of the inference engine."""
    try:
        from edgeseq.session import VERSION, available_providers
    except ImportError as error:
        return Check("engine", "fail", str(error), "run: pip install --force-reinstall onnxruntime")
    return Check("engine", "ok", f"onnxruntime {VERSION}, providers {', '.join(available_providers())}")


def check_readers() -> Check:
    """Whether the libraries that read gzip and BAM load."""
    for name in READERS:
        try:
            importlib.import_module(name)
        except ImportError as error:
            package = name.partition(".")[0]
            return Check("readers", "fail", f"{name}: {error}", f"run: pip install --force-reinstall {package}")
    return Check("readers", "ok", ", ".join(READERS))


def check_processor() -> Check:
    """Name, cores and features of the processor."""
    cpu = read_cpu()
    name = cpu.name or cpu.machine
    seen = f"{name}, {cpu.cores} core{'s' if cpu.cores != 1 else ''}, {' '.join(cpu.features) or 'features unknown'}"
    missing = [feature for feature in FAST_INTEGERS.get(cpu.machine, ()) if feature not in cpu.features]
    if cpu.machine not in SIMD:
        return Check("processor", "warn", seen, "edgeseq is tested on x86_64 and aarch64 only")
    if missing:
        return Check("processor", "warn", seen, "eight-bit bundles gain nothing over float ones here")
    return Check("processor", "ok", seen)


def check_memory(meminfo: Path = Path("/proc/meminfo")) -> Check:
    """Memory that is available now."""
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) // 1024 for line in lines}
        available, total = sizes["MemAvailable"], sizes["MemTotal"]
    except (OSError, ValueError, IndexError, KeyError):
        return Check("memory", "warn", "unknown", "check that at least 512 MiB are available")
    seen = f"{available:,} MiB available of {total:,} MiB"
    return _limit("memory", seen, available, MEMORY_WARN, MEMORY_FAIL, "stop other programs, or add swap")


def check_disk(folder: Path | None = None) -> Check:
    """Free space in the working folder, where results go by default."""
    folder = folder or Path.cwd()
    try:
        free = shutil.disk_usage(folder).free // 2**20
    except OSError as error:
        return Check("disk", "fail", f"{folder}: {error.strerror}", "run edgeseq from a folder that exists")
    if not os.access(folder, os.W_OK):
        return Check("disk", "warn", f"{folder} is read-only", "write results elsewhere, with -o")
    return _limit("disk", f"{free:,} MiB free in {folder}", free, DISK_WARN, DISK_FAIL, "make room before a run")


def check_clock(now: dt.datetime | None = None) -> Check:
    """Whether the date can be true: boards without a battery start in the past."""
    now = now or dt.datetime.now(dt.timezone.utc)
    seen = now.strftime("%Y-%m-%d %H:%M UTC")
    if now.date() < RELEASED:
        return Check("clock", "warn", f"{seen}, before this version was made", "set the clock, or let it synchronise")
    return Check("clock", "ok", seen)


def check_cache() -> Check:
    """Whether the folder for remembered measurements can be written."""
    folder = cache_folder()
    existing = next((parent for parent in (folder, *folder.parents) if parent.exists()), Path("/"))
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return Check("cache", "ok", str(folder))
    return Check("cache", "warn", f"{folder} cannot be written", "set XDG_CACHE_HOME; until then each start tests anew")


def check_bundle(path: str | None = None) -> Check:
    """Whether the bundle is whole and gives its golden outputs on this machine."""
    remedy = "install edgeseq again, or copy the bundle again"
    try:
        from edgeseq.selftest import self_test
        from edgeseq.session import Session

        bundle = read_bundle(path)
        report = self_test(bundle, Session(bundle.graph), again=True)
    except BundleError as error:
        return _bundle_problem(error, remedy)
    except (EngineError, ImportError) as error:
        return Check("bundle", "fail", str(error), remedy)
    worst = max(report.deltas.values())
    name = f"{bundle.manifest.name} {bundle.manifest.version}"
    return Check("bundle", "ok", f"{name}: {report.cases} golden cases, off by {worst:.1g} of {report.tolerance:g}")


CHECKS: tuple[Callable[[], Check], ...] = (
    check_python,
    check_edgeseq,
    check_engine,
    check_readers,
    check_processor,
    check_memory,
    check_disk,
    check_clock,
    check_cache,
)


def _limit(name: str, seen: str, value: int, warn: int, fail: int, remedy: str) -> Check:
    state: State = "fail" if value < fail else "warn" if value < warn else "ok"
    return Check(name, state, seen, "" if state == "ok" else remedy)


def _bundle_problem(error: BundleError, remedy: str) -> Check:
    where = f"{error.bundle}: {error.member}" if error.member else error.bundle
    return Check("bundle", "fail", f"{where}: {error.problem}", error.remedy or remedy)
