"""`open_reads` takes a path, a folder, standard input or a binary file, and tells what they hold by content."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pysam
import pytest
from conftest import Shared
from made_reads import Record, bam, drip, fasta, fastq, first_records, members, outcome

import edgeseq
from edgeseq.errors import FormatError, ReadError, TruncatedError
from edgeseq.folder import MARKER, natural, read_files
from edgeseq.reads import open_reads

RECORDS: list[Record] = [("r1", b"ACGTACGT", b"IIIIIIII"), ("r2", b"GGTTAANN", b"@@@@####"), ("r3", b"A", b"I")]


def one(name: str) -> bytes:
    return fastq([(name, b"ACGT", b"IIII")])


def found(folder: Path) -> list[str]:
    return [read.id for read in open_reads(folder)]


@pytest.fixture(params=["fastq", "crlf", "bom", "fasta", "bam", "sam", "gzip", "members", "padded", "gzipped sam"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> bytes:
    sam = bam(tmp_path / "made.sam", RECORDS, text=True).read_bytes()
    return {
        "fastq": fastq(RECORDS),
        "crlf": fastq(RECORDS, b"\r\n"),
        "bom": b"\xef\xbb\xbf" + fastq(RECORDS),
        "fasta": fasta(RECORDS, 3) + b"\n\n",
        "bam": bam(tmp_path / "made.bam", RECORDS).read_bytes(),
        "sam": sam,
        "gzip": gzip.compress(fastq(RECORDS)),
        "members": members(fastq(RECORDS), 20),
        "padded": gzip.compress(fastq(RECORDS)) + bytes(512),
        "gzipped sam": gzip.compress(sam),
    }[request.param]


def expected(data: bytes) -> list[Record]:
    return [(name, sequence, b"" if data.startswith(b">") else quality) for name, sequence, quality in RECORDS]


def test_every_format_under_a_name_that_says_nothing(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file.dat"
    path.write_bytes(data)
    assert outcome(path) == (expected(data), None)
    assert outcome(str(path)) == (expected(data), None)
    with path.open("rb") as file:
        assert outcome(file) == (expected(data), None)
        assert not file.closed


def test_every_format_from_a_pipe(data: bytes) -> None:
    reader, writer = os.pipe()

    def write() -> None:
        with os.fdopen(writer, "wb") as file:
            file.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    with os.fdopen(reader, "rb") as file:
        assert outcome(file) == (expected(data), None)
    thread.join()


def test_every_format_from_standard_input(data: bytes) -> None:
    script = "import edgeseq; print([(r.id, r.sequence, r.quality, r.source) for r in edgeseq.open_reads('-')])"
    run = subprocess.run([sys.executable, "-c", script], input=data, capture_output=True, check=True)
    assert run.stdout.decode().strip() == str([(*record, "-") for record in expected(data)])


def test_every_format_byte_by_byte(data: bytes) -> None:
    assert outcome(drip(data, most=1)) == (expected(data), None)


def test_a_read_from_a_live_pipe_comes_before_the_next_is_written() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as file:
        reads = open_reads(file)
        for name in ("r1", "r2", "r3"):
            os.write(writer, one(name))
            assert next(reads).id == name
        os.close(writer)
        assert list(reads) == []


def test_a_read_from_a_live_gzip_pipe_comes_before_the_next_is_written() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as file:
        reads = open_reads(file)
        for name in ("r1", "r2"):
            os.write(writer, gzip.compress(one(name)))
            assert next(reads).id == name
        os.close(writer)
        assert list(reads) == []


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0), gzip.compress(b"\n\n", mtime=0)]
)
def test_an_empty_source_has_no_reads(content: bytes) -> None:
    assert outcome(content) == ([], None)


def test_a_bam_without_reads_is_empty(tmp_path: Path) -> None:
    assert outcome(bam(tmp_path / "x.bam", [])) == ([], None)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x8bPOD\r\n\x1a\n", "POD5"),
        (b"\x89HDF\r\n\x1a\n", "FAST5"),
        (b"CRAM\3", "CRAM"),
        (b"PK\3\4" + bytes(30), "zip"),
        (gzip.compress(gzip.compress(b"@r\nA\n+\nI\n", mtime=0), mtime=0), "gzip inside gzip"),
        ("@r\nA\n+\nI\n".encode("utf-16"), "UTF-16"),
        (bytes(5000), "NUL"),
        (b"read_id,label\nr1,other\n", "not FASTQ"),
        (b"{}", "not FASTQ"),
        (bytes(range(256)) * 9, "not FASTQ"),
    ],
)
def test_a_named_file_that_holds_no_reads_is_an_error(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "x.fastq"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=what) as error:
        list(open_reads(path))
    assert error.value.source == str(path)


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="No such file"):
        list(open_reads(tmp_path / "nothing"))


def test_the_error_says_where_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "x.fastq"
    path.write_bytes(fastq(RECORDS)[:-4])
    with pytest.raises(TruncatedError) as error:
        list(open_reads(path))
    assert str(error.value) == (
        f"{path}: record 3 at byte 48: the file ends in a sequence, before its '+' line; the file was cut, or is still "
        "being written: copy it again, or wait until it is complete"
    )


def test_a_folder_is_walked_in_numeric_order_and_only_reads_are_read(tmp_path: Path) -> None:
    for name in ("reads_10.fastq", "reads_9.fastq", "a/b/x.fastq", "reads_9b.dat"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(one(name))
    (tmp_path / "zipped.fastq.gz").write_bytes(gzip.compress(one("zipped")))
    (tmp_path / "empty.fastq").touch()
    for name, content in {
        ".hidden.fastq": one("hidden"),
        "x.fastq.tmp": one("tmp"),
        "x.fastq.partial": one("partial"),
        ".rsync/x.fastq": one("hidden folder"),
        "sequencing_summary_x.txt": b"filename\tread_id\n",
        "report.html": b"<html>",
        "report.json": b"{}",
        "x.pod5": b"\x8bPOD\r\n\x1a\n",
        "scores.tsv": b"read_id\tsource\n",
        "notes.md": b"> quoted text, not a header\n\nmore\n",
        "cite.bib": b"@article{x,\n title={y}\n}\n",
        "table.csv.gz": gzip.compress(b"a,b\n"),
        f"split/{MARKER}": b"",
        "split/virus.fastq": one("ours"),
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    assert found(tmp_path) == ["a/b/x.fastq", "reads_9.fastq", "reads_9b.dat", "reads_10.fastq", "zipped"]
    assert found(tmp_path / "split") == ["ours"]
    assert next(open_reads(tmp_path)).source == str(tmp_path / "a/b/x.fastq")


def test_a_file_whose_name_promises_reads_is_never_silently_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.fastq").write_bytes(bytes(100))
    with pytest.raises(FormatError, match="NUL"):
        found(tmp_path)


def test_damaged_files_in_a_folder_stop_it_or_are_reported(tmp_path: Path) -> None:
    (tmp_path / "1.fastq").write_bytes(one("r1") + one("r2")[:-3])
    (tmp_path / "2.fastq.gz").write_bytes(gzip.compress(one("r3"))[:-5])
    (tmp_path / "3.gz").write_bytes(gzip.compress(one("lost"))[:12])
    (tmp_path / "4.fastq").write_bytes(one("r4"))
    with pytest.raises(TruncatedError):
        found(tmp_path)
    errors: list[ReadError] = []
    assert [read.id for read in open_reads(tmp_path, on_error=errors.append)] == ["r1", "r3", "r4"]
    assert [Path(error.source).name for error in errors] == ["1.fastq", "2.fastq.gz", "3.gz"]
    assert {type(error) for error in errors} == {TruncatedError}


def test_links_are_followed_but_no_folder_is_entered_twice(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "x.fastq").write_bytes(one("r1"))
    (run / "loop").symlink_to(tmp_path)
    (tmp_path / "latest").symlink_to(run)
    (tmp_path / "other.fastq").symlink_to(run / "x.fastq")
    assert found(tmp_path) == ["r1", "r1"]


def test_a_broken_link_is_reported(tmp_path: Path) -> None:
    (tmp_path / "x.fastq").symlink_to(tmp_path / "gone")
    with pytest.raises(ReadError, match="cannot be opened"):
        found(tmp_path)


def test_pipes_and_sockets_in_a_folder_are_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.fastq")
    assert list(read_files(str(tmp_path))) == []


def test_natural_order() -> None:
    names = ["x_10", "x_9", "x_09", "x", "10", "9", "a1b2", "a1b10"]
    assert sorted(names, key=natural) == ["9", "10", "a1b2", "a1b10", "x", "x_09", "x_9", "x_10"]


REAL = [
    "sars-cov-2/MT007544.fastq.gz",
    "enterovirus/piranha_barcode01_0.fastq.gz",
    "influenza-a/FAV79184_barcode93_18.fastq.gz",
    "bacteria/16S_DRR223301.fastq.gz",
    "mpox/mpox_ubam_dev.bam",
]


@pytest.mark.parametrize("name", REAL)
def test_real_files_give_what_pysam_gives(shared: Shared, name: str) -> None:
    path = shared / f"data/reads/{name}"
    records = first_records(path, 10_000)
    assert outcome(path) == ([(name.split()[0], sequence, quality) for name, sequence, quality in records], None)


def test_a_real_fasta_gives_what_pysam_gives(shared: Shared) -> None:
    path = shared / "data/reads/bacteria/ecoli_minicol242.fasta.gz"
    with pysam.FastxFile(str(path)) as records:
        assert outcome(path)[0] == [(str(r.name), str(r.sequence).encode(), b"") for r in records]


def test_a_real_run_folder(shared: Shared) -> None:
    reads = list(open_reads(shared / "data/run_folder"))
    assert len(reads) == 3184
    assert {read.header.barcode for read in reads} == {"barcode07", "barcode09"}


@pytest.mark.parametrize("name", REAL[:4])
@pytest.mark.parametrize("how", ["plain", "gzip", "members"])
def test_real_reads_cut_at_every_byte(shared: Shared, name: str, how: str) -> None:
    records = [(h, s[:150], q[:150]) for h, s, q in first_records(shared / f"data/reads/{name}", 4)]
    whole = [(header.split()[0], sequence, quality) for header, sequence, quality in records]
    text = fastq(records)
    ends = [len(fastq(records[:count])) for count in range(len(records) + 1)]
    parts = [text] if how == "gzip" else [text[at : at + 200] for at in range(0, len(text), 200)]
    data = text if how == "plain" else b"".join(gzip.compress(part) for part in parts)
    clean = {0}
    for count in range(1, len(parts) + 1):
        clean.add(len(b"".join(gzip.compress(part) for part in parts[:count])))
    for cut in range(len(data)):
        got, error = outcome(data[:cut])
        assert got == whole[: len(got)]
        if how == "plain":
            assert len(got) == sum(end <= cut + (cut + 1 in ends) for end in ends) - 1
            assert (error is None) == (cut in ends or cut + 1 in ends)
        else:
            assert error is not None or cut in clean
        assert error is None or isinstance(error, TruncatedError)
    assert outcome(data) == (whole, None)


def test_open_reads_is_the_door_of_the_package() -> None:
    assert edgeseq.open_reads is open_reads
    assert [read.id for read in edgeseq.open_reads(io.BytesIO(one("r1")))] == ["r1"]


def test_the_example_of_the_manual_runs(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (repository / "docs/reads.md").read_text(encoding="utf-8")
    assert MARKER in page
    folder = tmp_path / "run/fastq_pass/barcode07"
    folder.mkdir(parents=True)
    (folder / "x.fastq").write_bytes(fastq([("r1 start_time=2024-01-01T00:00:00Z", b"ACGT", b"IIII")]))
    monkeypatch.chdir(tmp_path)
    exec(page.split("```python\n")[1].split("```")[0], {})
    assert capsys.readouterr().out == "r1 4 barcode07 2024-01-01T00:00:00Z run/fastq_pass/barcode07/x.fastq\n"
