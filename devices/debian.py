"""Debian packages for another architecture, fetched and unpacked by an ordinary user.

A private package root (its own lists, status and cache, below a folder that the caller gives) is all that apt needs to
resolve and download for any architecture; nothing is installed, and the machine's own packages are not touched.
Packages are trusted by Debian's signatures, checked by apt against the keyring of the machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from edgeseq.errors import EdgeseqError

RELEASE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
"""Its contents are signed, so that they need no secure connection."""
MIRROR_VARIABLE = "EDGESEQ_DEBIAN_MIRROR"
KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
    Path("/etc/apt/trusted.gpg.d/debian-archive-bookworm-stable.asc"),
)
_TOOLS = ("apt-get", "apt-config", "dpkg-deb")


class DebianError(EdgeseqError):
    """A tool is missing, or packages cannot be fetched or unpacked; the message says what to do."""


def check_tools() -> None:
    """Nothing where all that `Packages` needs is here. Raises DebianError with what to install."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        raise DebianError(
            f"{', '.join(missing)} not found: packages of Debian are fetched with apt and unpacked with dpkg; "
            "install both, and the keys of Debian (Fedora: dnf install apt dpkg debian-keyring)"
        )
    if not any(path.is_file() for path in KEYRINGS):
        raise DebianError(
            f"the keys of Debian are not at {KEYRINGS[0]}: its packages cannot be trusted without them; "
            "install debian-archive-keyring"
        )


class Packages:
    """A private package root of `RELEASE` and its backports, for ``architecture`` (a name of Debian's: arm64, amd64).

    Everything lies below ``folder``. Raises DebianError where tools are missing or the mirror cannot be reached.
    """

    def __init__(self, folder: Path, architecture: str) -> None:
        check_tools()
        self.architecture = architecture
        self._folder = folder
        for name in ("etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/apt/lists/partial", "var/lib/dpkg"):
            (folder / name).mkdir(parents=True)
        (folder / "var/lib/dpkg/status").touch()
        mirror = os.environ.get(MIRROR_VARIABLE) or MIRROR
        keyring = next(path for path in KEYRINGS if path.is_file())
        sources = [
            f"deb [arch={architecture} signed-by={keyring}] {mirror} {suite} main\n"
            for suite in (RELEASE, f"{RELEASE}-backports")
        ]
        (folder / "etc/apt/sources.list").write_text("".join(sources), encoding="utf-8")
        self._configuration = folder / "apt.conf"
        self._configuration.write_text(self._settings(), encoding="utf-8")
        self._apt("update")

    def fetch(self, *packages: str) -> list[Path]:
        """The ``.deb`` files of packages (``name``, ``name=1:7.2*``) and of all that they depend on."""
        folder = self._archives()
        self._apt("install", "--yes", "--download-only", "-o", f"Dir::Cache::Archives={folder}", *packages)
        return sorted(folder.glob("*.deb"))

    def fetch_alone(self, package: str) -> Path:
        """The ``.deb`` file of one package (``name``, ``name/suite``) without what it depends on."""
        folder = self._archives()
        self._apt("download", package, working=folder)
        return next(folder.glob("*.deb"))

    def _archives(self) -> Path:
        """A new empty folder for packages."""
        number = len(list(self._folder.glob("archives-*")))
        folder = self._folder / f"archives-{number}"
        (folder / "partial").mkdir(parents=True)
        return folder

    def _settings(self) -> str:
        """What apt reads before, and instead of, the machine's own configuration; only its proxy is kept."""
        lines = [
            f'Dir "{self._folder}";',
            f'Dir::State::status "{self._folder / "var/lib/dpkg/status"}";',
            f'APT::Architecture "{self.architecture}";',
            f'APT::Architectures {{ "{self.architecture}"; }};',
            'APT::Install-Recommends "false";',
            'APT::Sandbox::User "";',
            'Acquire::Languages "none";',
            'Acquire::Retries "3";',
            'Acquire::Check-Valid-Until "false";',
        ]
        dumped = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False).stdout
        proxies = ("Acquire::http::Proxy", "Acquire::https::Proxy")
        lines += [line for line in dumped.splitlines() if line.startswith(proxies)]
        return "".join(f"{line}\n" for line in lines)

    def _apt(self, *arguments: str, working: Path | None = None) -> None:
        environment = {**os.environ, "APT_CONFIG": str(self._configuration), "LC_ALL": "C"}
        done = subprocess.run(
            ["apt-get", "-qq", *arguments],
            env=environment,
            cwd=working or self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        failures = [line for line in (done.stderr + done.stdout).splitlines() if line.startswith(("E:", "W: Failed"))]
        if done.returncode or failures:
            reason = (failures or done.stderr.strip().splitlines() or ["no reason given"])[0].removeprefix("E: ")
            raise DebianError(
                f"apt-get {arguments[0]} for {self.architecture} failed: {reason.removeprefix('W: ')}; "
                f"check the network and the proxy, or name another mirror in {MIRROR_VARIABLE}"
            )


def unpack(packages: Sequence[Path], folder: Path) -> None:
    """Nothing; the files of packages are in ``folder``, without documentation and translations.

    Raises DebianError for a package that is damaged, and where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for package in packages:
        _run("dpkg-deb", "--extract", str(package), str(folder))
    for name in ("doc", "locale", "man", "lintian", "bug", "info", "perl5"):
        shutil.rmtree(folder / "usr/share" / name, ignore_errors=True)


def unpack_one(package: Path, member: str, target: Path) -> None:
    """Nothing; ``target`` is the executable ``member`` (``./usr/bin/name``) of a package, and nothing else of it.

    Raises DebianError where the package does not have it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            found = _copy_member(process.stdout, member, target)
        except (tarfile.TarError, OSError) as error:
            raise DebianError(f"{package.name} cannot be unpacked: {error}") from error
        finally:
            process.stdout.close()
            process.kill()
    if not found:
        raise DebianError(f"{package.name} has no {member}; another version of it may lie on this mirror")
    target.chmod(0o755)


def _copy_member(stream: IO[bytes], member: str, target: Path) -> bool:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for each in archive:
            if each.name == member and each.isfile():
                source = archive.extractfile(each)
                assert source is not None
                with target.open("wb") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
                return True
    return False


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DebianError(f"{Path(command[2]).name} cannot be unpacked: {reason}; is the disk full?")
