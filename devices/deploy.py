"""A bundle on its way to a device that goes on scoring meanwhile.

    read here ─▶ send under a passing name ─▶ same sha256? ─▶ self-test there ─▶ move the link ─▶ reload ─▶ taken over?
                                                                                    └── back ◀── no ─────────┘

The link changes from one bundle to the other in one step: whoever opens it finds a whole bundle that passed its
self-test on this very device. Whatever fails, the device is left with the bundle that it had.
"""

from __future__ import annotations

import json
import posixpath
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices.remote import NO_COMMAND, Remote, RemoteError
from edgeseq.bundle import Bundle, read_bundle
from edgeseq.errors import UsageError

PLACE = "/var/lib/edgeseq/bundles"
LINK = "current.edgeseq"
PATIENCE = 180.0
"""Seconds that a daemon may take to load a bundle, test it, and score what it read before."""
POLL = 1.0

_RECEIVE = 'mkdir -p -- "$1" && umask 022 && cat > "$1/$2"'
_SHA256 = 'sha256sum -- "$1" | cut -d " " -f 1'
_PRESENT = 'if [ -f "$1" ]; then sha256sum -- "$1" | cut -d " " -f 1; fi'
_LINKED = (
    'if [ -L "$1" ]; then readlink -- "$1"; elif [ -e "$1" ]; then echo "$1 is a file, not a link" >&2; exit 1; fi'
)
_LINK = 'ln -s -- "$1" "$2" && mv -f -T -- "$2" "$3"'
_RENAME = 'mv -f -- "$1" "$2"'
_REMOVE = 'rm -f -- "$@"'
_SIGNAL = """
pid=$(cat -- "$1/watch.pid") && [ -n "$pid" ] && tr "\\0" " " < "/proc/$pid/cmdline" | grep -q "edgeseq.* watch " || {
    echo "no daemon runs in $1" >&2
    exit 1
}
kill -HUP "$pid"
"""
_STATUS = 'if [ -f "$1/status.json" ]; then cat -- "$1/status.json"; fi'


@dataclass(frozen=True, slots=True)
class Deployment:
    """What goes where. ``place`` is the folder for bundles on the device, ``link`` the name in it that moves.

    ``service`` is a unit of systemd that is reloaded, ``out`` the output folder of a daemon that is sent SIGHUP; with
    neither, the link moves and nobody is told.
    """

    bundle: Path
    place: str = PLACE
    link: str = LINK
    service: str = ""
    out: str = ""
    sudo: bool = False
    """Whether systemctl is run with sudo."""
    edgeseq: str = "edgeseq"
    """The command on the device."""

    def __post_init__(self) -> None:
        if not self.place.startswith("/"):
            raise UsageError(f"--to is {self.place}; name a whole path on the device")
        if not re.fullmatch(r"[\w.-]+", self.link):
            raise UsageError(f"--link is {self.link}; it is the name of a link in the folder")
        if self.service and not re.fullmatch(r"[\w@:.\\-]+", self.service):
            raise UsageError(f"--service is {self.service}, which is no name of a unit")
        if self.out and not self.out.startswith("/"):
            raise UsageError(f"--out is {self.out}; name a whole path on the device")


def deploy(deployment: Deployment, remote: Remote, tell: Callable[[str], None], *, patience: float = PATIENCE) -> str:
    """The path of the bundle on the device, where it is in force now. ``tell`` gets a line for each step.

    Raises BundleError for a bundle that is not whole here, RemoteError where a step fails on the device: by then it has
    the bundle that it had before.
    """
    bundle = read_bundle(deployment.bundle)
    with remote.connected() as device:
        return _deploy(deployment, bundle, device, tell, patience)


def _deploy(
    deployment: Deployment, bundle: Bundle, remote: Remote, tell: Callable[[str], None], patience: float
) -> str:
    manifest = bundle.manifest
    name = f"{_plain(manifest.name)}-{_plain(manifest.version)}-{bundle.sha256[:12]}.edgeseq"
    path = posixpath.join(deployment.place, name)
    tell(f"{manifest.name} {manifest.version}, sha256 {bundle.sha256}")
    _bring(deployment, remote, bundle, path, tell)
    link = posixpath.join(deployment.place, deployment.link)
    before = remote.script(_LINKED, [link], "reading the link", remedy="move it away, or choose another --link").strip()
    if before == name:
        tell(f"{link} leads to it already")
    _point(remote, link, name)
    tell(f"{link} → {name}")
    try:
        _reload(deployment, remote, bundle.sha256, tell, patience)
    except RemoteError as error:
        _back(deployment, remote, link, before)
        undone = f"{link} leads to {before} again" if before else f"{link} is removed again"
        raise RemoteError(error.device, error.tried, error.why, f"{undone}, nothing has changed") from error
    return path


def _bring(deployment: Deployment, remote: Remote, bundle: Bundle, path: str, tell: Callable[[str], None]) -> None:
    """Has the bundle lie at ``path``, whole and tested there."""
    there = remote.script(_PRESENT, [path], "looking for the bundle").strip()
    if there == bundle.sha256:
        tell("it is there already")
        _self_test(deployment, remote, path, tell)
        return
    partial = f".{posixpath.basename(path)}.{secrets.token_hex(4)}.partial"
    arrived = posixpath.join(deployment.place, partial)
    try:
        with deployment.bundle.open("rb") as file:
            remedy = f"is there room, and may this user write to {deployment.place}?"
            remote.script(_RECEIVE, [deployment.place, partial], "sending the bundle", send=file, remedy=remedy)
        found = remote.script(_SHA256, [arrived], "checking what arrived").strip()
        if found != bundle.sha256:
            raise RemoteError(str(remote), "checking what arrived", f"its sha256 is {found or 'unknown'}", "try again")
        tell(f"sent, {sum(map(len, bundle.members.values())):,} bytes")
        _self_test(deployment, remote, arrived, tell)
        remote.script(_RENAME, [arrived, path], "naming the bundle")
    except RemoteError:
        with suppress(RemoteError):
            remote.script(_REMOVE, [arrived], "cleaning up")
        raise


def _self_test(deployment: Deployment, remote: Remote, path: str, tell: Callable[[str], None]) -> None:
    """Raises RemoteError unless the device reproduces the golden outputs of the bundle."""
    tried = "the self-test on the device"
    try:
        said = remote.run([deployment.edgeseq, "inspect", "--verify", "--json", path], tried)
    except RemoteError as error:
        if f"{NO_COMMAND}" in error.why or "not found" in error.why or "No such file" in error.why:
            remedy = "install edgeseq there, or name it with --edgeseq /path/to/edgeseq"
            raise RemoteError(error.device, tried, error.why, remedy) from error
        raise RemoteError(error.device, tried, _why_failed(remote, deployment, path) or error.why) from error
    try:
        tested = json.loads(said)["self_test"]
        tell(f"self-test passed on {tested['provider']}")
    except (ValueError, KeyError, TypeError) as error:
        why = "edgeseq there answers in another way"
        raise RemoteError(str(remote), tried, why, "install the same version of edgeseq on the device") from error


def _why_failed(remote: Remote, deployment: Deployment, path: str) -> str:
    """What the self-test said, where it says so on its standard output."""
    script = '"$1" inspect --verify --json "$2" || true'
    with suppress(RemoteError, ValueError, KeyError, TypeError):
        return str(json.loads(remote.script(script, [deployment.edgeseq, path], ""))["self_test"]["problem"])
    return ""


def _point(remote: Remote, link: str, name: str) -> None:
    """Has the link lead to ``name``, in one step."""
    fresh = f"{link}.{secrets.token_hex(4)}.partial"
    remote.script(_LINK, [name, fresh, link], "moving the link", remedy="may this user write there?")


def _back(deployment: Deployment, remote: Remote, link: str, before: str) -> None:
    """Undoes a deployment; the daemon is told, for it may have failed after it had taken the bundle over."""
    if before:
        _point(remote, link, before)
        with suppress(RemoteError):
            _tell_daemon(deployment, remote)
    else:
        remote.script(_REMOVE, [link], "removing the link")


def _reload(deployment: Deployment, remote: Remote, sha256: str, tell: Callable[[str], None], patience: float) -> None:
    """Has the daemon take the bundle over, and waits until it has. Raises RemoteError where it does not."""
    if not deployment.service and not deployment.out:
        tell("no daemon was told: name it with --service or --out")
        return
    out = deployment.out or _out_of_service(deployment, remote)
    last = _last_event(_status(remote, out))
    _tell_daemon(deployment, remote)
    tried = "waiting for the daemon to take it over"
    until = time.monotonic() + patience
    while time.monotonic() < until:
        status = _status(remote, out)
        refused = [one for one in _events(status) if one["number"] > last and one["kind"] == "reload refused"]
        if refused:
            raise RemoteError(str(remote), tried, f"it refused: {refused[0]['text']}")
        if status.get("bundle", {}).get("sha256") == sha256 and status.get("state") != "ended":
            tell("the daemon scores with it")
            return
        time.sleep(POLL)
    raise RemoteError(str(remote), tried, f"it has not within {patience:g} s")


def _tell_daemon(deployment: Deployment, remote: Remote) -> None:
    if deployment.service:
        sudo = ["sudo", "-n"] if deployment.sudo else []
        argv = [*sudo, "systemctl", "reload", "--", deployment.service]
        remote.run(argv, "reloading the service", remedy="does it run, and may this user reload it (--sudo)?")
    else:
        remote.script(_SIGNAL, [deployment.out], "telling the daemon", remedy="start it, or leave --out away")


def _out_of_service(deployment: Deployment, remote: Remote) -> str:
    """The output folder of a unit that `edgeseq service` made: the only one that it may write to."""
    argv = ["systemctl", "show", "--property=ReadWritePaths", "--value", "--", deployment.service]
    found = remote.run(argv, "asking for the service").strip()
    if not found.startswith("/"):
        why = f"{deployment.service} is no unit that edgeseq service made"
        raise RemoteError(str(remote), "asking for the service", why, "name the output folder with --out")
    return found


def _status(remote: Remote, out: str) -> dict[str, Any]:
    try:
        found = json.loads(remote.script(_STATUS, [out], "asking how the daemon is") or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _events(status: dict[str, Any]) -> list[dict[str, Any]]:
    return list(status.get("events", []))


def _last_event(status: dict[str, Any]) -> int:
    return max((int(one["number"]) for one in _events(status)), default=0)


def _plain(name: str) -> str:
    """A name without characters that mean something to shells or file systems."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.") or "bundle"
