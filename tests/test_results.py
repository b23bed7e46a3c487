"""What was stored, as files: the columns of ``edgeseq score``, to the byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sequencer import Job, names, records, run_folder

from edgeseq import open_reads

if TYPE_CHECKING:
    from conftest import RunEdgeseq

READS = records(90)


@pytest.fixture
def watched(tmp_path: Path, bundle_path: Path, run_edgeseq: RunEdgeseq) -> Path:
    """The output folder of a run with three barcodes that has ended."""
    for job in run_folder(tmp_path / "run", READS):
        job.path.parent.mkdir(parents=True, exist_ok=True)
        job.path.write_bytes(job.data)
    out = tmp_path / "out"
    ended = run_edgeseq("watch", tmp_path / "run", "--out", out, "-m", bundle_path, "--until-idle", "0.5")
    assert ended.code == 0, ended.err
    return out


def test_rows_are_those_of_score(watched: Path, tmp_path: Path, bundle_path: Path, run_edgeseq: RunEdgeseq) -> None:
    given = run_edgeseq("results", watched)
    run_edgeseq("score", tmp_path / "run", "-m", bundle_path, "-o", tmp_path / "clean.tsv")
    clean = (tmp_path / "clean.tsv").read_text().splitlines()
    assert given.out.splitlines()[0] == clean[0]
    assert sorted(given.out.splitlines()) == sorted(clean)


def test_objects_have_all_columns(watched: Path, tmp_path: Path, run_edgeseq: RunEdgeseq) -> None:
    ended = run_edgeseq("results", watched, "-o", tmp_path / "calls.jsonl")
    assert "90 rows" in ended.err
    rows = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert sorted(row["read_id"] for row in rows) == sorted(names(READS))
    assert {row["policy"] for row in rows} == {"all"}
    assert {len(row["bundle"]) for row in rows} == {64}
    assert all(row["run"] == "0123456789abcdef0123456789abcdef01234567" for row in rows)
    assert isinstance(rows[0]["segments"], list)


def test_parquet_holds_the_same(watched: Path, tmp_path: Path, run_edgeseq: RunEdgeseq) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    run_edgeseq("results", watched, "-o", tmp_path / "calls.parquet")
    table = parquet.read_table(tmp_path / "calls.parquet")
    assert sorted(table["read_id"].to_pylist()) == sorted(names(READS))
    assert table.schema.field("score").type == "double"
    assert not (tmp_path / "calls.parquet.partial").exists()


def test_a_choice_of_barcodes_and_classes(watched: Path, run_edgeseq: RunEdgeseq) -> None:
    all_rows = [line.split("\t") for line in run_edgeseq("results", watched).out.splitlines()[1:]]
    label = all_rows[0][3]
    chosen = run_edgeseq("results", watched, "--barcode", "barcode02", "--class", label).out.splitlines()[1:]
    assert chosen == ["\t".join(row) for row in all_rows if row[10] == "barcode02" and row[3] == label]
    extra = run_edgeseq("results", watched, "--extra").out.splitlines()
    assert extra[0].split("\t")[-5:] == ["run", "part", "policy", "bundle", "scored"]


def test_names_that_are_no_text_are_kept_as_escapes(tmp_path: Path, bundle_path: Path, run_edgeseq: RunEdgeseq) -> None:
    job = Job(tmp_path / "run" / "a.fastq", b"@read\xff\nACGTACGTACGTACGT\n+\nIIIIIIIIIIIIIIII\n")
    job.path.parent.mkdir()
    job.path.write_bytes(job.data)
    run_edgeseq("watch", tmp_path / "run", "--out", tmp_path / "out", "-m", bundle_path, "--until-idle", "0.5")
    (row,) = run_edgeseq("results", tmp_path / "out").out.splitlines()[1:]
    assert row.startswith("read\\xff\t")


def test_a_folder_without_a_journal_is_named(tmp_path: Path, run_edgeseq: RunEdgeseq) -> None:
    ended = run_edgeseq("results", tmp_path)
    assert ended.code == 1
    assert "there is no journal; name the output folder of edgeseq watch" in ended.err


def test_the_reads_of_each_class_in_a_file(watched: Path, tmp_path: Path, run_edgeseq: RunEdgeseq) -> None:
    called = {row[0]: row[3] for row in (line.split("\t") for line in run_edgeseq("results", watched).out.splitlines())}
    ended = run_edgeseq("results", watched, "--split", tmp_path / "split")
    assert (ended.code, "90 reads in" in ended.err) == (0, True), ended.err
    found = {
        read.id: (path.name.split(".")[0], read.sequence)
        for path in (tmp_path / "split").glob("*.fastq.gz")
        for read in open_reads(path)
    }
    assert {name: label for name, (label, _) in found.items()} == {name: called[name] for name in names(READS)}
    sequences = {name: read.split(b"\n")[1] for name, read in zip(names(READS), READS, strict=True)}
    assert {name: sequence for name, (_, sequence) in found.items()} == sequences


def test_files_that_are_gone_are_named(watched: Path, tmp_path: Path, run_edgeseq: RunEdgeseq) -> None:
    gone = next((tmp_path / "run").rglob("*barcode01*.gz"))
    gone.unlink()
    ended = run_edgeseq("results", watched, "--split", tmp_path / "split")
    assert ended.code == 1
    assert f"{gone}" in ended.err
    assert "75 reads in" in ended.err
