"""The cache of the aarch64 environment, and what is asked of a machine that builds it. Nothing here needs a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from devices import debian, wheels
from devices import environment as building
from devices.debian import DebianError, Packages
from devices.environment import EmulationError, cached_environment, environment, environments_folder
from devices.wheels import WheelError


def write_tree(folder: Path) -> None:
    """What a build leaves, in small."""
    (folder / "root").mkdir(parents=True)
    (folder / "root/libc.so").write_bytes(b"arm")
    (folder / "root/link").symlink_to("libc.so")
    (folder / "site").mkdir()
    (folder / "site/engine.py").write_text("version = 1\n", encoding="utf-8")
    facts = {"seconds": 1.0, "files": building._sizes(folder)}
    (folder / building.STAMP).write_text(json.dumps(facts), encoding="utf-8")


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that were built so far, by a builder that needs no network."""
    folders: list[Path] = []

    def build(folder: Path, _: Callable[[str], None]) -> None:
        folders.append(folder)
        write_tree(folder)

    monkeypatch.setattr(building, "_build", build)
    return folders


def test_it_is_built_once(builds: list[Path], private_cache: Path) -> None:
    assert cached_environment() is None
    first = environment()
    assert first.folder.parent == environments_folder() == private_cache / "edgeseq/aarch64"
    assert environment() == first == cached_environment()
    assert len(builds) == 1


def test_it_is_built_beside_its_place(builds: list[Path]) -> None:
    built = environment()
    assert builds[0] != built.folder
    assert not builds[0].exists()
    assert names_in(environments_folder()) == {built.folder.name}


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock"}


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "root/libc.so").unlink(),
        lambda folder: (folder / "root/link").unlink(),
        lambda folder: (folder / "site/engine.py").write_text("", encoding="utf-8"),
        lambda folder: (folder / "environment.json").unlink(),
        lambda folder: (folder / "environment.json").write_text("{", encoding="utf-8"),
        lambda folder: (folder / "environment.json").write_text("[]", encoding="utf-8"),
        lambda folder: (folder / "environment.json").write_text('{"files": {}}', encoding="utf-8"),
    ],
    ids=["file gone", "link gone", "file cut", "no stamp", "stamp cut", "stamp of another kind", "stamp of nothing"],
)
def test_a_broken_one_is_built_again(builds: list[Path], damage: Callable[[Path], object]) -> None:
    first = environment()
    damage(first.folder)
    assert cached_environment() is None
    said: list[str] = []
    assert environment(said.append).folder == first.folder
    assert len(builds) == 2
    assert said == ["taking the old environment away"]
    assert (first.folder / "root/libc.so").read_bytes() == b"arm"


def test_byte_code_may_come_and_go(builds: list[Path]) -> None:
    built = environment()
    (built.site / "engine.cpython-311.pyc").write_bytes(b"code")
    assert cached_environment() == built


def test_it_is_built_again_when_asked_for(builds: list[Path]) -> None:
    environment()
    environment(rebuild=True)
    assert len(builds) == 2


def test_a_build_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path, _: Callable[[str], None]) -> None:
        folder.mkdir()
        (folder / "half").write_bytes(b"")
        raise DebianError("no network")

    monkeypatch.setattr(building, "_build", fail)
    with pytest.raises(DebianError, match="no network"):
        environment()
    assert names_in(environments_folder()) == set()


def test_what_a_killed_build_left_is_taken_away(builds: list[Path]) -> None:
    left = environments_folder() / ".building-1"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"")
    built = environment()
    assert names_in(environments_folder()) == {built.folder.name}
    assert len(builds) == 1


def test_a_cache_that_cannot_be_written(private_cache: Path) -> None:
    (private_cache / "edgeseq").write_bytes(b"a file, where a folder should be")
    with pytest.raises(EmulationError, match=r"aarch64 cannot be written: .*; set XDG_CACHE_HOME"):
        environment()


def test_other_pins_are_another_environment(
    builds: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = environment()
    newer = {**wheels.pins(), "onnxruntime": "99.0.0"}
    monkeypatch.setattr(wheels, "pins", lambda: newer)
    assert environment().folder != first.folder
    assert len(builds) == 2


def test_wheels_are_those_of_the_constraints(repository: Path) -> None:
    found = wheels.pins()
    assert list(found) == ["click", "isal", "numpy", "onnxruntime", "pysam", "rich", "tokenizers", "watchfiles"]
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert f"onnxruntime=={found['onnxruntime']}" in lines


def test_constraints_that_pin_too_little(tmp_path: Path) -> None:
    file = tmp_path / "constraints.txt"
    file.write_text("numpy==2.4.6\nclick==8.5.1\n", encoding="utf-8")
    with pytest.raises(WheelError, match="does not pin isal, onnxruntime, pysam, rich, tokenizers, watchfiles"):
        wheels.pins(file)
    with pytest.raises(WheelError, match="cannot be read: No such file or directory; run from a checkout"):
        wheels.pins(tmp_path / "nothing.txt")


def test_a_machine_without_apt_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DebianError, match=r"^apt-get, apt-config, dpkg-deb not found: .* install both"):
        Packages(tmp_path / "apt", "arm64")


def test_a_machine_without_the_keys_of_debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for tool in ("apt-get", "apt-config", "dpkg-deb"):
        (tmp_path / tool).write_text("#!/bin/sh\n", encoding="utf-8")
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(debian, "KEYRINGS", (tmp_path / "debian.gpg",))
    with pytest.raises(DebianError, match="install debian-archive-keyring"):
        Packages(tmp_path / "apt", "arm64")


def test_a_mirror_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = tmp_path / "debian.gpg"
    keys.write_bytes(b"")
    monkeypatch.setattr(debian, "KEYRINGS", (keys,))
    script = "#!/bin/sh\n[ $0 = ${0%config} ] && echo 'E: Could not resolve mirror' >&2 && exit 100\nexit 0\n"
    for tool in ("apt-get", "apt-config", "dpkg-deb"):
        (tmp_path / tool).write_text(script, encoding="utf-8")
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DebianError) as caught:
        Packages(tmp_path / "apt", "arm64")
    assert str(caught.value) == (
        "apt-get update for arm64 failed: Could not resolve mirror; check the network and the proxy, "
        "or name another mirror in EDGESEQ_DEBIAN_MIRROR"
    )


def test_another_mirror_and_the_proxy_of_the_machine_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = tmp_path / "debian.gpg"
    keys.write_bytes(b"")
    monkeypatch.setattr(debian, "KEYRINGS", (keys,))
    monkeypatch.setenv("EDGESEQ_DEBIAN_MIRROR", "http://mirror.example/debian")
    for tool in ("apt-get", "dpkg-deb"):
        (tmp_path / tool).write_text("#!/bin/sh\n", encoding="utf-8")
    (tmp_path / "apt-config").write_text(
        "#!/bin/sh\necho 'Acquire::http::Proxy \"http://proxy.example:3128\";'\necho 'APT::Other \"1\";'\n", "utf-8"
    )
    for tool in ("apt-get", "apt-config", "dpkg-deb"):
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    Packages(tmp_path / "apt", "arm64")
    sources = (tmp_path / "apt/etc/apt/sources.list").read_text(encoding="utf-8").splitlines()
    assert sources == [
        f"deb [arch=arm64 signed-by={keys}] http://mirror.example/debian bookworm main",
        f"deb [arch=arm64 signed-by={keys}] http://mirror.example/debian bookworm-backports main",
    ]
    settings = (tmp_path / "apt/apt.conf").read_text(encoding="utf-8")
    assert 'Acquire::http::Proxy "http://proxy.example:3128";' in settings
    assert "APT::Other" not in settings
