"""``edgeseq inspect`` shows what is in a bundle; ``--verify`` also runs it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from tiny_bundle import TOKENIZER, tiny_bundle

from edgeseq.bundle import MEMBERS, read_bundle, write_bundle
from edgeseq.commands.inspect import command
from edgeseq.errors import BundleDamagedError
from edgeseq.manifest import Abstention


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], env={"COLUMNS": "160"})


@pytest.fixture
def wrong_bundle(bundle_path: Path, tmp_path: Path) -> Path:
    """A bundle that is whole but promises other outputs than its graph gives."""
    good = read_bundle(bundle_path)
    write_bundle(
        tmp_path / "wrong.edgeseq",
        manifest=good.manifest,
        graph=good.graph,
        tokenizer=TOKENIZER,
        golden={
            "input_ids": np.zeros((1, 8), np.int64),
            "logits": np.zeros((1, 3), np.float32),
            "tolerance": np.array(0.1),
        },
        report={},
        card="",
    )
    return tmp_path / "wrong.edgeseq"


def test_it_shows_task_labels_thresholds_members_and_metrics(tmp_path: Path) -> None:
    path = tiny_bundle(
        tmp_path / "x.edgeseq", abstention=Abstention(minimum_score=0.5, thresholds={"b": 0.75}, minimum_length=200)
    )
    result = run(path)
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["tiny", "1", "Likes", "bases"]
    assert ["a", "0.500"] in lines
    assert ["b", "0.750"] in lines
    assert ["other", "0.500", "background"] in lines
    assert ["accuracy", "1.0"] in lines
    assert "shorter than 200 bases" in result.stdout
    for name, data in read_bundle(path).members.items():
        assert [name, f"{len(data):,}", hashlib.sha256(data).hexdigest()[:16] + "…"] in lines


def test_json_holds_the_manifest_and_every_file(bundle_path: Path) -> None:
    found = json.loads(run(bundle_path, "--json").stdout)
    assert found["sha256"] == hashlib.sha256(bundle_path.read_bytes()).hexdigest()
    assert found["manifest"]["task"]["labels"] == ["a", "b", "other"]
    assert [each["name"] for each in found["files"]] == list(MEMBERS)
    assert found["self_test"] is None


def test_verify_runs_the_golden_cases(bundle_path: Path) -> None:
    result = run(bundle_path, "--verify")
    assert result.exit_code == 0
    assert "Self-test passed: 2 golden cases on cpu" in result.stdout
    assert json.loads(run(bundle_path, "--verify", "--json").stdout)["self_test"]["ok"] is True


def test_verify_fails_where_the_outputs_are_others(wrong_bundle: Path) -> None:
    result = run(wrong_bundle, "--verify")
    assert result.exit_code == 1
    assert "Self-test failed" in result.stdout
    machine = run(wrong_bundle, "--verify", "--json")
    assert machine.exit_code == 1
    assert json.loads(machine.stdout)["self_test"]["ok"] is False
    assert run(wrong_bundle).exit_code == 0  # whole, only not tested


def test_a_damaged_bundle_is_an_error(bundle_path: Path) -> None:
    data = bytearray(bundle_path.read_bytes())
    data[-200] ^= 1
    bundle_path.write_bytes(data)
    assert isinstance(run(bundle_path).exception, BundleDamagedError)


def test_the_card_is_printed_as_it_is(bundle_path: Path) -> None:
    assert run(bundle_path, "--card").stdout == "# tiny\n\nFor tests only.\n"
