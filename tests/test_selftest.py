"""The self-test notices an engine that computes something else, and runs once for each bundle and machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_bundle import TOLERANCE, tiny_bundle

from edgeseq.bundle import Bundle, read_bundle
from edgeseq.errors import EngineError, SelfTestError
from edgeseq.selftest import self_test
from edgeseq.session import Session


class Wrong(Session):
    """An engine whose outputs went through ``spoil``; counts its runs."""

    def __init__(self, graph: bytes, spoil: Any) -> None:
        super().__init__(graph)
        self.spoil = spoil
        self.runs = 0

    def run(self, inputs: Any) -> dict[str, NDArray[Any]]:
        self.runs += 1
        found: dict[str, NDArray[Any]] = self.spoil(super().run(inputs))
        return found


@pytest.fixture
def bundle(bundle_path: Path) -> Bundle:
    return read_bundle(bundle_path)


def markers(cache: Path) -> list[Path]:
    return list((cache / "edgeseq" / "selftest").glob("*"))


def test_the_right_engine_passes(bundle: Bundle) -> None:
    report = self_test(bundle, Session(bundle.graph))
    assert set(report.deltas) == {"logits"}
    assert report.deltas["logits"] <= report.tolerance == TOLERANCE
    assert (report.cases, report.provider, report.remembered) == (2, "cpu", False)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda found: {"logits": found["logits"] + 0.01}, r"golden case 0: logits is 0\.01 away, 0\.0001 is allowed"),
        (lambda found: {"logits": found["logits"][:, :2]}, "logits is missing, misshapen or not finite"),
        (lambda found: {"logits": found["logits"] * np.nan}, "logits is missing, misshapen or not finite"),
        (lambda _: {}, "logits is missing, misshapen or not finite"),
    ],
)
def test_a_wrong_engine_fails_every_time(spoil: Any, what: str, bundle: Bundle, private_cache: Path) -> None:
    session = Wrong(bundle.graph, spoil)
    for _ in range(2):
        with pytest.raises(SelfTestError, match=what):
            self_test(bundle, session)
    assert markers(private_cache) == []


def test_an_engine_that_fails_fails_the_test(bundle: Bundle) -> None:
    def fail(found: object) -> None:
        raise EngineError("no kernel")

    with pytest.raises(SelfTestError, match="golden case 0: no kernel"):
        self_test(bundle, Wrong(bundle.graph, fail))


def test_a_passed_test_is_remembered(bundle: Bundle, private_cache: Path) -> None:
    session = Wrong(bundle.graph, lambda found: found)
    first = self_test(bundle, session)
    second = self_test(bundle, session)
    assert session.runs == 2  # two cases, once
    assert second.remembered
    assert second.deltas == first.deltas
    assert len(markers(private_cache)) == 1
    assert not self_test(bundle, session, again=True).remembered
    assert session.runs == 4


def test_another_bundle_is_tested_anew(bundle: Bundle, tmp_path: Path) -> None:
    self_test(bundle, Session(bundle.graph))
    other = read_bundle(tiny_bundle(tmp_path / "other.edgeseq", temperature=2.0))
    assert not self_test(other, Session(other.graph)).remembered


def test_another_engine_or_processor_is_tested_anew(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(bundle.graph)
    self_test(bundle, session)
    monkeypatch.setattr("edgeseq.selftest.VERSION", "0.0.0")
    assert not self_test(bundle, session).remembered
    monkeypatch.setattr("edgeseq.cpu.platform.machine", lambda: "riscv64")
    assert not self_test(bundle, session).remembered


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"deltas": {}}', '{"deltas": {"logits": "0"}}', '{"deltas": {"logits": NaN}}', "\0"]
)
def test_a_damaged_record_is_no_record(text: str, bundle: Bundle, private_cache: Path) -> None:
    session = Session(bundle.graph)
    self_test(bundle, session)
    markers(private_cache)[0].write_text(text)
    assert not self_test(bundle, session).remembered
    assert "deltas" in json.loads(markers(private_cache)[0].read_text())


def test_a_cache_that_cannot_be_written_is_no_error(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for _ in range(2):
        assert not self_test(bundle, Session(bundle.graph)).remembered
