"""An aarch64 Linux for programs of this machine: Debian's Python 3.11, the wheels of a device, and two emulators.

It is built once, in a folder below the cache, and used by everybody after that:

    environment.json   what it was built from, and the size of each file
    root/              arm64 packages of Debian bookworm: libc, libstdc++, Python
    site/              aarch64 wheels, at the versions of constraints.txt
    qemu-aarch64       qemu 10, which knows what /proc/cpuinfo of an Arm board looks like
    counter/           qemu 7.2, which takes plugins, with the libraries that it needs

Nothing is installed and no right of an administrator is needed. It is built in a temporary folder that takes its name
when it is whole: a build that was killed leaves nothing that could be mistaken for one, and one that lost files later
is built again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices import debian, wheels
from devices.arm import guest_root
from devices.debian import Packages
from edgeseq.cache import cache_folder
from edgeseq.errors import EdgeseqError

Say = Callable[[str], None]
"""Takes one line about what happens next."""

PYTHON = "3.11"
RECIPE = 1
"""Changes with what is built, so that older environments are left alone."""
STAMP = "environment.json"
_HOSTS = {"x86_64": "amd64", "aarch64": "arm64"}
_GUEST_PACKAGES = (f"python{PYTHON}-minimal", f"libpython{PYTHON}-stdlib", "libstdc++6")
_EMULATOR, _COUNTER = f"qemu-user/{debian.RELEASE}-backports", "qemu-user=1:7.2*"
_MEMBER = "./usr/bin/qemu-aarch64"
_PROOF = "import onnxruntime, numpy, isal, pysam, rich, click, watchfiles, tokenizers; print(onnxruntime.__version__)"


class EmulationError(EdgeseqError):
    """The environment cannot be built, or does not run; the message says why."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A whole environment. All paths stay as they are as long as it is cached."""

    folder: Path
    facts: dict[str, Any]
    """What it was built from: versions of packages and wheels, seconds, bytes."""

    @property
    def root(self) -> Path:
        """The root of the arm64 file system."""
        return self.folder / "root"

    @property
    def site(self) -> Path:
        """The folder of the wheels."""
        return self.folder / "site"

    @property
    def python(self) -> Path:
        """The aarch64 Python."""
        return self.root / f"usr/bin/python{PYTHON}"

    @property
    def emulator(self) -> list[str]:
        """The command of the emulator that programs run in."""
        return [str(self.folder / "qemu-aarch64")]

    @property
    def counter(self) -> list[str]:
        """The command of the emulator that takes plugins; it runs with its own libraries, by their own loader."""
        folder = self.folder / "counter"
        loader = next(folder.glob("lib/*/ld-linux-*.so.*"))
        libraries = ":".join(str(folder / name / loader.parent.name) for name in ("lib", "usr/lib"))
        return [str(loader), "--library-path", libraries, str(folder / "qemu-aarch64")]


def environments_folder() -> Path:
    """Where environments are cached: ``$XDG_CACHE_HOME/edgeseq/aarch64``."""
    return cache_folder() / "aarch64"


def cached_environment() -> Environment | None:
    """The environment that `environment` would give without building; None where there is none, or a broken one."""
    return _read(environments_folder() / _key())


def environment(say: Say = lambda _: None, *, rebuild: bool = False) -> Environment:
    """The environment, built first where it is not cached (a minute or two; some 300 MB).

    ``say`` is told of each step. Two processes that ask at the same time build once. Raises EmulationError, DebianError
    or WheelError where it cannot be built.
    """
    folder = environments_folder()
    target = folder / _key()
    if not rebuild and (found := _read(target)) is not None:
        return found
    with _locked(folder, say):
        if not rebuild and (found := _read(target)) is not None:
            return found
        _clear(folder, target, say)
        building = folder / f".building-{os.getpid()}"
        try:
            _build(building, say)
            building.rename(target)
        except OSError as error:
            raise EmulationError(f"{folder} cannot be written: {error.strerror or error}") from error
        finally:
            shutil.rmtree(building, ignore_errors=True)
    built = _read(target)
    if built is None:
        raise EmulationError(f"{target} changed while it was being built; try again")
    return built


def clean_variables() -> dict[str, str]:
    """The variables of this process without those that change how a loader, Python or qemu behaves."""
    prefixes = ("LD_", "PYTHON", "QEMU_", "GLIBC_", "MALLOC_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    return {**kept, "PYTHONUTF8": "1", "PYTHONNOUSERSITE": "1"}


def _host() -> str:
    machine = platform.machine()
    if platform.system() != "Linux" or machine not in _HOSTS:
        raise EmulationError(
            f"emulation needs Linux on {' or '.join(_HOSTS)}; this is {platform.system()} on {machine}"
        )
    return _HOSTS[machine]


def _key() -> str:
    """Names what an environment is built from."""
    parts = (RECIPE, _host(), debian.RELEASE, PYTHON, *_GUEST_PACKAGES, *sorted(wheels.pins().items()))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def _read(folder: Path) -> Environment | None:
    """The environment in a folder; None where anything of it is missing or has another size."""
    try:
        facts = json.loads((folder / STAMP).read_text(encoding="utf-8"))
        sizes = facts.pop("files")
        whole = all(os.lstat(folder / name).st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Environment(folder, facts) if whole and sizes else None


@contextmanager
def _locked(folder: Path, say: Say) -> Iterator[None]:
    """One builder at a time; the lock goes with the process that holds it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / ".lock").open("w")
    except OSError as error:
        raise EmulationError(f"{folder} cannot be written: {error.strerror}; set XDG_CACHE_HOME") from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process is building the same; waiting for it")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _clear(folder: Path, target: Path, say: Say) -> None:
    """Takes away what a killed build left, and an environment that is broken or to be replaced."""
    for left in folder.glob(".building-*"):
        shutil.rmtree(left, ignore_errors=True)
    if target.exists():
        say("taking the old environment away")
        gone = folder / f".building-old-{os.getpid()}"
        target.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _build(folder: Path, say: Say) -> None:
    """Builds everything below ``folder``, packages and wheels side by side."""
    began = time.monotonic()
    folder.mkdir(parents=True)
    debian.check_tools()
    steps = _Steps(say, 7)
    with ThreadPoolExecutor(1) as beside:
        fetching = beside.submit(_fetch_wheels, folder / "site", steps)
        packages = _unpack_packages(folder, steps)
        fetching.result()
    steps.say("first run of both emulators: Python starts and imports the engine")
    versions = _prove(Environment(folder, {}))
    shutil.rmtree(folder / "apt")
    sizes = _sizes(folder)
    facts: dict[str, Any] = {
        "recipe": RECIPE,
        "packages": packages,
        "wheels": dict(wheels.pins()),
        "engine": versions,
        "seconds": round(time.monotonic() - began, 1),
        "bytes": sum(sizes.values()),
        "files": sizes,
    }
    (folder / STAMP).write_text(json.dumps(facts, indent=1), encoding="utf-8")
    steps.say(f"built in {facts['seconds']:.0f} s, {facts['bytes'] / 1e6:.0f} MB")


class _Steps:
    """Numbers the steps of a build; they may come from two threads."""

    def __init__(self, say: Say, steps: int) -> None:
        self._say = say
        self._steps = steps
        self._number = 0
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """The next step begins."""
        with self._lock:
            self._number += 1
            self._say(f"[{self._number}/{self._steps}] {text}")


def _fetch_wheels(site: Path, steps: _Steps) -> None:
    steps.say("aarch64 wheels of the runtime: 70 MB")
    wheels.install(site, python=PYTHON)


def _unpack_packages(folder: Path, steps: _Steps) -> list[str]:
    """Names of all packages whose files are in the environment now."""
    host = _host()
    steps.say(f"package lists of Debian {debian.RELEASE} for arm64 and {host}: 20 MB")
    guest = Packages(folder / "apt/guest", "arm64")
    own = guest if host == "arm64" else Packages(folder / "apt/host", host)
    steps.say(f"Python {PYTHON} for arm64: 13 MB")
    guests = guest.fetch(*_GUEST_PACKAGES)
    debian.unpack(guests, folder / "root")
    steps.say("qemu 10, the emulator: 63 MB")
    emulator = own.fetch_alone(_EMULATOR)
    debian.unpack_one(emulator, _MEMBER, folder / "qemu-aarch64")
    steps.say("qemu 7.2, which counts instructions: 21 MB")
    counter = own.fetch(_COUNTER)
    alone = next(path for path in counter if path.name.startswith("qemu-user_"))
    debian.unpack([path for path in counter if path != alone], folder / "counter")
    debian.unpack_one(alone, _MEMBER, folder / "counter/qemu-aarch64")
    return sorted({path.stem for path in (*guests, emulator, *counter)})


def _prove(built: Environment) -> str:
    """The version of the engine that both emulators report; leaves the byte code of what they imported."""
    versions = {_answer(built, emulator) for emulator in (built.emulator, built.counter)}
    if len(versions) != 1:
        raise EmulationError(f"the emulators disagree about the engine: {', '.join(sorted(versions))}")
    return versions.pop()


def _answer(built: Environment, emulator: list[str]) -> str:
    with guest_root(built.root, "cortex-a72") as root:
        done = subprocess.run(
            [*emulator, "-cpu", "cortex-a72", "-L", str(root), str(built.python), "-c", _PROOF],
            env={**clean_variables(), "PYTHONPATH": str(built.site)},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise EmulationError(f"the aarch64 Python does not run under {Path(emulator[-1]).name}: {reason}")
    return done.stdout.strip()


def _sizes(folder: Path) -> dict[str, int]:
    """Path → size of all files, links as links; byte code may come and go."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if (path.is_symlink() or path.is_file()) and path.suffix != ".pyc":
            found[str(path.relative_to(folder))] = path.lstat().st_size
    return found
