"""The whole path on the tiny bundle: a bundle that was proven, or nothing at all."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from labelled_reads import labelled_folder, unlabelled_file
from numpy.typing import NDArray
from tiny_bundle import _weights as tiny_weights
from tiny_bundle import tiny_bundle, tiny_graph

from edgeseq import load, read_bundle
from edgeseq.errors import BundleError
from quantize import schemes
from quantize.__main__ import main
from quantize.calibrate import entropy_range, measure_ranges, percentile_range, rows_of
from quantize.judge import scorer_of
from quantize.passes.settings import Settings
from quantize.passes.weights import stored8
from quantize.rewriting import Rewriter
from quantize.sample import unlabelled


def wide_graph() -> bytes:
    """The tiny network with 64 slightly different channels for its four: weights that are worth compressing."""
    weights = tiny_weights(("a", "b", "other"), "forward")
    rng = np.random.default_rng(9)
    kernel = np.repeat(weights["kernel"], 16, axis=0)
    dense = np.repeat(weights["dense"], 16, axis=0) / 16
    noise = rng.normal(0, 0.02, kernel.shape)
    return tiny_graph({**weights, "kernel": (kernel + noise).astype(np.float32), "dense": dense.astype(np.float32)})


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    """A bundle, calibration reads and labelled reads."""
    return {
        "bundle": tiny_bundle(tmp_path / "tiny.edgeseq", graph=wide_graph()),
        "seen": unlabelled_file(tmp_path / "seen.fasta", 60, seed=5),
        "held": labelled_folder(tmp_path / "held", 400, seed=6) / "reads",
        "output": tmp_path / "small.edgeseq",
    }


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """`run(…)` runs ``python -m quantize …``: exit code, output, messages."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments], standalone_mode=False) or 0
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture(autouse=True)
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs of a few kilobytes take microseconds: which is slower is chance. No graph counts as slower."""
    monkeypatch.setattr("quantize.compress.slower_from", lambda _: float("inf"))


def wish(paths: dict[str, Path], *more: object) -> Sequence[object]:
    return (
        paths["bundle"],
        "--device",
        "raspberry-pi-5",
        "--calibrate",
        paths["seen"],
        "--evaluate",
        paths["held"],
        "-o",
        paths["output"],
        *more,
    )


def test_a_proven_bundle_is_written_and_says_how(paths: dict[str, Path], run: Run) -> None:
    code, out, _ = run(*wish(paths, "--budget", "mcc=0.03", "--budget", "flips=0.03", "--scheme", "stored8"))
    assert code == 0, out
    assert "WITHIN: mcc" in out
    small, source = read_bundle(paths["output"]), read_bundle(paths["bundle"])
    assert len(small.graph) < len(source.graph)
    assert small.manifest.target == "raspberry-pi-5"
    assert small.manifest.graph.precision == "stored8 of 2, float32 elsewhere"
    compression = small.manifest.provenance["compression"]
    assert compression["source"]["sha256"] == source.sha256
    assert compression["budgets"] == {"mcc": 0.03, "flips": 0.03}
    assert set(compression["tools"]) >= {"onnx", "onnxruntime", "edgeseq", "python"}
    assert {len(compression[name]["sha256"]) for name in ("calibration", "evaluation")} == {64}
    assert [each["pass"] for each in small.manifest.provenance["passes"]] == ["stored8", "stored8"]
    assert small.report["compression"]["evaluation"]["reads"] == 1200
    assert small.report["reads"] == 0  # what the source said stays
    assert "## Compression" in small.card
    assert "calls changed" in small.card
    with load(paths["output"]) as scorer:  # its golden outputs are its own
        assert scorer.manifest.name == "tiny"


def test_goldens_of_rounded_arithmetic_are_as_strict_as_other_processors_allow(
    paths: dict[str, Path], run: Run
) -> None:
    """The tolerance covers a rounding that goes the other way, not a graph as wrong as the float one would be."""
    assert run(*wish(paths, "--budget", "mcc=0.03", "--scheme", "static8"))[0] == 0
    small, source = read_bundle(paths["output"]), read_bundle(paths["bundle"])
    assert any(each["pass"] == "static8" for each in small.manifest.provenance["passes"])
    tolerance = small.golden_cases().tolerance
    changed = max(
        float(np.abs(ours.outputs[name] - theirs.outputs[name]).max())
        for ours, theirs in zip(small.golden_cases().cases, source.golden_cases().cases, strict=True)
        for name in ours.outputs
    )
    assert source.golden_cases().tolerance <= tolerance < changed
    with load(paths["output"]):
        pass


def test_the_same_inputs_and_seed_give_the_same_bytes(paths: dict[str, Path], run: Run) -> None:
    found = []
    for name in ("first", "second"):
        paths["output"] = paths["output"].with_name(f"{name}.edgeseq")
        assert run(*wish(paths, "--budget", "mcc=0.03"))[0] == 0
        found.append(paths["output"].read_bytes())
    assert found[0] == found[1]


def test_fewer_looks_are_each_less_strict(paths: dict[str, Path], run: Run) -> None:
    found = []
    for looks in (1, 4):
        assert run(*wish(paths, "--budget", "mcc=0.03", "--looks", looks))[0] == 0
        settings = read_bundle(paths["output"]).manifest.provenance["compression"]["settings"]
        found.append((settings["confidence"], settings["looks"]))
    assert found[0] == (0.95, 1)
    assert found[1][0] > 0.95
    assert 1 < found[1][1] <= 4


def test_every_mixture_is_in_the_table_beside_the_bundle(paths: dict[str, Path], run: Run) -> None:
    assert run(*wish(paths, "--budget", "mcc=0.03"))[0] == 0
    with (paths["output"].parent / "small.pareto.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["mixture"] == "float"
    assert any(row["outcome"] == "WITHIN" and float(row["mcc"]) > 0.5 for row in rows)
    assert all(float(row["milliseconds"]) > 0 for row in rows)


def test_one_page_about_it(paths: dict[str, Path], run: Run, tmp_path: Path) -> None:
    assert run(*wish(paths, "--budget", "mcc=0.03"))[0] == 0
    page = tmp_path / "report.html"
    assert run("report", paths["output"], "-o", page)[0] == 0
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    for part in ("<svg", "Sensitivity", "Measured", "Calls by class", "raspberry-pi-5"):
        assert part in text
    assert "http" not in text
    code, _, err = run("report", paths["bundle"], "-o", page)
    assert code == 1
    assert "says nothing of compression" in err


def test_a_small_test_set_is_undecidable_and_writes_nothing(paths: dict[str, Path], run: Run, tmp_path: Path) -> None:
    paths["held"] = labelled_folder(tmp_path / "few", 20, seed=7) / "reads"
    code, out, _ = run(*wish(paths, "--budget", "mcc=0.001", "--scheme", "stored8"))
    assert code == 1
    assert out.startswith("UNDECIDABLE: nothing was written")
    assert "reads would decide" in out
    assert "What harms most" in out
    assert not paths["output"].exists()
    assert not list(tmp_path.glob("*.csv"))


def broken(rewriter: Rewriter, node: onnx.NodeProto, settings: Settings) -> None:
    """`stored8`, but the second label never wins."""
    stored8(rewriter, node, settings)
    for tensor in rewriter.graph.initializer:
        if tensor.name in ("bias", "logits_bias"):
            bias: NDArray[np.float32] = onnx.numpy_helper.to_array(tensor).copy()
            bias[1] = -50
            tensor.CopyFrom(onnx.numpy_helper.from_array(bias, tensor.name))


def test_a_pass_that_breaks_one_class_is_caught(
    paths: dict[str, Path], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = dict(schemes.SCHEMES)
    known["stored8"] = replace(known["stored8"], apply=broken)
    monkeypatch.setattr(schemes, "SCHEMES", known)
    paths["output"].write_text("what was here before")
    code, out, _ = run(*wish(paths, "--budget", "mcc=0.05", "--scheme", "stored8"))
    assert code == 1
    assert out.startswith("OVER: nothing was written")
    assert "OVER: class b" in out
    assert paths["output"].read_text() == "what was here before"
    ranked = out.split("What harms most", 1)[1].splitlines()
    assert {line.split()[0] for line in ranked[2:5]} == {"features", "logits", "onehot_blc"}


def test_calibration_that_the_evaluation_has_too_is_refused(paths: dict[str, Path], run: Run) -> None:
    part = paths["held"] / "part0.fasta"
    leaking = paths["seen"].with_name("leaking.fasta")
    leaking.write_text(paths["seen"].read_text() + "".join(part.read_text().splitlines(keepends=True)[:20]))
    paths["seen"] = leaking
    code, _, err = run(*wish(paths, "--budget", "mcc=0.05"))
    assert code == 1
    assert "10 reads are in the evaluation data as well" in err
    assert not paths["output"].exists()
    code, _, err = run(*wish(paths, "--budget", "mcc=0.05", "--drop-leaks"))
    assert code == 0
    assert "left 10 of 190 calibration reads out" in err


def test_formats_in_which_company_changes_a_result_are_tried_only_when_named(paths: dict[str, Path], run: Run) -> None:
    _, _, err = run(*wish(paths, "--budget", "mcc=0.03"))
    assert "static8" in err
    assert "dynamic8" not in err
    _, _, err = run(*wish(paths, "--budget", "mcc=0.03", "--scheme", "dynamic8"))
    assert "logits in dynamic8" in err
    assert "dynamic8: what a read is scored with changes its result" in err


def test_forced_operators_and_their_error(paths: dict[str, Path], run: Run) -> None:
    code, _, err = run(*wish(paths, "--budget", "mcc=0.05", "--force", "nothing"))
    assert code == 2
    assert "no operator is called nothing; there are onehot_blc, features, logits" in err


def test_what_cannot_be_asked_for(paths: dict[str, Path], run: Run) -> None:
    for more, problem in (
        ((), "a budget is needed"),
        (("--budget", "mcc=0.05", "--scheme", "int3"), "no format is called int3"),
        (("--budget", "mcc=0.05", "--rename", "x"), "TRUTH=LABEL"),
    ):
        code, _, err = run(*wish(paths, *more))
        assert (code, problem in err) == (2, True), err
    paths["output"] = paths["bundle"]
    code, _, err = run(*wish(paths, "--budget", "mcc=0.05"))
    assert code == 2
    assert "this is the bundle itself" in err


def test_what_is_slower_than_float_is_not_written(
    paths: dict[str, Path], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantize.compress.slower_from", lambda _: 0.0)
    code, out, err = run(*wish(paths, "--budget", "mcc=0.05", "--scheme", "stored8"))
    assert code == 1
    assert "no mixture is smaller than the float graph and as fast" in out
    assert "the time of float, not written" in err
    assert not paths["output"].exists()


def test_instructions_decide_where_they_are_counted(
    paths: dict[str, Path], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def counted(bundle: object, graphs: dict[str, bytes], core: str) -> dict[str, float]:
        assert core == "cortex-a76"
        return {name: 9e6 if "stored8 ×2" in name else 1e6 for name in graphs}

    monkeypatch.setattr("quantize.compress.count_instructions", counted)
    code, out, err = run(*wish(paths, "--budget", "mcc=0.05", "--scheme", "stored8", "--count"))
    assert "stored8 ×2: 9.000 million instructions a kilobase on cortex-a76" in err
    assert code == 0, out
    assert read_bundle(paths["output"]).manifest.graph.precision == "stored8 of 1, float32 elsewhere"


def test_an_unwritable_place_is_one_sentence(paths: dict[str, Path], run: Run) -> None:
    paths["output"] = paths["output"].parent / "absent" / "small.edgeseq"
    code, _, err = run(*wish(paths, "--budget", "mcc=0.05", "--scheme", "stored8"))
    assert code == 1
    assert "cannot be written" in err


def test_rows_cover_every_bucket_and_both_strands(paths: dict[str, Path]) -> None:
    bundle = read_bundle(paths["bundle"])
    rows = rows_of(bundle, scorer_of(bundle), unlabelled(paths["seen"]), rows=8)
    assert [batch.shape for batch in rows.batches] == [(8, 16), (8, 32), (8, 64)]


@pytest.mark.parametrize("method", ["min-max", "percentile", "entropy"])
def test_ranges_hold_what_occurs(paths: dict[str, Path], method: str) -> None:
    bundle = read_bundle(paths["bundle"])
    rows = rows_of(bundle, scorer_of(bundle), unlabelled(paths["seen"]), rows=8)
    found = measure_ranges(bundle, ["onehot", "pooled"], rows, method)  # type: ignore[arg-type]
    assert found["onehot"][0] == pytest.approx(0, abs=1e-3)
    assert 0.5 < found["onehot"][1] <= 1.001
    assert found["pooled"][0] <= 0.2 < found["pooled"][1] <= 1.2


def test_clipping_leaves_outliers_out() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 1, 1_000_000), [60.0]])
    counts, edges = np.histogram(values, 2048, (-60, 60))
    for clip in (percentile_range, entropy_range):
        low, high = clip(counts.astype(np.float64), edges)
        assert -12 < low < -2.5
        assert 2.5 < high < 12


def test_a_damaged_source_is_refused(paths: dict[str, Path], run: Run) -> None:
    data = bytearray(paths["bundle"].read_bytes())
    data[len(data) // 2] ^= 1
    paths["bundle"].write_bytes(data)
    code, _, err = run(*wish(paths, "--budget", "mcc=0.05"))
    assert code == 1
    assert "tiny.edgeseq" in err
    with pytest.raises(BundleError):
        read_bundle(paths["bundle"])
