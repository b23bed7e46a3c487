"""Bundles sent to a device: over a real sshd on loopback, with throwaway keys."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sequencer import run_folder
from test_daemon import READS, stored, until, write
from test_station import configure, start
from test_switch import by_bundle
from tiny_bundle import _weights, tiny_bundle, tiny_graph
from tiny_outputs import tiny_output

from devices.__main__ import main
from devices.deploy import Deployment, deploy
from devices.remote import Remote, RemoteError
from edgeseq.bundle import read_bundle
from edgeseq.errors import BundleError, UsageError

SSHD = shutil.which("sshd") or ("/usr/sbin/sshd" if Path("/usr/sbin/sshd").exists() else None)
needs_sshd = pytest.mark.skipif(
    SSHD is None or shutil.which("ssh") is None, reason="needs sshd and ssh: install openssh-server and openssh-client"
)


@dataclass(frozen=True)
class Device:
    """A device that is this machine: its ssh server, and a folder whose programs come first there."""

    remote: Remote
    folder: Path
    programs: Path

    def program(self, name: str, script: str) -> Path:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path, Path]]:
    """Port of a running sshd, a configuration for ssh that knows it, and the folder whose programs come first."""
    assert SSHD is not None
    folder = tmp_path_factory.mktemp("ssh")
    programs = folder / "bin"
    programs.mkdir()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host'}\nAuthorizedKeysFile {folder / 'user.pub'}\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"PermitRootLogin prohibit-password\nMaxStartups 50\nSetEnv PATH={programs}:{os.environ['PATH']}\n"
    )
    host = (folder / "host.pub").read_text().split()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {host[0]} {host[1]}\n")
    config = folder / "config"
    config.write_text(
        f"Host *\n  IdentityFile {folder / 'user'}\n  IdentitiesOnly yes\n  UserKnownHostsFile {folder / 'known'}\n"
        "  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n"
    )
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=subprocess.DEVNULL)
    try:
        until(lambda: answers(port) or process.poll() is not None)
        if process.poll() is not None:
            pytest.skip("sshd does not start here")
        yield port, config, programs
    finally:
        process.terminate()
        process.wait()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture
def device(server: tuple[int, Path, Path], tmp_path: Path) -> Iterator[Device]:
    port, config, programs = server
    folder = tmp_path / "device $(touch hacked) 'a\"b"
    folder.mkdir()
    found = Device(Remote("127.0.0.1", port, config), folder, programs)
    root = Path(__file__).resolve().parent.parent
    cache = os.environ["XDG_CACHE_HOME"]
    found.program("edgeseq", f'PYTHONPATH={root} XDG_CACHE_HOME={cache} exec {sys.executable} -m edgeseq "$@"')
    yield found
    for path in programs.iterdir():
        path.unlink()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sha256(path: Path) -> str:
    return read_bundle(path).sha256


Deploy = Callable[..., list[str]]


@pytest.fixture
def send(device: Device) -> Deploy:
    """Deploys a bundle into the folder of the device; the lines that were said."""

    def run(bundle: Path, patience: float = 60.0, **more: Any) -> list[str]:
        said: list[str] = []
        deployment = replace(Deployment(bundle, str(device.folder)), **more)
        deploy(deployment, device.remote, said.append, patience=patience)
        return said

    return run


@needs_sshd
def test_a_bundle_is_sent_tested_and_linked(device: Device, bundle_path: Path, send: Deploy) -> None:
    digest = sha256(bundle_path)
    name = f"tiny-1-{digest[:12]}.edgeseq"
    assert send(bundle_path) == [
        f"tiny 1, sha256 {digest}",
        f"sent, {sum(map(len, read_bundle(bundle_path).members.values())):,} bytes",
        "self-test passed on cpu",
        f"{device.folder}/current.edgeseq → {name}",
        "no daemon was told: name it with --service or --out",
    ]
    assert names(device.folder) == ["current.edgeseq", name]
    assert (device.folder / name).read_bytes() == bundle_path.read_bytes()
    assert (device.folder / "current.edgeseq").readlink() == Path(name)
    assert (device.folder / name).stat().st_mode & 0o777 == 0o644
    assert "it is there already" in send(bundle_path)
    assert not Path("hacked").exists()


@needs_sshd
def test_what_arrives_damaged_is_not_kept(device: Device, bundle_path: Path, send: Deploy) -> None:
    device.program("cat", "exec head -c 100")
    with pytest.raises(RemoteError, match=r"checking what arrived: its sha256 is [0-9a-f]{64}; try again"):
        send(bundle_path)
    assert names(device.folder) == []


@pytest.mark.slow
@needs_sshd
def test_a_bundle_that_computes_wrongly_there_is_not_linked(
    device: Device, tmp_path: Path, bundle_path: Path, send: Deploy
) -> None:
    send(bundle_path)
    before = names(device.folder)
    bad = tiny_bundle(tmp_path / "bad.edgeseq", graph=tiny_graph(_weights(("b", "a", "other"), "equivariant")))
    with pytest.raises(RemoteError, match=r"the self-test on the device: .*golden case 0: logits is .* away"):
        send(bad)
    assert names(device.folder) == before


@needs_sshd
def test_edgeseq_that_is_not_there(device: Device, bundle_path: Path, send: Deploy) -> None:
    with pytest.raises(RemoteError, match="name it with --edgeseq"):
        send(bundle_path, edgeseq="/nowhere/edgeseq")
    assert names(device.folder) == []


@needs_sshd
def test_a_folder_that_cannot_be_written(device: Device, bundle_path: Path, send: Deploy) -> None:
    (device.folder / "file").write_text("")
    with pytest.raises(RemoteError, match=r"sending the bundle: .*Not a directory; is there room"):
        send(bundle_path, place=f"{device.folder}/file/below")


@needs_sshd
def test_a_file_in_the_place_of_the_link_is_left_alone(device: Device, bundle_path: Path, send: Deploy) -> None:
    (device.folder / "current.edgeseq").write_text("mine")
    with pytest.raises(RemoteError, match="is a file, not a link; move it away"):
        send(bundle_path)
    assert (device.folder / "current.edgeseq").read_text() == "mine"


@pytest.fixture
def daemon(device: Device, tmp_path: Path, bundle_path: Path, send: Deploy) -> Iterator[Path]:
    """The output folder of a daemon that scores with what the link on the device leads to."""
    send(bundle_path)
    config = configure(tmp_path)
    text = config.read_text().replace('"panel.edgeseq"', f"'''{device.folder / 'current.edgeseq'}'''")
    config.write_text(text)
    write(run_folder(tmp_path / "run", READS[:30]))
    process = start(config)
    until(lambda: stored(tmp_path / "out") == 30)
    try:
        yield tmp_path / "out"
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.mark.slow
@needs_sshd
def test_the_daemon_takes_the_new_bundle_over(tmp_path: Path, daemon: Path, bundle_path: Path, send: Deploy) -> None:
    other = tiny_bundle(tmp_path / "other.edgeseq", labels=("b", "a", "other"), name="other panel")
    assert send(other, out=str(daemon))[-1] == "the daemon scores with it"
    write(run_folder(tmp_path / "run" / "more", READS[30:60]))
    until(lambda: stored(daemon) == 60)
    found = {bundle: len(rows) for bundle, rows in by_bundle(daemon).items()}
    assert found == {sha256(bundle_path): 30, sha256(other): 30}


@pytest.mark.slow
@needs_sshd
def test_a_bundle_that_the_daemon_refuses_is_rolled_back(
    device: Device, tmp_path: Path, daemon: Path, bundle_path: Path, send: Deploy
) -> None:
    import numpy as np

    before = (device.folder / "current.edgeseq").readlink()
    other = tiny_output(tmp_path / "other.edgeseq", np.ones((6, 1), np.float32), kind="regression", pooled=True)
    with pytest.raises(RemoteError, match=f"it refused: bundle: .*current.edgeseq leads to {before} again"):
        send(other, out=str(daemon))
    assert (device.folder / "current.edgeseq").readlink() == before
    other = tiny_bundle(tmp_path / "other.edgeseq", name="other")
    assert send(other, out=str(daemon))[-1] == "the daemon scores with it"


@pytest.mark.slow
@needs_sshd
def test_a_service_is_reloaded_and_tells_its_output_folder(
    device: Device, tmp_path: Path, daemon: Path, send: Deploy
) -> None:
    log = tmp_path / "asked"
    device.program(
        "systemctl",
        f'echo "$@" >> {log}\ncase "$1" in show) echo {daemon};; reload) kill -HUP "$(cat {daemon}/watch.pid)";; esac',
    )
    other = tiny_bundle(tmp_path / "other.edgeseq", name="other")
    assert send(other, service="edgeseq-watch")[-1] == "the daemon scores with it"
    assert log.read_text().splitlines() == [
        "show --property=ReadWritePaths --value -- edgeseq-watch",
        "reload -- edgeseq-watch",
    ]


@pytest.mark.slow
@needs_sshd
def test_a_service_that_does_not_run_is_rolled_back(
    device: Device, tmp_path: Path, bundle_path: Path, send: Deploy
) -> None:
    device.program("systemctl", 'case "$1" in show) echo /out;; *) echo "Job failed" >&2; exit 1;; esac')
    with pytest.raises(RemoteError, match=r"reloading the service: Job failed; .*current.edgeseq is removed again"):
        send(bundle_path, service="edgeseq-watch")
    assert not (device.folder / "current.edgeseq").is_symlink()


@pytest.mark.slow
@needs_sshd
def test_a_process_that_is_no_daemon_is_never_signalled(
    device: Device, tmp_path: Path, bundle_path: Path, send: Deploy
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with subprocess.Popen(["sleep", "60"]) as bystander:
        (out / "watch.pid").write_text(f"{bystander.pid}\n")
        with pytest.raises(RemoteError, match="telling the daemon: no daemon runs in"):
            send(bundle_path, out=str(out))
        time.sleep(0.2)
        assert bystander.poll() is None
        bystander.kill()


@pytest.mark.slow
@needs_sshd
def test_a_daemon_that_does_nothing_is_not_waited_for_for_ever(
    device: Device, daemon: Path, tmp_path: Path, send: Deploy
) -> None:
    device.program("systemctl", f'case "$1" in show) echo {daemon};; esac')
    other = tiny_bundle(tmp_path / "other.edgeseq", name="other")
    with pytest.raises(RemoteError, match=r"waiting for the daemon to take it over: it has not within 0.5 s"):
        send(other, patience=0.5, service="edgeseq-watch")


@needs_sshd
def test_a_host_whose_key_is_not_known_is_refused(device: Device, tmp_path: Path, bundle_path: Path) -> None:
    assert device.remote.config is not None
    config = tmp_path / "config"
    config.write_text(device.remote.config.read_text().replace("known\n", "unknown\n"))
    with pytest.raises(RemoteError, match="connecting: Host key verification failed"):
        deploy(Deployment(bundle_path, str(device.folder)), replace(device.remote, config=config), print)


@needs_sshd
def test_nobody_at_home(device: Device, bundle_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(RemoteError, match=r"connecting: .*refused; try it by hand: ssh 127\.0\.0\.1 true"):
        deploy(Deployment(bundle_path, str(device.folder)), replace(device.remote, port=port), print)


@pytest.mark.slow
@needs_sshd
def test_the_command(device: Device, bundle_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["-F", str(device.remote.config), "--to", str(device.folder)]
    main(["deploy", str(bundle_path), f"127.0.0.1:{device.remote.port}", *options], standalone_mode=False)
    out, err = capsys.readouterr()
    assert out == f"{device.folder}/tiny-1-{sha256(bundle_path)[:12]}.edgeseq\n"
    assert f"127.0.0.1 port {device.remote.port}: self-test passed on cpu\n" in err


def test_a_damaged_bundle_never_leaves_the_workstation(bundle_path: Path) -> None:
    bundle_path.write_bytes(bundle_path.read_bytes()[:-1])
    with pytest.raises(BundleError):
        deploy(Deployment(bundle_path), Remote("nowhere.invalid"), print)


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        ("pi@sequencer", "pi@sequencer", None),
        ("sequencer.lan:2222", "sequencer.lan", 2222),
        ("a.b@corp@10.0.0.7:22", "a.b@corp@10.0.0.7", 22),
        ("pi@[fe80::1%eth0]:22", "pi@fe80::1%eth0", 22),
    ],
)
def test_targets(target: str, host: str, port: int | None) -> None:
    found = Remote.parse(target)
    assert (found.host, found.port) == (host, port)


@pytest.mark.parametrize(
    "target", ["", "-oProxyCommand=touch x", "pi@-oX", "pi@host:0", "pi@host:99999", "pi@ho st", "pi@host:22:1", "$(x)"]
)
def test_what_is_no_target(target: str) -> None:
    with pytest.raises(UsageError, match="names no device; write user@host or user@host:port"):
        Remote.parse(target)


@pytest.mark.parametrize(
    "wrong", [{"place": "relative"}, {"link": "a/b"}, {"link": ""}, {"service": "a b"}, {"out": "out"}]
)
def test_names_that_cannot_be_meant(bundle_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        replace(Deployment(bundle_path), **wrong)


def test_the_command_line_of_ssh() -> None:
    argv = Remote("pi@host", 22, Path("c")).ssh(["rm", "a b; x"])
    assert argv == [
        *["ssh", "-F", "c", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=15"],
        *["-o", "ServerAliveCountMax=4", "-p", "22", "-S", "none", "-T", "--", "pi@host", "rm 'a b; x'"],
    ]
