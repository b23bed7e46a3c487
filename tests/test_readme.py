"""Every command and every program in the README works as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parent.parent / "README.md"


def blocks(language: str) -> list[str]:
    """The code blocks of the README in ``language``."""
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(program: str) -> list[str]:
    """Lines of the shell blocks in which ``program`` is run."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.rpartition("| ")[2].split()[0] == program]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with ``reads/``, in which the test runs."""
    (tmp_path / "reads").mkdir()
    record = b"@read%d\n" + b"ACGTTGCAAC" * 40 + b"\n+\n" + b"5" * 400 + b"\n"
    (tmp_path / "reads" / "a.fastq").write_bytes(b"".join(record % number for number in range(3)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_shell_line_is_one_that_is_tested() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    tested = [*commands("make"), *commands("pip"), *commands("edgeseq")]
    assert lines
    assert sorted(lines) == sorted(tested)


@pytest.mark.parametrize("line", commands("make"))
def test_make(line: str, repository: Path) -> None:
    done = subprocess.run(
        [*shlex.split(line), "--dry-run"], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert ".venv/bin/" in done.stdout


@pytest.mark.parametrize("line", commands("pip"))
def test_pip(line: str, repository: Path) -> None:
    project = (repository / "pyproject.toml").read_text(encoding="utf-8")
    for package in shlex.split(line)[2:]:
        name, _, extras = package.rstrip("]").partition("[")
        assert f'name = "{name}"' in project
        for extra in filter(None, extras.split(",")):
            assert f"\n{extra} = [" in project


@pytest.mark.parametrize("line", commands("edgeseq"))
def test_edgeseq(line: str, workplace: Path, repository: Path) -> None:
    before, pipe, command = line.rpartition("| ")
    here = f"{shlex.quote(sys.executable)} -m {command}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", before + pipe + here],
        env={**os.environ, "PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    written = re.findall(r"-o (\S+)", line)
    for name in written:
        assert "read2" in (workplace / name).read_text(encoding="utf-8")
    assert written or done.stdout or "3 reads" in done.stderr


@pytest.mark.parametrize("program", blocks("python"))
def test_python(program: str, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(program, {})
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["read0", "read1", "read2"]


def test_linked_pages_exist(repository: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8"))
    assert links
    for link in links:
        assert (repository / link).is_file(), link
