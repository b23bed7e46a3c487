"""The processor of this machine, as the kernel describes it."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

SIMD = {
    "x86_64": ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx_vnni", "avx512_vnni"),
    "aarch64": ("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
}
"""Features that change how fast, or how exactly, a network runs, by machine."""

_IMPLEMENTERS = {
    "0x41": "Arm",
    "0x46": "Fujitsu",
    "0x48": "HiSilicon",
    "0x4e": "NVIDIA",
    "0x51": "Qualcomm",
    "0x61": "Apple",
}
_ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd42": "Cortex-A78AE",
    "0xd49": "Neoverse-N2",
}


@dataclass(frozen=True, slots=True)
class Cpu:
    """Name, architecture, usable cores and the `SIMD` features that are there."""

    name: str
    machine: str
    cores: int
    features: tuple[str, ...]

    @property
    def identity(self) -> str:
        """Equal on machines that compute alike: name, architecture and features."""
        return "|".join((self.machine, self.name, *self.features))


def read_cpu(cpuinfo: Path = CPUINFO, machine: str | None = None) -> Cpu:
    """This machine's processor. Where the kernel says nothing, name and features are empty."""
    machine = machine or platform.machine()
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    facts: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            facts.setdefault(key.strip().lower(), value.strip())
    flags = set((facts.get("flags") or facts.get("features") or "").split())
    known = SIMD.get(machine, ())
    return Cpu(
        name=_name(facts),
        machine=machine,
        cores=usable_cores(),
        features=tuple(feature for feature in known if feature in flags),
    )


def usable_cores() -> int:
    """Cores that this process may run on: fewer than the machine has under taskset or a cpuset."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _name(facts: dict[str, str]) -> str:
    if facts.get("model name"):
        return facts["model name"]
    part = facts.get("cpu part", "").lower()
    maker = facts.get("cpu implementer", "").lower()
    if not part:
        return ""
    if maker == "0x41" and part in _ARM_PARTS:
        return f"Arm {_ARM_PARTS[part]}"
    return f"{_IMPLEMENTERS.get(maker, maker)} part {part}".strip()
