"""Budgets for models of single bases: the float model is the reference, and top positions are what has to be kept."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tiny_outputs import SINGLE

from edgeseq.bundle import read_bundle, write_bundle
from edgeseq.errors import UsageError
from edgeseq.manifest import Graph, Input, Manifest, Task, Tensor
from edgeseq.read import Read
from quantize import schemes
from quantize.__main__ import main
from quantize.budget import Budget, parse_budgets
from quantize.calibrate import rows_of
from quantize.gauge import top_lost
from quantize.graph import operators
from quantize.judge import scorer_of
from quantize.passes.settings import Settings
from quantize.passes.weights import stored8
from quantize.positions import PositionTrial, topk_verdict
from quantize.rewriting import Rewriter
from quantize.sample import Sample, SampleError, unlabelled
from quantize.sites import Sites, read_sites
from quantize.verdict import Verdict, together

LABELS = ("neither", "acceptor", "donor")
TASK = Task(kind="token-classification", labels=LABELS)
MOTIFS = {"acceptor": "CAGG", "donor": "GGTA"}
CHANNELS, WIDTH = 48, 9


def site_graph() -> bytes:
    """A convolution that finds two words of four bases, a little noise from 46 other channels, and a pointwise one that
    makes logits of it: at a word 1, at three of its bases −3."""
    rng = np.random.default_rng(3)
    kernel = rng.normal(0, 0.3, (CHANNELS, 4, WIDTH)).astype(np.float32)
    for channel, word in enumerate(MOTIFS.values()):
        kernel[channel] = 0
        for place, base in enumerate(word):
            kernel[channel, "ACGT".index(base), place + WIDTH // 2] = 4
    head = rng.normal(0, 0.02, (3, CHANNELS, 1)).astype(np.float32)
    head[:, :2, 0] = np.array([[0, 0], [1, 0], [0, 1]], np.float32)
    constants: dict[str, NDArray[Any]] = {
        "table": np.eye(4, 4, dtype=np.float32)[[0, 1, 2, 3, 0, 0]] * np.array([1, 1, 1, 1, 0, 0], np.float32)[:, None],
        "kernel": kernel,
        "head": head,
        "bias": np.array([0, -15, -15], np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("Transpose", ["tokens"], ["channels"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["channels", "kernel"], ["found"], pads=[WIDTH // 2] * 2),
        helper.make_node("Relu", ["found"], ["active"]),
        helper.make_node("Conv", ["active", "head", "bias"], ["scores"]),
        helper.make_node("Transpose", ["scores"], ["logits"], perm=[0, 2, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "sites",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "length", 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="tests")
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def site_bundle(path: Path, *, reach: int = 0) -> Path:
    """``path``, a bundle of `site_graph` with overlapping windows of 400 bases."""
    from edgeseq.session import Session

    graph = site_graph()
    ids = np.arange(24, dtype=np.int64)[None, :] % 5
    write_bundle(
        path,
        manifest=Manifest(
            name="sites",
            version="1",
            licence="Apache-2.0",
            task=TASK,
            input=Input(window=400, stride=300, minimum=400, buckets=(64, 400)),
            graph=Graph(
                opset=17,
                precision="float32",
                inputs=(Tensor("input_ids", "int64", ("batch", "length")),),
                outputs=(Tensor("logits", "float32", ("batch", "length", 3)),),
                reach=reach,
            ),
        ),
        graph=graph,
        tokenizer=dict(SINGLE),
        golden={
            "input_ids.0": ids,
            "logits.0": Session(graph).run({"input_ids": ids})["logits"],
            "tolerance": np.array(1e-4),
        },
        report={},
        card="# sites\n\nFor tests only.\n",
    )
    return path


def fasta(path: Path, count: int, *, seed: int, length: int = 2000) -> Path:
    rng = np.random.default_rng(seed)
    letters = np.frombuffer(b"ACGT", np.uint8)
    records = [letters[rng.integers(0, 4, length)].tobytes().decode() for _ in range(count)]
    path.write_text("".join(f">{path.stem}{number}\n{each}\n" for number, each in enumerate(records)))
    return path


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run(…)` compresses the bundle of sites: exit code, output, messages. No clock: no graph counts as slower."""
    monkeypatch.setattr("quantize.compress.slower_from", lambda _: float("inf"))
    bundle = site_bundle(tmp_path / "sites.edgeseq")
    held, seen = fasta(tmp_path / "held.fasta", 100, seed=1), fasta(tmp_path / "seen.fasta", 20, seed=2)

    def call(*more: object) -> tuple[int, str, str]:
        options = ["--device", "raspberry-pi-5", "--calibrate", seen, "--evaluate", held]
        arguments = [bundle, *options, "-o", tmp_path / "small.edgeseq", *more]
        capsys.readouterr()
        code = main([str(argument) for argument in arguments], standalone_mode=False) or 0
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_top_positions_are_kept_without_any_labels(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("--budget", "topk=0.02", "--budget", "flips=0.05", "--scheme", "stored8")
    assert code == 0, out
    assert "WITHIN: topk acceptor 1.0000 →" in out
    assert "WITHIN: topk donor 1.0000 →" in out
    small = read_bundle(tmp_path / "small.edgeseq")
    assert len(small.graph) < len(read_bundle(tmp_path / "sites.edgeseq").graph)
    evidence = small.report["compression"]
    assert evidence["topk"] == {"background": "neither", "k": "positions scored 0.5 or more"}
    verdicts = {each["metric"]: each for each in evidence["verdicts"]}
    assert list(verdicts) == ["topk acceptor", "topk donor", "flips"]
    assert [verdicts[name]["unit"] for name in verdicts] == ["sites", "sites", "positions"]
    # a word of four bases is at one of 256 positions; of 200,000 that is 780
    assert 600 < verdicts["topk donor"]["reads"] < 1000
    assert [row["class"] for row in evidence["classes"]] == ["acceptor", "donor"]
    assert "neither is background" in small.card
    with (tmp_path / "small.pareto.csv").open(newline="") as file:
        written = next(row for row in csv.DictReader(file) if row["outcome"] == "WITHIN")
    assert written["figures"].startswith("topk acceptor 0.00")


def breaks(monkeypatch: pytest.MonkeyPatch, tensor: str, how: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    """From now on `stored8` changes a tensor of the graph as well."""

    def broken(rewriter: Rewriter, node: onnx.NodeProto, settings: Settings) -> None:
        stored8(rewriter, node, settings)
        for each in rewriter.graph.initializer:
            if each.name == tensor:
                changed = how(numpy_helper.to_array(each).copy())
                each.CopyFrom(numpy_helper.from_array(changed.astype(np.float32), tensor))

    known = dict(schemes.SCHEMES)
    known["stored8"] = replace(known["stored8"], apply=broken)
    monkeypatch.setattr(schemes, "SCHEMES", known)


def test_a_pass_that_ruins_one_class_is_caught(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The donor gets the weights of nothing at all. Most positions are no donors, and all other calls stay."""

    def without_donor(head: NDArray[Any]) -> NDArray[Any]:
        head[2] = head[0]
        return head

    breaks(monkeypatch, "head", without_donor)
    code, out, _ = run("--budget", "topk=0.02", "--scheme", "stored8")
    assert code == 1
    assert out.startswith("OVER: nothing was written")
    assert "OVER: topk donor" in out
    assert "WITHIN: topk acceptor" in out
    assert not (tmp_path / "small.edgeseq").exists()
    ranked = out.split("What harms most", 1)[1].splitlines()
    assert "found" in {line.split()[0] for line in ranked[2:4]}


def test_a_class_whose_scores_all_sink_is_caught_although_its_order_stays(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch, "bias", lambda _: np.array([0, -15, -25]))
    code, out, _ = run("--budget", "topk=0.05", "--scheme", "stored8")
    assert code == 1
    assert "OVER: class donor" in out
    assert "OVER: topk donor" not in out


def test_what_gives_the_scores_stays_float() -> None:
    """In 8 bits its results would have 256 values, and most of the top would tie."""
    found = {each.name: each.protected for each in operators(onnx.load_from_string(site_graph()), TASK.kind)}
    assert found["found"] == ""
    assert "many would be equal" in found["scores"]


def test_too_few_sites_are_undecidable_and_the_number_that_would_do_is_said(run: Run, tmp_path: Path) -> None:
    fasta(tmp_path / "held.fasta", 6, seed=1)
    code, out, _ = run("--budget", "topk=0.01", "--scheme", "stored8")
    assert code == 1
    assert out.startswith("UNDECIDABLE: nothing was written")
    assert "sites would decide" in out


def test_true_sites_say_how_many_positions_are_the_top(run: Run, tmp_path: Path) -> None:
    lines = []
    for name, sequence in zip(*[iter((tmp_path / "held.fasta").read_text().splitlines())] * 2, strict=True):
        for label, word in MOTIFS.items():
            places = [at for at in range(len(sequence) - 3) if sequence[at : at + 4] == word]
            lines += [f"{name[1:]}\t{at}\t{at + 1}\t{label}" for at in places]
    bed = tmp_path / "sites.bed"
    bed.write_text("\n".join(lines) + "\n")
    code, out, _ = run("--budget", "topk=0.05", "--scheme", "stored8", "--truth", bed)
    assert code == 0, out
    rows = read_bundle(tmp_path / "small.edgeseq").report["compression"]["classes"]
    for row in rows:
        assert row["positions in the top"] == sum(line.endswith(row["class"]) for line in lines)
        assert row["true sites in the top before"] > 0.95 * row["positions in the top"]


def sample_of(*sequences: bytes) -> Sample:
    reads = tuple(Read(f"s{number}", each, source=f"f{number % 2}") for number, each in enumerate(sequences))
    sources = np.array([read.source for read in reads])
    return Sample("held", reads, np.array([""] * len(reads)), sources, "0" * 64)


def verdict_of(before: list[float], after: list[float], sites: list[int], limit: float = 0.5) -> Verdict:
    group = np.arange(len(before)) // 10
    ours, theirs = np.array(before, np.float32), np.array(after, np.float32)
    rng = np.random.default_rng(1)
    return topk_verdict("topk x", limit, ours, theirs, (group, group), np.array(sites), 0.95, rng)


def test_what_is_lost_of_the_top() -> None:
    before = [0.9, 0.8, 0.7, 0.1, 0.2] * 20
    after = list(before)
    after[0], after[3] = 0.05, 0.95  # one position sinks, another takes its place
    sites = [at for at, score in enumerate(before) if score > 0.5]
    verdict = verdict_of(before, after, sites)
    assert (verdict.reads, verdict.unit) == (60, "sites")
    assert verdict.drop == pytest.approx(1 / 60)
    assert verdict_of(before, before, sites).drop == 0
    assert verdict_of(before, before, sites).upper >= 3 / 60 * 0.95  # the rule of three


def test_the_top_is_as_long_as_there_are_true_sites() -> None:
    before = [float(score) for score in range(40)]
    after = list(before)
    after[39], after[38] = before[38], before[39]  # the same two are on top
    assert verdict_of(before, after, [0, 1]).drop == 0
    assert verdict_of(before, after, [7]).drop == 1  # but another one is first


def test_scores_that_became_equal_count_against_the_compressed_model() -> None:
    before = [0.9, 0.8, 0.3, 0.2]
    assert verdict_of(before, [0.5, 0.5, 0.5, 0.1], [0, 1]).drop == 0.5


def test_the_search_looks_at_the_top_at_many_lengths() -> None:
    """With eight sites, one lost is an eighth; over tops of 2 to 32 a swap of two neighbours counts for little."""
    before = np.linspace(1, 0, 100).astype(np.float32)
    after = before.copy()
    after[[7, 8]] = before[[8, 7]]
    assert top_lost(before, before, 8) == 0
    assert 0 < top_lost(before, after, 8) < 0.02
    assert top_lost(before, before[::-1].copy(), 8) == 1


def values(*rows: tuple[float, float, float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32)


def test_flips_are_counted_among_what_either_model_calls_a_site() -> None:
    trial = PositionTrial(sample_of(b"ACGTA"), TASK, None, "", 0.5)
    quiet, acceptor, donor = (0.9, 0.1, 0.0), (0.1, 0.9, 0.0), (0.1, 0.0, 0.9)
    before = values(quiet, acceptor, quiet, quiet, (np.nan,) * 3)
    after = values(quiet, donor, quiet, acceptor, (np.nan,) * 3)
    assert trial.background(before) == "neither"
    (verdict,) = trial.verdicts(before, after, [Budget("flips", 0.1)], confidence=0.95, seed=1)
    assert (verdict.drop, verdict.reads) == (1.0, 2)
    (verdict,) = trial.verdicts(before, before, [Budget("flips", 0.1)], confidence=0.95, seed=1)
    assert (verdict.drop, verdict.reads, verdict.outcome) == (0.0, 1, "UNDECIDABLE")


def test_labels_that_do_not_exclude_each_other() -> None:
    task = Task(kind="token-classification", labels=("methylated", "open"), activation="sigmoid")
    trial = PositionTrial(sample_of(b"ACG"), task, None, "", 0.5)
    before = np.array([[0.9, 0.8], [0.9, 0.1], [0.2, 0.2]], np.float32)
    after = np.array([[0.9, 0.3], [0.9, 0.1], [0.2, 0.2]], np.float32)
    verdicts = trial.verdicts(before, after, [Budget("flips", 0.1), Budget("topk", 0.1)], confidence=0.95, seed=1)
    assert [each.metric for each in verdicts] == ["flips", "topk methylated", "topk open"]
    assert [(each.drop, each.reads) for each in verdicts] == [(0.5, 2), (0.0, 2), (0.0, 1)]


def test_a_label_that_never_occurs_decides_nothing() -> None:
    trial = PositionTrial(sample_of(b"ACG"), TASK, None, "neither", 0.5)
    quiet = values(*[(0.98, 0.01, 0.01)] * 3)
    found = trial.verdicts(quiet, quiet, [Budget("topk", 0.1)], confidence=0.95, seed=1)
    assert together(found) == "UNDECIDABLE"
    assert "there are no sites of acceptor" in str(found[0])


def test_sites_come_from_bed(tmp_path: Path) -> None:
    path = tmp_path / "sites.bed"
    path.write_text("# true\ns1\t2\t4\tdonor\t0\t+\ns0\t0\t1\tacceptor\nelsewhere\t1\t2\tdonor\n")
    found = read_sites(path).positions(sample_of(b"ACGTA", b"ACGTA"), LABELS)
    assert [each.tolist() for each in found] == [[], [0], [7, 8]]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("s0\t1\t2", "line 1 has 3 columns"),
        ("s0\t2\t2\tdonor", "line 1: 2 to 2 is no interval"),
        ("s0\t-1\t2\tdonor", "line 1: -1 to 2 is no interval"),
        ("s0\t1\t9\tdonor", "line 1: s0 has 5 bases; the interval ends at 9"),
        ("s0\t1\t2\texon", "line 1: the model has no label 'exon'"),
        ("chr1\t1\t2\tdonor", "no site is on a sequence of held"),
    ],
)
def test_sites_that_do_not_fit_are_refused(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "sites.bed"
    path.write_text(line + "\n")
    with pytest.raises(SampleError, match=problem):
        read_sites(path).positions(sample_of(b"ACGTA"), LABELS)


def test_names_of_sequences_have_to_be_their_own() -> None:
    twice = sample_of(b"ACGT")
    twice = replace(twice, reads=(*twice.reads, *twice.reads))
    with pytest.raises(SampleError, match="two sequences are called s0"):
        Sites("x.bed", ((1, "s0", 0, 1, "donor"),)).positions(twice, LABELS)


@pytest.mark.parametrize(("reach", "counts"), [(0, {64: 48, 400: 48}), (9600, {64: 3, 400: 9})])
def test_rows_are_counted_by_their_positions(tmp_path: Path, reach: int, counts: dict[int, int]) -> None:
    """Of 120,000 positions, 90,000 are for full windows; rows of a net that looks far count with what they compute."""
    reads = unlabelled(fasta(tmp_path / "seen.fasta", 60, seed=2, length=1200))
    bundle = read_bundle(site_bundle(tmp_path / "sites.edgeseq", reach=reach))
    rows = rows_of(bundle, scorer_of(bundle), reads)
    found = {length: sum(len(batch) for batch in rows.batches if batch.shape[1] == length) for length in counts}
    assert found == counts
    assert max(len(batch) * (batch.shape[1] + reach) for batch in rows.batches) <= 65_536


def test_only_what_a_task_has_can_be_asked_for(run: Run) -> None:
    assert parse_budgets(["topk=0.01"], "token-classification") == (Budget("topk", 0.01),)
    for texts, problem in (
        (["mcc=0.1"], "a token-classification model has no mcc; its metrics: flips, topk"),
        ([], "as --budget flips=0.01"),
    ):
        with pytest.raises(UsageError, match=problem):
            parse_budgets(texts, "token-classification")
    code, _, err = run("--budget", "topk=0.1", "--background", "exon")
    assert (code, "the model's labels are neither, acceptor, donor" in err) == (2, True)
