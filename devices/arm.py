"""Arm processors as an emulator knows them, and the file system that a guest sees."""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devices.profiles import device_names, load_profile
from edgeseq.errors import UsageError


@dataclass(frozen=True, slots=True)
class Core:
    """A processor model of qemu, with what the kernel of such a machine says about it."""

    part: str
    variant: str
    revision: int
    features: str


_V8 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
_V82 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"

CORES: Mapping[str, Core] = {
    "cortex-a53": Core("0xd03", "0x0", 4, _V8),
    "cortex-a57": Core("0xd07", "0x1", 0, _V8),
    "cortex-a72": Core("0xd08", "0x0", 3, _V8),
    "cortex-a76": Core("0xd0b", "0x4", 1, _V82),
    "neoverse-n1": Core("0xd0c", "0x4", 1, f"{_V82} ssbs"),
}
"""Those that both emulators have. ``max`` is left out: no device has its mix of features."""

DEFAULT = ("cortex-a72", "cortex-a76")
"""Without and with dot products: a Raspberry Pi 4 and a Raspberry Pi 5."""


def core_name(asked: str) -> str:
    """The processor model for ``cortex-a76`` or for a device, ``raspberry-pi-5``.

    Raises UsageError, with the nearest name, for anything else and for a device that no model stands in for.
    """
    if asked in CORES:
        return asked
    if asked in device_names() or asked.endswith(".toml"):
        found = load_profile(asked).cpu.qemu
        if found in CORES:
            return found
        raise UsageError(f"{asked} cannot be emulated: its profile names no Arm processor (cpu.qemu)")
    known = (*CORES, *(name for name in device_names() if load_profile(name).cpu.qemu))
    if asked == "max":
        raise UsageError(f"max is no device: it has every feature at once; take one of {', '.join(CORES)}")
    near = difflib.get_close_matches(asked.lower(), known, 1, 0.6)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    raise UsageError(f"no processor is called {asked!r}; {hint}")


def cpuinfo(core: str, cores: int) -> str:
    """``/proc/cpuinfo`` of a machine with so many of these cores."""
    found = CORES[core]
    return "".join(
        f"processor\t: {number}\n"
        "BogoMIPS\t: 108.00\n"
        f"Features\t: {found.features}\n"
        "CPU implementer\t: 0x41\n"
        "CPU architecture: 8\n"
        f"CPU variant\t: {found.variant}\n"
        f"CPU part\t: {found.part}\n"
        f"CPU revision\t: {found.revision}\n\n"
        for number in range(cores)
    )


@contextmanager
def guest_root(files: Path, core: str) -> Iterator[Path]:
    """A folder that is the guest's root while entered: ``files``, with the processor's own ``/proc/cpuinfo``.

    Whatever is not below it is the machine's own, so that a guest reads and writes the same files as its user.
    """
    with tempfile.TemporaryDirectory(prefix="edgeseq-aarch64-") as name:
        root = Path(name)
        for path in files.iterdir():
            (root / path.name).symlink_to(path)
        (root / "proc").mkdir()
        (root / "proc/cpuinfo").write_text(cpuinfo(core, len(os.sched_getaffinity(0))), encoding="utf-8")
        yield root
