"""Python packages for another architecture: the very wheels that a device installs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeseq.errors import EdgeseqError

RUNTIME = ("click", "isal", "numpy", "onnxruntime", "pysam", "rich", "tokenizers", "watchfiles")
"""What the runtime needs, with what reads BPE."""
CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"
_GLIBC = (34, 31, 28, 27, 26, 24, 17)
"""Minor versions of glibc 2 that wheels are built for and that Debian bookworm (2.36) runs."""


class WheelError(EdgeseqError):
    """Wheels cannot be fetched; the message says what to do."""


def pins(constraints: Path = CONSTRAINTS) -> Mapping[str, str]:
    """Package → version, for everything in ``RUNTIME``. Raises WheelError where the file does not pin it."""
    try:
        lines = constraints.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise WheelError(f"{constraints} cannot be read: {error.strerror}; run from a checkout of edgeseq") from error
    found = dict(line.strip().split("==", 1) for line in lines if "==" in line and not line.startswith("#"))
    missing = [name for name in RUNTIME if name not in found]
    if missing:
        raise WheelError(f"{constraints} does not pin {', '.join(missing)}")
    return {name: found[name] for name in RUNTIME}


def install(folder: Path, *, python: str, constraints: Path = CONSTRAINTS, packages: Sequence[str] = RUNTIME) -> None:
    """Nothing; ``folder`` holds the aarch64 wheels of ``packages`` for that Python (``3.11``), unpacked.

    Raises WheelError where pip is absent, the index cannot be reached or a package has no wheel for aarch64.
    """
    if importlib.util.find_spec("pip") is None:
        raise WheelError(f"pip is absent; run: {sys.executable} -m ensurepip")
    platforms = [*(f"manylinux_2_{minor}_aarch64" for minor in _GLIBC), "manylinux2014_aarch64"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"),
            *("--target", str(folder), "--only-binary=:all:", "--implementation", "cp", "--python-version", python),
            *(part for platform in platforms for part in ("--platform", platform)),
            *("--constraint", str(constraints), "--no-compile", *packages),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        reason = (errors or done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise WheelError(
            f"pip cannot fetch the aarch64 wheels: {reason.removeprefix('ERROR: ')}; check the network, and pip's index"
        )
