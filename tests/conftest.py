"""Fixtures shared by all tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("edgeseq", deadline=None)
settings.load_profile("edgeseq")

REPOSITORY = Path(__file__).resolve().parent.parent


class Shared:
    """Real data beside the checkout. ``shared / "data/reads"`` is a path that exists; the test is skipped where it does
    not."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __truediv__(self, name: str) -> Path:
        path = self.root / name
        if not path.exists():
            pytest.skip(f"real data are absent: shared/{name} is not beside the checkout")
        return path


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Shared:
    """The folder ``shared`` beside the checkout; the test is skipped where it is absent."""
    root = REPOSITORY.parent / "shared"
    if not root.is_dir():
        pytest.skip("real data are absent: no folder named shared beside the checkout")
    return Shared(root)


@pytest.fixture
def bundle_path(tmp_path: Path) -> Path:
    """A real classifier of three labels, a few kilobytes."""
    from tiny_bundle import tiny_bundle

    return tiny_bundle(tmp_path / "tiny.edgeseq")


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for each test: nothing that the user's own runs remembered plays a part."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


RunEdgeseq = Callable[..., "CompletedRun"]


class CompletedRun:
    """What a command left behind: exit code, standard output and standard error as text."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err


@pytest.fixture
def run_edgeseq(capfd: pytest.CaptureFixture[str]) -> RunEdgeseq:
    """`run_edgeseq("score", path)` runs the command in this process."""
    from edgeseq.cli import main

    def run(*arguments: object) -> CompletedRun:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return CompletedRun(code, out, err)

    return run
