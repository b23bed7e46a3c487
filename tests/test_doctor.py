"""``edgeseq doctor`` says what is wrong with a machine and what to do about it."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgeseq import health
from edgeseq.cache import cache_folder, recall, remember
from edgeseq.commands.doctor import command
from edgeseq.cpu import read_cpu

RASPBERRY_PI_4 = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3
"""
RASPBERRY_PI_5 = RASPBERRY_PI_4.replace("0xd08", "0xd0b").replace("crc32", "crc32 asimdhp asimddp")
LAPTOP = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz
flags\t\t: fpu sse4_2 avx avx2 fma
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], env={"COLUMNS": "160"})


def test_a_good_machine_with_a_good_bundle_is_ready(bundle_path: Path) -> None:
    result = run("-m", bundle_path, "--json")
    found = json.loads(result.stdout)
    states = {check["name"]: check["state"] for check in found["checks"]}
    assert list(states) == [
        "python",
        "edgeseq",
        "engine",
        "readers",
        "processor",
        "memory",
        "disk",
        "clock",
        "cache",
        "bundle",
    ]
    assert states["engine"] == states["readers"] == states["bundle"] == "ok"
    assert found["ok"] == ("fail" not in states.values())
    assert result.exit_code == (0 if found["ok"] else 1)
    assert all(check["remedy"] for check in found["checks"] if check["state"] != "ok")


def test_a_damaged_bundle_fails_with_a_remedy(bundle_path: Path) -> None:
    bundle_path.write_bytes(bundle_path.read_bytes()[:-1])
    result = run("-m", bundle_path)
    assert result.exit_code == 1
    text = " ".join(result.stdout.split())
    assert "fail bundle" in text
    assert "the file ends early" in text
    assert "→ install edgeseq again, or copy the bundle again" in text
    assert "1 of 10 checks failed" in text


@pytest.mark.parametrize(
    ("available", "state"), [(8_000_000, "ok"), (400_000, "warn"), (100_000, "fail"), (None, "warn")]
)
def test_memory(available: int | None, state: str, tmp_path: Path) -> None:
    if available is not None:
        (tmp_path / "meminfo").write_text(f"MemTotal: 8000000 kB\nMemAvailable: {available} kB\n")
    check = health.check_memory(tmp_path / "meminfo")
    assert check.state == state
    assert bool(check.remedy) == (state != "ok")


def test_a_board_without_a_battery_starts_in_the_past() -> None:
    assert health.check_clock(dt.datetime(1970, 1, 1, 0, 3, tzinfo=dt.timezone.utc)).state == "warn"
    assert health.check_clock(dt.datetime(2027, 5, 1, tzinfo=dt.timezone.utc)).state == "ok"


def test_a_folder_that_is_gone_fails(tmp_path: Path) -> None:
    assert health.check_disk(tmp_path / "gone").state == "fail"


@pytest.mark.parametrize(("free", "state"), [(5000, "ok"), (500, "warn"), (5, "fail")])
def test_disk(free: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        def __init__(self) -> None:
            self.free = free * 2**20

    monkeypatch.setattr("edgeseq.health.shutil.disk_usage", lambda _: Usage())
    assert health.check_disk(tmp_path).state == state


@pytest.mark.parametrize(
    ("cpuinfo", "machine", "name", "features"),
    [
        (RASPBERRY_PI_4, "aarch64", "Arm Cortex-A72", ("asimd",)),
        (RASPBERRY_PI_5, "aarch64", "Arm Cortex-A76", ("asimd", "asimdhp", "asimddp")),
        (LAPTOP, "x86_64", "Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz", ("sse4_2", "avx", "avx2", "fma")),
        ("CPU implementer : 0x61\nCPU part : 0x022\n", "aarch64", "Apple part 0x022", ()),
        ("", "riscv64", "", ()),
    ],
)
def test_processors_are_known_by_name_and_feature(
    cpuinfo: str, machine: str, name: str, features: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    cpu = read_cpu(tmp_path / "cpuinfo", machine)
    assert (cpu.name, cpu.features) == (name, features)
    assert cpu.cores >= 1


def test_a_processor_without_dot_products_is_a_reservation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(RASPBERRY_PI_4)
    monkeypatch.setattr("edgeseq.health.read_cpu", lambda: read_cpu(tmp_path / "cpuinfo", "aarch64"))
    check = health.check_processor()
    assert check.state == "warn"
    assert "eight-bit bundles gain nothing" in check.remedy


def test_the_cache_remembers_and_forgets(private_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert health.check_cache().state == "ok"
    assert recall("a/b.json") is None
    assert remember("a/b.json", {"x": 1})
    assert recall("a/b.json") == {"x": 1}
    assert [path.name for path in (private_cache / "edgeseq" / "a").iterdir()] == ["b.json"]
    (private_cache / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(private_cache / "file"))
    assert not remember("a/b.json", {"x": 1})
    assert health.check_cache().state == "warn"


def test_a_relative_cache_folder_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder() == Path("/home/someone/.cache/edgeseq")
