"""What the daemon runs on, and how the machine feels right now."""

from __future__ import annotations

import os
import platform
import shutil
from functools import cache
from pathlib import Path
from typing import Any

from edgeseq.cpu import read_cpu, usable_cores

_MODEL = Path("/proc/device-tree/model")
_MEMORY = Path("/proc/self/statm")
_HEAT = Path("/sys/class/thermal/thermal_zone0/temp")


@cache
def machine() -> dict[str, Any]:
    """What does not change: host, model of the board or processor, architecture, cores that may be used."""
    cpu = read_cpu()
    model = _read(_MODEL).strip("\0 \n") or cpu.name
    return {"host": platform.node(), "model": model, "machine": cpu.machine, "cores": usable_cores()}


def disk(folder: Path) -> tuple[int | None, int | None]:
    """Free and all bytes where results go; nothing where the folder is not there."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None, None
    return usage.free, usage.total


def memory() -> int | None:
    """Bytes of memory that this process holds; None where the system does not say."""
    fields = _read(_MEMORY).split()
    return int(fields[1]) * os.sysconf("SC_PAGESIZE") if len(fields) > 1 else None


def temperature() -> float | None:
    """Degrees Celsius of the processor; None where there is no sensor. Boards slow down from about 80 on."""
    text = _read(_HEAT).strip()
    return int(text) / 1000 if text.lstrip("-").isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
