"""The systemd unit: what it allows depends on what the configuration needs, and systemd itself judges it."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgeseq.errors import UsageError
from edgeseq.watch.config import read_configuration
from edgeseq.watch.unit import Service, install, owner, unit

if TYPE_CHECKING:
    from conftest import RunEdgeseq

BASE = 'folders = ["/data/run42"]\nout = "/var/lib/edgeseq/run42"\n'
NEEDS = {
    "nothing": "",
    "page": "[page]\n",
    "webhook": '[[alerts.webhooks]]\nurl = "https://ward.example/"\n',
    "command": '[[alerts.commands]]\nargv = ["/usr/local/bin/beep"]\n',
    "gpu": 'provider = "cuda"\n[page]\n',
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with characters that units treat in their own way."""
    found = tmp_path / "a b%c$d"
    found.mkdir()
    return found


def made(folder: Path, more: str = "", user: str = "minknow") -> str:
    path = folder / "run.toml"
    path.write_text(BASE + more)
    return unit(read_configuration(path), Service(path, user))


def value(text: str, key: str) -> str:
    (found,) = [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]
    return found


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("need", NEEDS)
def test_systemd_finds_nothing_to_complain_about(folder: Path, need: str) -> None:
    path = folder.parent / "edgeseq-watch.service"
    path.write_text(made(folder, NEEDS[need]))
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)
    mine = [line for line in done.stderr.splitlines() if "edgeseq" in line]
    assert (done.returncode, mine) == (0, [])
    argv = ["systemd-analyze", "security", "--offline=yes", "--threshold=20", "--no-pager", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1]


def test_names_are_written_so_that_systemd_reads_them_back(folder: Path) -> None:
    text = made(folder)
    config = str(folder / "run.toml").replace("%", "%%")
    assert value(text, "ExecStart").endswith(f' -m edgeseq watch --config "{config.replace("$", "$$")}"')
    assert value(text, "Description").endswith(f'as "{config}" says')
    assert value(text, "ReadWritePaths") == "/var/lib/edgeseq/run42"
    assert value(text, "MemoryMax") == "1G"
    assert not [line for line in text.splitlines() if line.startswith("@")]


@pytest.mark.parametrize(
    ("more", "families", "private", "allowed"),
    [
        (NEEDS["nothing"], "AF_UNIX", True, ""),
        (NEEDS["page"], "AF_UNIX AF_INET AF_INET6", False, "IPAddressAllow=localhost"),
        (NEEDS["webhook"], "AF_UNIX AF_INET AF_INET6 AF_NETLINK", False, ""),
    ],
)
def test_the_network_is_what_is_needed(folder: Path, more: str, families: str, private: bool, allowed: str) -> None:
    text = made(folder, more)
    assert value(text, "RestrictAddressFamilies") == families
    assert ("PrivateNetwork=yes" in text) == private
    assert ("IPAddressDeny=any" in text) == (private or bool(allowed))
    assert allowed in text


def test_only_a_gpu_sees_devices_and_makes_code(folder: Path) -> None:
    assert "PrivateDevices=yes" in made(folder)
    assert "MemoryDenyWriteExecute=yes" in made(folder)
    assert "PrivateDevices=no" in made(folder, NEEDS["gpu"])
    assert "MemoryDenyWriteExecute" not in made(folder, NEEDS["gpu"])


def test_homes_are_seen_only_where_something_lies_there(folder: Path) -> None:
    path = Path("/etc/edgeseq/run.toml")
    configuration = read_configuration(folder / "run.toml") if made(folder) else None
    assert configuration is not None
    text = unit(configuration, Service(path, "minknow", python="/usr/bin/python3"))
    assert (value(text, "ProtectHome"), value(text, "PrivateTmp")) == ("yes", "yes")
    text = unit(configuration, Service(path, "minknow", python="/home/a/.venv/bin/python"))
    assert (value(text, "ProtectHome"), value(text, "PrivateTmp")) == ("read-only", "yes")


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ({"user": "root"}, "needs no rights of root"),
        ({"user": "a b"}, "is no name of a user"),
        ({"user": "a", "memory": "1 GB"}, "write it as systemd does"),
    ],
)
def test_what_no_unit_can_hold(folder: Path, service: dict[str, str], said: str) -> None:
    made(folder)
    path = folder / "run.toml"
    with pytest.raises(UsageError, match=said):
        unit(read_configuration(path), Service(path, **service))


def test_the_owner_of_the_output_folder_runs_it(tmp_path: Path) -> None:
    name = owner(tmp_path / "not" / "there" / "yet")
    assert name == ("edgeseq" if getpass.getuser() == "root" else getpass.getuser())


def test_installing_writes_the_unit_and_makes_the_output_folder(tmp_path: Path) -> None:
    user = getpass.getuser()
    config = tmp_path / "run.toml"
    config.write_text(BASE)
    service = Service(config, user)
    path = install("[Unit]\n", "edgeseq-two", tmp_path, tmp_path / "out", service)
    assert path.read_text() == "[Unit]\n"
    assert path.name == "edgeseq-two.service"
    assert (tmp_path / "out").owner() == user
    with pytest.raises(UsageError, match="there is no user nobody-like-this; make one: useradd"):
        install("", "a", tmp_path, tmp_path / "out", Service(config, "nobody-like-this"))
    with pytest.raises(UsageError, match="install it as root"):
        install("", "a", tmp_path / "absent", tmp_path / "out", service)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may ask what another user may do")
def test_rights_that_the_user_lacks_are_named_before_anything_is_written() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (config := folder / "run.toml").write_text(BASE)
        (python := folder / "python").write_text("")
        (out := folder / "out").mkdir()
        service = Service(config, "nobody", python=str(python))

        def said() -> str:
            with pytest.raises(UsageError) as caught:
                install("", "a", folder, out, service)
            return str(caught.value)

        assert said() == (f"nobody may not read {config}: {folder} is closed to it; chgrp nobody and chmod g+r")
        folder.chmod(0o755)
        config.chmod(0o600)
        assert said() == f"nobody may not read {config}; chgrp nobody and chmod g+r"
        config.chmod(0o644)
        assert said() == f"nobody may not run {python}; install edgeseq where all may run it, such as /opt"
        python.chmod(0o755)
        assert said() == f"nobody may not write to {out}; chown -R nobody {out}"
        assert not (folder / "a.service").exists()
        out.chmod(0o777)
        install("", "a", folder, out, service)


def test_the_command_prints_it(folder: Path, run_edgeseq: RunEdgeseq) -> None:
    text = made(folder)
    done = run_edgeseq("service", "--config", folder / "run.toml", "--user", "minknow")
    assert (done.code, done.out, done.err) == (0, text, "")


def validated(run_edgeseq: RunEdgeseq, path: Path) -> tuple[int, str]:
    done = run_edgeseq("validate", path)
    return done.code, " ".join((done.out + done.err).split())


def test_validate_says_what_would_be_done(tmp_path: Path, bundle_path: Path, run_edgeseq: RunEdgeseq) -> None:
    path = tmp_path / "run.toml"
    (tmp_path / "run").mkdir()
    path.write_text(
        'folders = ["run", "later"]\nout = "out"\nbundle = "tiny.edgeseq"\nthreads = 1\n'
        '[questions]\ncontrol = "barcode03"\nclasses = ["a"]\n[page]\nport = 0\n[disk]\nmax_bytes = "2 GB"\n'
    )
    code, said = validated(run_edgeseq, path)
    assert code == 0
    assert "tiny 1, 3 labels, on cpu with 1 threads, reproduces its golden cases" in said
    assert "1 classes in up to 96 barcodes, at least 1.00% of the reads" in said
    assert "barcode03 is the negative control" in said
    assert "later is not there yet; it is followed once it is" in said
    assert "free, of which 2 GB may be used" in said
    assert "for this machine alone" in said
    assert not (tmp_path / "out").exists()


def test_validate_names_every_failure(tmp_path: Path, bundle_path: Path, run_edgeseq: RunEdgeseq) -> None:
    import socket

    path = tmp_path / "run.toml"
    (tmp_path / "file").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        path.write_text(
            'folders = ["file", "no/where"]\nout = "file/out"\nbundle = "tiny.edgeseq"\n'
            f'[questions]\nclasses = ["mpox"]\n[page]\nport = {taken.getsockname()[1]}\n'
        )
        code, said = validated(run_edgeseq, path)
    assert code == 1
    assert "tiny has no class 'mpox' to ask about" in said
    assert "file is no folder → name the folder that holds the run" in said
    assert "no is not there either → check the path, or mount the disk" in said
    assert "file is no folder → name another output folder" in said
    assert "Address already in use → choose another port, or end what uses it" in said
    assert "5 checks failed" in said
    bundle_path.write_bytes(b"PK")
    assert "1 check failed" in validated(run_edgeseq, write_base(path, tmp_path))[1]


def test_validate_wonders_about_alerts_for_nobody(tmp_path: Path, bundle_path: Path, run_edgeseq: RunEdgeseq) -> None:
    path = write_base(tmp_path / "run.toml", tmp_path)
    path.write_text(path.read_text() + "[alerts]\nlog = false\n")
    code, said = validated(run_edgeseq, path)
    assert code == 0
    assert "warn alerts nobody is told of what is detected → add a channel" in said


def write_base(path: Path, folder: Path) -> Path:
    (folder / "run").mkdir()
    path.write_text('folders = ["run"]\nout = "out"\nbundle = "tiny.edgeseq"\n')
    return path


def test_validate_compares_with_the_journal_that_is_there(
    tmp_path: Path, bundle_path: Path, run_edgeseq: RunEdgeseq
) -> None:
    path = write_base(tmp_path / "run.toml", tmp_path)
    assert run_edgeseq("watch", tmp_path / "run", "--out", tmp_path / "out", "--until-idle", 0.1).code == 0
    code, said = validated(run_edgeseq, path)
    assert code == 1
    assert "was begun with another bundle → go on in it with --switch, beside it with --fork" in said


def test_validate_a_mistake_is_one_of_use(tmp_path: Path, run_edgeseq: RunEdgeseq) -> None:
    (tmp_path / "run.toml").write_text("x = 1\n")
    done = run_edgeseq("validate", tmp_path / "run.toml")
    assert (done.code, done.out) == (2, "")
    assert "run.toml:1: x: unknown key" in done.err
