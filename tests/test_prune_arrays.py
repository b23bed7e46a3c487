"""Pruning a model that takes more than sequences: its rows are arrays under the names of the graph's inputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from pruned_families import FAMILIES

from edgeseq.errors import UsageError
from export.__main__ import main
from export.checkpoint import open_checkpoint
from export.families import find
from export.network import Model, Request
from export.pruning.arrays import read_arrays
from export.pruning.rows import inputs_of

Arrays = dict[str, Any]


def read(folder: Path) -> Model:
    checkpoint = open_checkpoint(folder)
    return find(checkpoint).read(checkpoint, Request())


def alignment(file: Path, change: Callable[[Arrays], Arrays] = lambda arrays: arrays) -> Path:
    """24 rows of 20 bases (1 to 4), and beside each base that of three species (0 to 4)."""
    rng = np.random.default_rng(0)
    np.savez(
        file,
        **change({"input_ids": rng.integers(1, 5, (24, 20)), "aux_features": rng.integers(0, 5, (24, 20, 3))}),
    )
    return file


def prune(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["prune", *map(str, arguments)])


def test_a_model_of_alignments_is_pruned_and_recovers_with_them(tmp_path: Path) -> None:
    folder = FAMILIES["GPN-MSA"](tmp_path / "msa")
    options = ("--ffn", 0.4, "--width", 0.25, "--recover", "distil", "--steps", 24, "--rate", 3e-3, "--no-speed")
    result = prune(folder, "--calibrate", alignment(tmp_path / "rows.npz"), *options, "-o", tmp_path / "small")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "small/prune_report.json").read_text())
    assert (report["calibration"]["rows"], report["calibration"]["held_out_rows"]) == (16, 6)
    assert report["recovered"]["distance"] < report["after"]["distance"]
    config = json.loads((tmp_path / "small/config.json").read_text())
    assert (config["hidden_size"], config["embedding_size"], config["num_attention_heads"]) == (24, 24, 3)
    removed = report["removed"]["width"]["parts"][0]["removed"]
    assert len(removed) == 8
    assert min(removed) >= 6 + 3 * 5  # the channels that bases and species come in by


def test_rows_keep_what_stands_beside_them_and_hide_a_base(tmp_path: Path) -> None:
    model = read(FAMILIES["GPN-MSA"](tmp_path / "msa"))
    file = alignment(tmp_path / "rows.npz")
    rows = read_arrays(model, file, use_labels=False, most=64, seed=3)
    with np.load(file) as arrays:
        for row in (*rows.calibration, *rows.watched, *rows.held):
            at = int((arrays["aux_features"] == row.more["aux_features"]).all(axis=(1, 2)).argmax())
            known = row.ids != 5
            assert (row.ids[known] == arrays["input_ids"][at][known]).all()
            assert (~known).sum() == 3
    bases, aligned = inputs_of(model, rows.calibration[:2])
    assert (tuple(bases.shape), tuple(aligned.shape)) == ((2, 20), (2, 20, 3))


def test_rows_with_a_hidden_base_stay_as_they_are(tmp_path: Path) -> None:
    model = read(FAMILIES["GPN-MSA"](tmp_path / "msa"))

    def middle(arrays: Arrays) -> Arrays:
        arrays["input_ids"][:, 10] = 5
        return arrays

    rows = read_arrays(model, alignment(tmp_path / "rows.npz", middle), use_labels=False, most=64, seed=3)
    assert all(np.flatnonzero(row.ids == 5).tolist() == [10] for row in rows.calibration)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"aux_features": None}, r"has no array aux_features \(batch × length × 3\); it has input_ids"),
        ({"aux_features": np.zeros((24, 19, 3), int)}, r"aux_features has shape \(24, 19, 3\); .* length 20"),
        (
            {"aux_features": np.full((24, 20, 3), 5)},
            r"aux_features holds something else than whole numbers from 0 to 4",
        ),
        ({"input_ids": np.zeros((24, 20))}, r"input_ids holds something else than whole numbers from 0 to 5"),
        ({"input_ids": np.ones((24, 40), int), "aux_features": np.ones((24, 40, 3), int)}, r"40 tokens; .* takes 32"),
        ({"input_ids": np.ones((9, 20), int), "aux_features": np.ones((9, 20, 3), int)}, r"6 windows to calibrate"),
    ],
    ids=["missing", "shape", "values", "type", "length", "few"],
)
def test_arrays_that_do_not_fit_are_named(tmp_path: Path, change: Arrays, message: str) -> None:
    model = read(FAMILIES["GPN-MSA"](tmp_path / "msa"))

    def changed(arrays: Arrays) -> Arrays:
        return {name: value for name, value in {**arrays, **change}.items() if value is not None}

    with pytest.raises(UsageError, match=message):
        read_arrays(model, alignment(tmp_path / "rows.npz", changed), use_labels=False, most=64, seed=1)


def test_channels_that_bases_come_in_by_cannot_leave(tmp_path: Path) -> None:
    folder = FAMILIES["GPN-MSA"](tmp_path / "msa")
    options = ("--width", 0.5, "--no-speed", "-o", tmp_path / "small")
    result = prune(folder, "--calibrate", alignment(tmp_path / "rows.npz"), *options)
    assert result.exit_code == 1
    assert "--width: 16 of 32 units of all layers cannot leave: 21 have to stay; ask for another" in result.output
    assert not (tmp_path / "small").exists()


def test_rows_say_nothing_of_words(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", input_ids=np.random.default_rng(0).integers(5, 60, (24, 20)))
    folder = FAMILIES["DNABERT"](tmp_path / "bert")
    options = ("--vocabulary", "unused", "--no-speed", "-o", tmp_path / "small")
    result = prune(folder, "--calibrate", tmp_path / "rows.npz", *options)
    assert result.exit_code == 1
    assert "holds rows, and no sequences that use words" in result.output


def test_what_is_no_file_of_arrays_is_refused(tmp_path: Path) -> None:
    folder = FAMILIES["GPN-MSA"](tmp_path / "msa")
    (tmp_path / "rows.npz").write_bytes(b"PK\x03\x04")
    result = prune(folder, "--calibrate", tmp_path / "rows.npz", "--ffn", 0.5, "--no-speed", "-o", tmp_path / "small")
    assert result.exit_code == 1
    assert "rows.npz: no arrays of numpy" in result.output
    assert not (tmp_path / "small").exists()
