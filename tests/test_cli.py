"""The command as its users meet it: exit codes, files, pipes, signals."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import RunEdgeseq

from edgeseq import __version__
from edgeseq.cli import COMMANDS
from edgeseq.errors import ReadError
from edgeseq.inputs import Inputs
from edgeseq.sinks.tsv import COLUMNS
from edgeseq.summary import wilson_interval

READS = [("r1", "A" * 100), ("r2", "C" * 100), ("r3", "ACGT" * 25), ("r4", "A" * 64 * 4 + "C" * 64 * 4)]
FASTQ = "".join(f"@{name} ch=4 barcode=barcode02\n{bases}\n+\n{'I' * len(bases)}\n" for name, bases in READS)
LABELS = ["a", "b", "other", "a"]


@pytest.fixture
def reads(tmp_path: Path) -> Path:
    path = tmp_path / "reads.fastq"
    path.write_text(FASTQ)
    return path


def rows(text: str) -> list[dict[str, str]]:
    header, *lines = text.splitlines()
    return [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "edgeseq", *map(str, arguments)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "tiny.edgeseq")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example(run_edgeseq: RunEdgeseq, name: str) -> None:
    done = run_edgeseq(name, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"  edgeseq {name}" in done.out
    assert "--debug" in done.out


def test_help_and_version(run_edgeseq: RunEdgeseq) -> None:
    assert all(f"\n  {name}" in run_edgeseq("--help").out for name in COMMANDS)
    assert run_edgeseq("--version").out == f"edgeseq {__version__}\n"


def test_rows_go_to_standard_output_and_the_table_to_standard_error(
    run_edgeseq: RunEdgeseq, bundle_path: Path, reads: Path
) -> None:
    done = run_edgeseq("score", reads, "-m", bundle_path)
    assert done.code == 0
    found = rows(done.out)
    assert list(found[0])[:5] == ["read_id", "source", "length", "label", "score"]
    assert [row["label"] for row in found] == LABELS
    assert {row["source"] for row in found} == {str(reads)}
    assert [row["barcode"] for row in found] == ["barcode02"] * 4
    assert found[3]["segments"].startswith("0-256:a:")
    table = [line.split() for line in done.err.splitlines()]
    assert table[0] == ["reads", "4"]
    assert table[1] == ["bases", "812"]
    assert table[2][:3] == ["a", "2", "50.00%"]
    assert "version 1, sha256" in done.err


def test_threads_early_stopping_and_formats(run_edgeseq: RunEdgeseq, bundle_path: Path, reads: Path) -> None:
    plain = run_edgeseq("score", reads, "-m", bundle_path, "--threads", 1).out
    assert run_edgeseq("score", reads, "-m", bundle_path, "--threads", 2).out == plain
    early = run_edgeseq("score", reads, "-m", bundle_path, "--early-stop", "--format", "jsonl").out
    assert [json.loads(line)["label"] for line in early.splitlines()] == LABELS
    windows = rows(run_edgeseq("score", reads, "-m", bundle_path, "--per-window").out)
    assert [row["end"] for row in windows if row["read_id"] == "r4"] == [str(64 * n) for n in range(1, 9)]
    short = rows(run_edgeseq("score", reads, "-m", bundle_path, "--min-length", 200).out)
    assert [row["reason"] for row in short] == ["short", "short", "short", "."]


def test_a_file_that_is_named_twice_is_scored_once(
    run_edgeseq: RunEdgeseq, bundle_path: Path, tmp_path: Path, reads: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for number in (10, 9):
        (folder / f"reads_{number}.fastq").write_text(f"@n{number}\nACGTACGTACGTACGTACGT\n+\n{'I' * 20}\n")
    (folder / "sequencing_summary.txt").write_text("read_id\tlength\n")
    (tmp_path / "link.fastq").symlink_to(reads)
    done = run_edgeseq(
        "score", folder, reads, *folder.glob("*.fastq"), tmp_path / "link.fastq", reads, "-m", bundle_path
    )
    assert done.code == 0
    assert [row["read_id"] for row in rows(done.out)] == ["n9", "n10", "r1", "r2", "r3", "r4"]


def test_what_lies_beside_reads_is_passed_over_with_a_note(
    run_edgeseq: RunEdgeseq, bundle_path: Path, tmp_path: Path, reads: Path
) -> None:
    truth = tmp_path / "truth.tsv"
    truth.write_text("file\tread_id\ttruth\n")
    done = run_edgeseq("score", tmp_path, truth, reads, "-m", bundle_path)
    assert done.code == 0
    assert [row["label"] for row in rows(done.out)] == LABELS
    assert f"edgeseq: passed over {truth}: it holds no reads" in done.err
    alone = run_edgeseq("score", truth, "-m", bundle_path)
    assert alone.code == 1
    assert f"edgeseq: skipped {truth}: not a read file: this is not FASTQ" in alone.err


def test_a_file_whose_name_promises_reads_must_hold_some(
    run_edgeseq: RunEdgeseq, bundle_path: Path, tmp_path: Path, reads: Path
) -> None:
    junk = tmp_path / "junk.fastq"
    junk.write_text("file\tread_id\ttruth\n")
    done = run_edgeseq("score", junk, reads, "-m", bundle_path)
    assert done.code == 1
    assert [row["label"] for row in rows(done.out)] == LABELS
    assert f"edgeseq: skipped {junk}: not a read file" in done.err


def test_damage_is_reported_and_everything_whole_is_scored(
    run_edgeseq: RunEdgeseq, bundle_path: Path, tmp_path: Path, reads: Path
) -> None:
    cut = tmp_path / "cut.fastq.gz"
    cut.write_bytes(gzip.compress(FASTQ.encode() + b"@r5\nACG"))
    done = run_edgeseq("score", cut, reads, "-m", bundle_path, "-o", tmp_path / "calls.tsv", "--split", tmp_path / "s")
    assert done.code == 1
    found = rows((tmp_path / "calls.tsv").read_text())
    assert [row["read_id"] for row in found] == ["r1", "r2", "r3", "r4"] * 2
    assert f"edgeseq: {cut}: record 5 at byte {len(FASTQ)}: " in done.err
    assert f"damaged files                1   {cut}" in done.err
    assert names(tmp_path / "s") == [".edgeseq-output", "a.fastq.gz", "b.fastq.gz", "other.fastq.gz"]


def test_a_missing_input_stops_everything_before_it_starts(
    run_edgeseq: RunEdgeseq, bundle_path: Path, tmp_path: Path, reads: Path
) -> None:
    done = run_edgeseq("score", reads, tmp_path / "absent.fastq", "-m", bundle_path, "-o", tmp_path / "calls.tsv")
    assert (done.code, done.out, done.err) == (2, "", f"edgeseq: {tmp_path}/absent.fastq: no such file or folder\n")
    assert names(tmp_path) == ["reads.fastq"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "reads.fastq"], "reads.fastq is an input as well"),
        (["-o", "."], ". is a folder; name a file in it"),
        (["-o", "absent/calls.tsv"], "No such file or directory"),
        (["-o", "calls.tsv.gz"], "| gzip > calls.tsv.gz"),
        (["-o", "calls.bam", "--per-window"], "neither --format nor --per-window"),
        (["-o", "calls.bam", "--format", "tsv"], "neither --format nor --per-window"),
        (["--split", "reads.fastq"], "cannot be used as a folder"),
        (["--threads", "0"], "--threads"),
        (["--format", "csv"], "--format"),
        (["-m", "absent.edgeseq"], "absent.edgeseq"),
    ],
)
def test_usage_errors(
    run_edgeseq: RunEdgeseq,
    bundle_path: Path,
    reads: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(reads.parent)
    model = [] if "-m" in options else ["-m", bundle_path]
    done = run_edgeseq("score", "reads.fastq", *model, *options)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert "Traceback" not in done.err
    assert names(reads.parent) == ["reads.fastq"]


def test_errors_are_one_line_unless_debugging(run_edgeseq: RunEdgeseq, tmp_path: Path, reads: Path) -> None:
    damaged = tmp_path / "damaged.edgeseq"
    damaged.write_bytes(b"PK")
    done = run_edgeseq("score", reads, "-m", damaged)
    assert done.code == 1
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith(f"edgeseq: {damaged}: ")
    shown = subprocess.run(
        command("score", reads, "-m", damaged, "--debug"), capture_output=True, text=True, check=False
    )
    assert shown.returncode == 1
    assert "Traceback" in shown.stderr


def test_tags_on_bam(run_edgeseq: RunEdgeseq, bundle_path: Path, tmp_path: Path, reads: Path) -> None:
    import pysam

    assert run_edgeseq("score", reads, "-m", bundle_path, "-o", tmp_path / "one.bam").code == 0
    assert run_edgeseq("score", tmp_path / "one.bam", "-m", bundle_path, "-o", tmp_path / "two.bam").code == 0
    with pysam.AlignmentFile(str(tmp_path / "two.bam"), check_sq=False) as file:
        assert [record.get_tag("el") for record in file.fetch(until_eof=True)] == LABELS
        assert len(file.header.to_dict()["PG"]) == 2


def test_reads_of_a_pipe_are_those_of_the_file(bundle_path: Path, reads: Path) -> None:
    from_file = subprocess.run(command("score", reads, "-m", bundle_path), capture_output=True, check=True).stdout
    for data in (FASTQ.encode(), gzip.compress(FASTQ[:300].encode()) + gzip.compress(FASTQ[300:].encode())):
        piped = subprocess.run(command("score", "-", "-m", bundle_path), input=data, capture_output=True, check=True)
        assert piped.stdout.replace(b"\t-\t", f"\t{reads}\t".encode()) == from_file


class Paused:
    """`edgeseq score -` with its input still open."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            command("score", "-", *arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def give(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def take(self, lines: int) -> list[str]:
        assert self.process.stdout is not None
        return [self.process.stdout.readline().decode() for _ in range(lines)]


@pytest.fixture
def paused(bundle_path: Path) -> Iterator[Paused]:
    run = Paused("-m", bundle_path)
    yield run
    run.process.kill()
    run.process.communicate()


def test_a_paused_pipe_delivers_what_came_whole(paused: Paused) -> None:
    paused.give(FASTQ + "@half\nACGTAC")
    assert [line.split("\t")[0] for line in paused.take(5)] == ["read_id", "r1", "r2", "r3", "r4"]
    paused.give("GTACGT\n+\nIIIIIIIIIIII\n")
    assert paused.process.communicate(timeout=20)[0].split(b"\t")[0] == b"half"
    assert paused.process.returncode == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_whole_rows(paused: Paused, number: signal.Signals, code: int) -> None:
    paused.give(FASTQ)
    paused.take(5)
    paused.process.send_signal(number)
    out, err = paused.process.communicate(timeout=20)
    assert (paused.process.returncode, out) == (code, b"")
    assert b"edgeseq: interrupted after 4 reads" in err
    assert b"Traceback" not in err
    assert b"Fatal" not in err


def test_an_interrupted_run_keeps_rows_under_a_partial_name(bundle_path: Path, tmp_path: Path) -> None:
    run = Paused("-m", bundle_path, "-o", tmp_path / "calls.tsv", "--split", tmp_path / "by_class")
    run.give(FASTQ)
    partial = tmp_path / "calls.tsv.partial"
    deadline = time.monotonic() + 20
    while not (partial.exists() and partial.read_text().count("\n") == 5) and time.monotonic() < deadline:
        time.sleep(0.02)
    run.process.send_signal(signal.SIGINT)
    _, err = run.process.communicate(timeout=20)
    assert run.process.returncode == 130
    assert f"whole rows so far are in {partial}" in err.decode()
    assert [row["label"] for row in rows(partial.read_text())] == LABELS
    assert not (tmp_path / "calls.tsv").exists()
    assert names(tmp_path / "by_class") == [".edgeseq-output"]


def test_a_killed_run_leaves_nothing_under_a_final_name(bundle_path: Path, tmp_path: Path) -> None:
    run = Paused("-m", bundle_path, "-o", tmp_path / "calls.tsv", "--split", tmp_path / "by_class")
    run.give(FASTQ)
    partial = tmp_path / "calls.tsv.partial"
    deadline = time.monotonic() + 20
    while not (partial.exists() and partial.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    run.process.kill()
    run.process.communicate(timeout=20)
    assert not (tmp_path / "calls.tsv").exists()
    assert list((tmp_path / "by_class").glob("*.gz")) == []


def test_a_reader_that_went_away_ends_the_run_quietly(bundle_path: Path, tmp_path: Path) -> None:
    many = tmp_path / "many.fastq"
    many.write_text(FASTQ * 5000)
    with subprocess.Popen(
        command("score", many, "-m", bundle_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"read_id")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == 0


def test_a_full_disk_is_an_error(bundle_path: Path, reads: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command("score", reads, "-m", bundle_path), stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(b"edgeseq: standard output: cannot be written: No space left")


def test_rows_can_be_appended(bundle_path: Path, reads: Path, tmp_path: Path) -> None:
    with (tmp_path / "all.tsv").open("ab") as file:
        for _ in range(2):
            subprocess.run(
                command("score", reads, "-m", bundle_path), stdout=file, stderr=subprocess.DEVNULL, check=True
            )
    assert (tmp_path / "all.tsv").read_text().count("read_id") == 2


def test_an_empty_folder_says_so(run_edgeseq: RunEdgeseq, bundle_path: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run_edgeseq("score", tmp_path / "empty", "-m", bundle_path)
    assert (done.code, len(done.out.splitlines())) == (0, 1)
    assert "edgeseq: no files of reads found" in done.err


def test_bytes_read_reach_the_size_of_all_files(tmp_path: Path, reads: Path) -> None:
    (tmp_path / "b.fastq.gz").write_bytes(gzip.compress(FASTQ.encode()))
    (tmp_path / "c.tsv").write_text("x\n" * 1000)
    problems: list[ReadError] = []
    inputs = Inputs([str(tmp_path)], problems.append)
    assert len(list(inputs.reads())) == 8
    assert inputs.bytes_read == inputs.size == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert (problems, inputs.live) == ([], False)


def test_bench_measures(run_edgeseq: RunEdgeseq, bundle_path: Path) -> None:
    done = run_edgeseq("bench", "-m", bundle_path, "--seconds", 0.3, "--threads", 1, "--json")
    found = json.loads(done.out)
    assert (done.code, found["threads"], found["macs_per_base"]) == (0, 1, 80.0)
    assert found["bases"] > found["reads"] > 100
    assert 0 < found["engine_share"] <= 1
    assert 0 < found["latency_p50_ms"] <= found["latency_p99_ms"]
    assert "p99" in run_edgeseq("bench", "-m", bundle_path, "--seconds", 0.1).out


def test_the_demo_calls_its_own_reads(run_edgeseq: RunEdgeseq) -> None:
    done = run_edgeseq("demo")
    assert done.code == 0
    header, *table = done.out.splitlines()
    assert header.split()[:3] == ["truth", "reads", "right"]
    counts = [line.split()[:3] for line in table[: table.index("")]]
    assert sum(int(right) for _, _, right in counts) >= 0.9 * sum(int(number) for _, number, _ in counts)
    assert "edgeseq score READS -o calls.tsv" in done.out


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 0, 0.0, 1.0), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)],
)
def test_intervals_are_those_of_wilson(successes: int, trials: int, low: float, high: float) -> None:
    """The last one is the worked example of Newcombe (1998), method 3."""
    assert list(wilson_interval(successes, trials)) == pytest.approx([low, high], abs=1e-4)


def test_the_module_is_the_command() -> None:
    done = subprocess.run(command("--version"), capture_output=True, text=True, check=True)
    assert done.stdout == f"edgeseq {__version__}\n"


def test_the_form_of_the_input_changes_no_call(run_edgeseq: RunEdgeseq, bundle_path: Path, tmp_path: Path) -> None:
    import made_reads

    records = [(name, bases.encode(), b"I" * len(bases)) for name, bases in READS]
    forms = {
        "plain.fastq": made_reads.fastq(records),
        "members.fastq.gz": made_reads.members(made_reads.fastq(records), 7),
        "wrapped.fasta": made_reads.fasta(records),
    }
    for name, data in forms.items():
        (tmp_path / name).write_bytes(data)
    made_reads.bam(tmp_path / "reads.bam", records)
    made_reads.bam(tmp_path / "reads.sam", records, text=True)
    answers = []
    for name in (*forms, "reads.bam", "reads.sam"):
        found = rows(run_edgeseq("score", tmp_path / name, "-m", bundle_path).out)
        answers.append([[row[key] for key in ("read_id", "length", "label", "score", "segments")] for row in found])
    assert answers == [answers[0]] * 5
    assert [row[2] for row in answers[0]] == LABELS


def test_the_docs_name_every_column_and_option(run_edgeseq: RunEdgeseq, repository: Path) -> None:
    text = (repository / "docs" / "score.md").read_text()
    for name in COLUMNS:
        assert f"`{name}`" in text
    for name in (
        "-o",
        "--format",
        "--per-window",
        "--split",
        "--early-stop",
        "--min-length",
        "--min-score",
        "--track",
        "--threads",
        "--provider",
    ):
        assert name in text
        assert name in run_edgeseq("score", "--help").out
