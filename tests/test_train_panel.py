"""The whole command on a made-up data folder: genomes in, a bundle out that loads, the same bytes each time.

Training takes a few steps and evidence a few reads: what is tested is that every part takes what the part before it
gives.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_genomes import Codes, family, genome, letters, random_codes, write_fasta

for tool in ("torch", "onnx", "mappy", "sklearn"):
    pytest.importorskip(tool, reason=f"training needs {tool} (extra `export`)")

from click.testing import CliRunner  # noqa: E402

from edgeseq import Read, load, read_bundle  # noqa: E402
from export import calibrate, controls, evidence, train_panel  # noqa: E402
from export.__main__ import main  # noqa: E402
from export.architectures import SeedNet  # noqa: E402
from export.dataset import Sampler  # noqa: E402
from export.genomes import Genome  # noqa: E402
from export.simulate import PAD, ErrorProfile, Sources, reads  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
]

LABELS = ("rubella", "zika", "measles")


def write_reads(data: Path, source: Genome) -> None:
    """Forty reads of one genome, with their truth; a read of unknown truth besides."""
    rng = np.random.default_rng(2)
    rows = reads(rng, Sources.of([source.codes]), np.zeros(40, int), np.full(40, 500), 1024, ErrorProfile())
    sequences = [letters(row[row != PAD]) for row in rows]
    (data / "reads" / "zika").mkdir(parents=True)
    with gzip.open(data / "reads" / "zika" / "zika.fastq.gz", "wt") as fastq:
        fastq.writelines(f"@read{n}\n{seq}\n+\n{'5' * len(seq)}\n" for n, seq in enumerate([*sequences, "ACGT" * 100]))
    with (data / "reads" / "truth.tsv").open("w", newline="") as table:
        writer = csv.writer(table, delimiter="\t")
        writer.writerow(["file", "read_id", "length", "truth", "identity"])
        truths = ["zika"] * 40 + ["unverified"]
        writer.writerows(["reads/zika/zika.fastq.gz", f"read{n}", 0, truth, 1] for n, truth in enumerate(truths))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of thirty genomes, two viruses too rare for a class, bacteria, and reads of one zika genome."""
    root = tmp_path_factory.mktemp("data")
    (root / "genomes").mkdir()
    (root / "labelled").mkdir()
    rng = np.random.default_rng(1)

    def save(name: str, genomes: list[Genome]) -> list[Genome]:
        write_fasta(root / "genomes" / f"{name}.fasta.gz", genomes)
        return genomes

    families = {name: save(name, family(rng, 30, 1500, 0.04, group=name)) for name in LABELS}
    for name in ("vzv", "mumps"):
        save(name, family(rng, 8, 1500, 0.04, group=name))
    contigs: list[Codes] = [random_codes(rng, 4000) for _ in range(12)]
    save("ecoli_K12", [genome(f"{'Truepera' if n < 2 else 'contig'}_{n}", codes) for n, codes in enumerate(contigs)])
    write_reads(root, families["zika"][0])
    return root


@pytest.fixture(autouse=True)
def little_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundredths of the reads and windows that calibration and evidence take."""
    whole_reads, whole_windows, whole_batches = calibrate.held_reads, calibrate.held_windows, controls._windows

    def few_reads(sampler: Sampler, rng: np.random.Generator, kind: str, count: int) -> Iterator[Read]:
        return whole_reads(sampler, rng, kind, count // 100)

    def few_windows(net: SeedNet, sampler: Sampler, rng: np.random.Generator, _: int) -> tuple[Any, Any]:
        return whole_windows(net, sampler, rng, 768)

    def one_batch(sampler: Sampler, seed: int, _: int) -> tuple[Any, Any]:
        return whole_batches(sampler, seed, 512)

    monkeypatch.setattr(train_panel, "held_reads", few_reads)
    monkeypatch.setattr(train_panel, "held_windows", few_windows)
    monkeypatch.setattr(train_panel, "held_evidence", partial(evidence.held_evidence, reads=90))
    monkeypatch.setattr(controls, "_windows", one_batch)


def command(data: Path, work: Path, *options: str) -> Path:
    output = work / "panel.edgeseq"
    arguments = ["train-panel", "--data", str(data), "--work", str(work), "-o", str(output), "--steps", "3", *options]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return output


def test_genomes_become_a_bundle_that_the_runtime_loads(data: Path, tmp_path: Path) -> None:
    path = command(data, tmp_path, "--reads", str(data / "reads"))
    bundle = read_bundle(path)
    assert bundle.manifest.task.labels[-1] == "other"
    assert set(bundle.manifest.task.labels) == {*LABELS, "other"}
    assert bundle.manifest.provenance["plan"]["steps"] == 3
    assert bundle.report["real"]["reads"]["summary"]["reads"] == 40
    assert bundle.report["held_out"]["summary"]["reads"] > 200
    assert set(bundle.report["controls"]) == {"panel", "k-mer counts", "random twin"}
    (dropped,) = bundle.report["data"]["dropped"]
    assert dropped == {
        "label": "zika",
        "before": 30,
        "after": 29,
        "at least 0.99 identical": 1,
        "dropped from identity": 0.99,
    }
    assert "rubella †" in bundle.card
    assert "zika †" not in bundle.card
    training = bundle.card.split("## Training data")[1]
    assert [line.split(" | ")[0] for line in training.splitlines() if line.startswith("| ")][: 1 + len(LABELS)] == [
        "| label",
        *(f"| {row['label']}" for row in bundle.report["data"]["classes"]),
    ]
    with load(path) as scorer:
        (prediction,) = scorer.score(iter([Read("r", letters(random_codes(np.random.default_rng(3), 700)).encode())]))
    assert prediction.scores.probabilities.shape == (4,)
    assert prediction.scores.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert not list(tmp_path.glob("*.draft"))


def test_the_same_genomes_and_seed_give_the_same_bytes(data: Path, tmp_path: Path) -> None:
    first, second, other = (tmp_path / name for name in ("first", "second", "other"))
    assert command(data, first).read_bytes() == command(data, second).read_bytes()
    assert command(data, other, "--seed", "2").read_bytes() != (first / "panel.edgeseq").read_bytes()


def test_what_a_run_has_trained_is_not_trained_again(data: Path, tmp_path: Path) -> None:
    before = command(data, tmp_path).read_bytes()
    state = (tmp_path / "training.pt").stat()
    assert command(data, tmp_path).read_bytes() == before
    assert (tmp_path / "training.pt").stat().st_mtime_ns == state.st_mtime_ns


def test_the_report_of_the_data_lies_in_the_work_folder(data: Path, tmp_path: Path) -> None:
    command(data, tmp_path)
    report = json.loads((tmp_path / "data.json").read_text())
    assert report["near_full_genomes"] == {**dict.fromkeys(LABELS, 30), "vzv": 8, "mumps": 8}
    assert report["refused"] == []
    assert {row["label"] for row in report["classes"]} == set(LABELS)
    assert {(row["train"], row["calibration"], row["held_out"]) for row in report["classes"]} == {(27, 1, 2)}


def test_lineages_are_listed_and_unknown_ones_refused(data: Path, tmp_path: Path) -> None:
    run = CliRunner()
    arguments = ["train-panel", "--data", str(data), "--work", str(tmp_path), "-o", str(tmp_path / "p.edgeseq")]
    listed = run.invoke(main, [*arguments, "--hold-out", "list"])
    assert "ebola-sudan\tebola-zaire" in listed.output
    with pytest.raises(ValueError, match="unknown lineages moon"):
        run.invoke(main, [*arguments, "--hold-out", "moon"], catch_exceptions=False)
    assert not (tmp_path / "p.edgeseq").exists()
