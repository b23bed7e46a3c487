"""The systemd unit for a configuration: with a watchdog, and with no more rights than the configuration needs."""

from __future__ import annotations

import os
import pwd
import re
import stat
import subprocess
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from edgeseq.errors import UsageError
from edgeseq.watch.config import Configuration

TEMPLATE = "edgeseq-watch.service"
_CPU_DEVICES = "PrivateDevices=yes\nDevicePolicy=closed\nMemoryDenyWriteExecute=yes"
_GPU_DEVICES = "PrivateDevices=no"
_HOMES = ("/home", "/root", "/run/user")
_TEMPORARY = ("/tmp", "/var/tmp")


@dataclass(frozen=True, slots=True)
class Service:
    """How a configuration is run: as which user, with how much memory (as systemd writes it), by which Python."""

    config: Path
    user: str
    memory: str = "1G"
    python: str = sys.executable


def unit(configuration: Configuration, service: Service) -> str:
    """The text of the unit. Raises UsageError for values that no unit can hold."""
    if not re.fullmatch(r"[a-z_][a-z0-9_-]*\$?", service.user):
        raise UsageError(f"{service.user!r} is no name of a user")
    if service.user == "root":
        raise UsageError("the service needs no rights of root: name another user with --user")
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?[KMGT%]?|infinity", service.memory):
        raise UsageError(f"memory is {service.memory!r}; write it as systemd does: 900M, 2G, 50%")
    places = [service.config.absolute(), Path(service.python), *configuration.folders, configuration.out]
    places += [configuration.bundle] if configuration.bundle is not None else []
    argv = (service.python, "-m", "edgeseq", "watch", "--config", service.config.absolute())
    values = {
        "CONFIG": _quoted(service.config.absolute()),
        "COMMAND": " ".join(_quoted(part).replace("$", "$$") for part in argv),
        "OUT": _quoted(configuration.out),
        "USER": service.user,
        "MEMORY": service.memory,
        "HOME": "read-only" if _below(places, _HOMES) else "yes",
        "TMP": "no" if _below(places, _TEMPORARY) else "yes",
        "DEVICES": _CPU_DEVICES if configuration.provider in (None, "cpu") else _GPU_DEVICES,
        "NETWORK": _network(configuration),
    }
    text = resources.files("edgeseq.watch").joinpath(TEMPLATE).read_text(encoding="utf-8")
    return re.sub("@([A-Z]+)@", lambda match: values[match[1]], text)


def owner(out: Path) -> str:
    """The user to whom the output folder belongs, or the next folder above it that there is; ``edgeseq`` for root's."""
    folder = out.absolute()
    while not folder.exists():
        folder = folder.parent
    try:
        name = pwd.getpwuid(folder.stat().st_uid).pw_name
    except KeyError:
        return "edgeseq"
    return "edgeseq" if name == "root" else name


def install(text: str, name: str, folder: Path, out: Path, service: Service) -> Path:
    """Writes the unit, makes the output folder if need be, and has systemd read its units again.

    Raises UsageError where there is no such user, or the user may not read the configuration, run this Python or write
    to the output folder.
    """
    path = folder / f"{name}.service"
    user = service.user
    try:
        entry = pwd.getpwnam(user)
    except KeyError as error:
        raise UsageError(
            f"there is no user {user}; make one: "
            f"useradd --system --home-dir /nonexistent --shell /usr/sbin/nologin {user}"
        ) from error
    try:
        if not out.exists():
            out.mkdir(parents=True)
            os.chown(out, entry.pw_uid, entry.pw_gid)
        _check_rights(service, out, entry)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}; install it as root") from error
    if folder == Path("/etc/systemd/system"):
        try:
            done = subprocess.run(["systemctl", "daemon-reload"], capture_output=True, text=True, check=False)
        except OSError as error:
            raise UsageError(f"{path} is written, but systemctl does not run: {error.strerror}") from error
        if done.returncode:
            raise UsageError(f"{path} is written, but systemctl daemon-reload says: {done.stderr.strip()}")
    return path


def _check_rights(service: Service, out: Path, entry: pwd.struct_passwd) -> None:
    """Raises UsageError where the user may not do what the service has to."""
    needs = (
        (service.config.absolute(), stat.S_IROTH, "read", f"chgrp {entry.pw_name} and chmod g+r"),
        (Path(service.python).resolve(), stat.S_IXOTH, "run", "install edgeseq where all may run it, such as /opt"),
        (out.absolute(), stat.S_IWOTH, "write to", f"chown -R {entry.pw_name} {out}"),
    )
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    for path, right, verb, remedy in needs:
        for place in reversed(path.parents):
            if not _may(place.stat(), stat.S_IXOTH, entry.pw_uid, groups):
                raise UsageError(f"{entry.pw_name} may not {verb} {path}: {place} is closed to it; {remedy}")
        if not _may(path.stat(), right, entry.pw_uid, groups):
            raise UsageError(f"{entry.pw_name} may not {verb} {path}; {remedy}")


def _may(status: os.stat_result, right: int, user: int, groups: list[int]) -> bool:
    """Whether a user has a right (as the bit for others has it) by owner, group or the rest."""
    shift = 6 if status.st_uid == user else 3 if status.st_gid in groups else 0
    return user == 0 or bool(status.st_mode & (right << shift))


def _network(configuration: Configuration) -> str:
    """The network that the configuration needs: none, this machine alone, or all."""
    alerts, page = configuration.alerts, configuration.page
    if alerts.webhooks or alerts.mqtt or alerts.commands or (page is not None and not page.loopback):
        return "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK"
    if page is not None:
        return "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\nIPAddressDeny=any\nIPAddressAllow=localhost"
    return "RestrictAddressFamilies=AF_UNIX\nPrivateNetwork=yes\nIPAddressDeny=any"


def _below(places: list[Path], folders: tuple[str, ...]) -> bool:
    return any(os.path.realpath(place).startswith(f"{folder}/") for place in places for folder in folders)


def _quoted(place: str | Path) -> str:
    """A path as units write it: ``%`` doubled, in quotation marks where it needs them."""
    text = str(place)
    if any(ord(sign) < 32 for sign in text):
        raise UsageError(f"{text!r} holds a control character: no unit can name it")
    text = text.replace("%", "%%")
    if re.search(r"[\s\"'\\;]", text):
        text = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text
