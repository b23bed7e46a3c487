"""Embeddings, language models and labels that do not exclude each other: budgets against the float model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_outputs import KMERS, tiny_output

from edgeseq.bundle import read_bundle
from edgeseq.errors import UsageError
from edgeseq.manifest import Task
from edgeseq.read import Read
from edgeseq.tokenizers import load_tokenizer
from quantize.__main__ import main
from quantize.budget import Budget, parse_budgets
from quantize.judge import calls, scorer_of
from quantize.likelihoods import LikelihoodTrial, mask_id, masked_likelihoods, own_log_probabilities
from quantize.pairs import Calls, Pairs, mean_auroc
from quantize.sample import Sample, SampleError, labelled, unlabelled
from quantize.vectors import VectorTrial, cosines
from quantize.verdict import judge

SIZE = 68
"""Ids of overlapping 3-mers, special tokens included."""


def fasta(path: Path, count: int, *, seed: int, files: int = 1) -> Path:
    rng = np.random.default_rng(seed)
    lines = []
    for number in range(count):
        bases = rng.choice(list("ACGT"), int(rng.integers(40, 65)), p=rng.dirichlet([3, 3, 3, 3]))
        lines.append(f">{path.stem}{number}\n{''.join(bases)}\n")
    path.write_text("".join(lines))
    return path


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run(bundle, …)` compresses a bundle of tables: exit code, output, messages. No graph counts as slower."""
    monkeypatch.setattr("quantize.compress.slower_from", lambda _: float("inf"))
    held, seen = fasta(tmp_path / "held.fasta", 600, seed=1), fasta(tmp_path / "seen.fasta", 60, seed=2)

    def call(bundle: Path, *more: object) -> tuple[int, str, str]:
        options = ["--device", "raspberry-pi-5", "--calibrate", seen]
        options += [] if "--evaluate" in more else ["--evaluate", held]
        arguments = [bundle, *options, "-o", tmp_path / "small.edgeseq", *more]
        capsys.readouterr()
        code = main([str(argument) for argument in arguments], standalone_mode=False) or 0
        out, err = capsys.readouterr()
        return code, out, err

    return call


def table(width: int, *, seed: int = 3) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(SIZE, width)).astype(np.float32)


def test_an_embedding_keeps_its_directions(run: Run, tmp_path: Path) -> None:
    bundle = tiny_output(tmp_path / "e.edgeseq", table(64), kind="embedding", tokenizer=KMERS)
    code, out, _ = run(bundle, "--budget", "cosine=0.01", "--scheme", "stored8")
    assert code == 0, out
    assert "WITHIN: cosine 1.0000 → 1.0000" in out
    evidence = read_bundle(tmp_path / "small.edgeseq").report["compression"]
    (verdict,) = evidence["verdicts"]
    assert 0 < verdict["drop"] < 1e-3
    assert verdict["upper"] == pytest.approx(3 / 600, rel=0.3)  # one read more could have turned away altogether
    assert list(evidence["cosines"]) == [f"{share} of reads are below" for share in ("0%", "1%", "5%", "50%")]


def test_too_few_reads_decide_nothing_about_directions(run: Run, tmp_path: Path) -> None:
    bundle = tiny_output(tmp_path / "e.edgeseq", table(64), kind="embedding", tokenizer=KMERS)
    few = fasta(tmp_path / "few.fasta", 30, seed=4)
    code, out, _ = run(bundle, "--budget", "cosine=0.01", "--scheme", "stored8", "--evaluate", few)
    assert code == 1
    assert out.startswith("UNDECIDABLE")
    assert "reads would decide" in out


def test_directions_that_turned_are_over() -> None:
    rng = np.random.default_rng(5)
    before = rng.normal(size=(300, 8)).astype(np.float32)
    turned = (before + rng.normal(0, 0.5, before.shape)).astype(np.float32)
    reads = tuple(Read(str(number), b"ACGT", source="f") for number in range(300))
    trial = VectorTrial(Sample("held", reads, np.array([""] * 300), np.array(["f"] * 300), "0" * 64))
    nothing = np.array([""] * 300)
    (verdict,) = trial.verdicts(
        Calls(nothing, before), Calls(nothing, turned), [Budget("cosine", 0.01)], confidence=0.95, seed=1
    )
    assert verdict.outcome == "OVER"
    assert verdict.candidate == pytest.approx(1 / np.sqrt(1.25), abs=0.02)


def test_cosines() -> None:
    a = np.array([[1, 0], [1, 1], [0, 0], [0, 0], [np.nan, np.nan]], np.float32)
    b = np.array([[2, 0], [1, -1], [0, 0], [1, 0], [np.nan, np.nan]], np.float32)
    np.testing.assert_allclose(cosines(a, b), [1, 0, 1, 0, np.nan], atol=1e-7)


@pytest.mark.parametrize("kind", ["causal-lm", "masked-lm"])
def test_a_language_model_keeps_ranks_and_likelihoods(run: Run, tmp_path: Path, kind: Any) -> None:
    bundle = tiny_output(tmp_path / "lm.edgeseq", table(SIZE), kind=kind, tokenizer=KMERS)
    code, out, _ = run(bundle, "--budget", "spearman=0.02", "--budget", "nats=0.02", "--scheme", "stored8")
    assert code == 0, out
    assert "WITHIN: spearman 1.0000 →" in out
    evidence = read_bundle(tmp_path / "small.edgeseq").report["compression"]
    assert evidence["likelihoods"]["of"] == "sequences"
    assert 0 < evidence["likelihoods"]["mean distance"] < 0.01
    assert evidence["likelihoods"]["spread of the float model"] > 0.1


def test_variants_are_judged_by_the_difference_that_they_make(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    rows = ["sequence,alternative"]
    for _ in range(400):
        bases = rng.choice(list("ACGT"), 50)
        other = bases.copy()
        other[25] = "ACGT"[("ACGT".index(other[25]) + 1) % 4]
        rows.append(f"{''.join(bases)},{''.join(other)}")
    path = tmp_path / "variants.csv"
    path.write_text("\n".join(rows) + "\n")
    bundle = tiny_output(tmp_path / "lm.edgeseq", table(SIZE), kind="causal-lm", tokenizer=KMERS)
    code, out, _ = run(bundle, "--budget", "spearman=0.05", "--scheme", "stored8", "--evaluate", path)
    assert code == 0, out
    found = read_bundle(tmp_path / "small.edgeseq").report["compression"]["likelihoods"]
    assert found["of"] == "variants"
    sample = unlabelled(path)
    scorer = scorer_of(read_bundle(bundle))
    ours = LikelihoodTrial(read_bundle(bundle), sample).listen(scorer)
    first = [scorer.score_one(read).decision.score for read in (sample.variants[0], sample.reads[0])]
    assert ours[0] == pytest.approx(first[0] - first[1], abs=1e-6)


def test_ranks_that_changed_are_over(tmp_path: Path) -> None:
    bundle = read_bundle(tiny_output(tmp_path / "lm.edgeseq", table(SIZE), kind="causal-lm", tokenizer=KMERS))
    trial = LikelihoodTrial(bundle, unlabelled(fasta(tmp_path / "held.fasta", 300, seed=7)))
    rng = np.random.default_rng(8)
    before = rng.normal(size=300)
    after = before + rng.normal(0, 0.5, 300)
    budgets = [Budget("spearman", 0.02), Budget("nats", 0.02)]
    assert [each.outcome for each in trial.verdicts(before, after, budgets, confidence=0.95, seed=1)] == ["OVER"] * 2
    same = trial.verdicts(before, before, budgets, confidence=0.95, seed=1)
    assert [each.outcome for each in same] == ["WITHIN"] * 2
    assert same[1].upper == pytest.approx(3 * np.log(4) / 300, rel=0.4)


def test_masked_tokens_are_told_from_what_stands_around_them(tmp_path: Path) -> None:
    """A table knows nothing of its neighbours: at a mask it gives the mask's row, whatever the token was."""
    special = {**KMERS, "special": {"[MASK]": SIZE}}
    logits = np.random.default_rng(9).normal(size=(SIZE + 1, SIZE + 1)).astype(np.float32)
    bundle = read_bundle(tiny_output(tmp_path / "m.edgeseq", logits, kind="masked-lm", tokenizer=special))
    assert mask_id(load_tokenizer(special)) == SIZE
    assert mask_id(load_tokenizer(KMERS)) is None
    read = Read("r", b"ACGTACCTGAT")
    (found,) = masked_likelihoods(scorer_of(bundle), [read])
    ids = load_tokenizer(KMERS).encode(read.sequence)
    asked = [place for place in range(1, 10) if place % 7 == 0]  # the first row counts its tokens from 1
    row = logits[SIZE].astype(np.float64)
    logs = row - np.log(np.exp(row).sum())
    assert found == pytest.approx(np.mean([logs[ids[place]] for place in asked]), abs=1e-6)


def test_own_log_probabilities() -> None:
    logits = np.log(np.array([[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]]))
    np.testing.assert_allclose(own_log_probabilities(logits, np.array([[0, 2]])), np.log([[0.5, 0.8]]), atol=1e-6)


SEVERAL = Task(kind="sequence-classification", labels=("a", "b", "c"), activation="sigmoid")


def test_every_label_that_holds_is_part_of_the_call(tmp_path: Path) -> None:
    logits = np.full((SIZE, 3), -5, np.float32)
    bundle = tiny_output(
        tmp_path / "s.edgeseq",
        logits + np.array([8, 8, 0], np.float32),
        kind="sequence-classification",
        tokenizer=KMERS,
        pooled=True,
        labels=("a", "b", "c"),
        task={"activation": "sigmoid"},
    )
    reads = (Read("r", b"ACGT" * 16, source="f"),)
    sample = Sample("held", reads, np.array([""]), np.array(["f"]), "0" * 64)
    assert calls(scorer_of(read_bundle(bundle)), sample).label.tolist() == ["a;b"]


def several(truth: list[str], before: list[str], after: list[str]) -> Pairs:
    def said(names: list[str]) -> Calls:
        values = np.array([[0.9 if label in name.split(";") else 0.1 for label in "abc"] for name in names], np.float32)
        return Calls(np.array(names), values)

    source, lengths = np.array(["f"] * len(truth)), np.full(len(truth), 500)
    return Pairs(SEVERAL.labels, "", np.array(truth), source, lengths, said(before), said(after), multiple=True)


def test_a_label_that_is_lost_beside_another_is_a_flip_and_a_lost_class() -> None:
    truth = ["a;b"] * 300 + ["none"] * 300
    good = judge(several(truth, truth, truth), [Budget("flips", 0.02), Budget("auroc", 0.02)])
    assert [each.outcome for each in good] == ["WITHIN", "WITHIN"]
    pairs = several(truth, truth, ["a"] * 300 + ["none"] * 300)
    verdicts = judge(pairs, [Budget("flips", 0.02)])
    assert (verdicts[0].drop, verdicts[0].outcome) == (0.5, "OVER")
    assert [each.metric for each in verdicts[1:]] == ["class b"]
    assert mean_auroc(pairs, pairs.reference, np.arange(600)) == 1.0
    assert mean_auroc(pairs, pairs.candidate, np.arange(600)) == 0.75


def test_truths_of_several_labels(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("sequence,label\nACGT,b;a\nACGA,none\nACGC,2\n")
    assert labelled(path, SEVERAL).truth.tolist() == ["a;b", "none", "c"]
    path.write_text("sequence,label\nACGT,1\nACGA,0\n")
    one = Task(kind="sequence-classification", labels=("a",), activation="sigmoid")
    assert labelled(path, one).truth.tolist() == ["a", "none"]
    path.write_text("sequence,label\nACGT,a;d\n")
    with pytest.raises(SampleError, match=r"no label 'd'.*joined by ';'"):
        labelled(path, SEVERAL)


def test_what_takes_one_label_is_refused_by_name() -> None:
    assert parse_budgets(["auroc=0.1"], "sequence-classification", "sigmoid") == (Budget("auroc", 0.1),)
    with pytest.raises(UsageError, match=r"mcc=0.1: several labels .* its metrics: flips, auroc"):
        parse_budgets(["mcc=0.1"], "sequence-classification", "sigmoid")
    for texts, kind, problem in (
        (["spearman=0.1"], "embedding", "an embedding|a embedding model has no spearman; its metrics: cosine"),
        (["cosine=0.1"], "causal-lm", "its metrics: spearman, nats"),
        ([], "embedding", "as --budget cosine=0.01"),
    ):
        with pytest.raises(UsageError, match=problem):
            parse_budgets(texts, kind)  # type: ignore[arg-type]


def test_flips_need_no_labels(run: Run, tmp_path: Path) -> None:
    logits = table(3)
    bundle = tiny_output(
        tmp_path / "c.edgeseq",
        logits,
        kind="sequence-classification",
        tokenizer=KMERS,
        pooled=True,
        labels=("a", "b", "c"),
        context=20,
    )
    code, out, err = run(bundle, "--budget", "flips=0.05", "--scheme", "stored8")
    assert "600 reads of 1 files" in err
    assert "flips" in out
    code, _, err = run(bundle, "--budget", "mcc=0.05")
    assert (code, "there is no truth.tsv" in err) == (2, True)
