"""Where calls go: rows, objects, tagged records and files of reads, all whole or not there."""

from __future__ import annotations

import gzip
import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pysam
import pytest
from tiny_bundle import tiny_bundle

from edgeseq.bundle import Bundle, read_bundle
from edgeseq.errors import SinkError, UsageError
from edgeseq.manifest import Task
from edgeseq.prediction import UNCLASSIFIED, Decision, Prediction, Scores, Segment
from edgeseq.predictions import Predictions
from edgeseq.read import Header, Read
from edgeseq.reads import open_reads
from edgeseq.sinks.bam import BamSink
from edgeseq.sinks.jsonl import JsonlSink
from edgeseq.sinks.output import Output
from edgeseq.sinks.split import SplitSink
from edgeseq.sinks.tsv import COLUMNS, TsvSink

TASK = Task(kind="sequence-classification", labels=("a", "b", "other"))
HEADER = Header(run="7650855b", channel=12, start_time="2020-03-11T14:27:00Z", barcode="barcode01")


def prediction(read: Read, label: str = "a", reason: str = "", segments: tuple[Segment, ...] = ()) -> Prediction:
    windows = np.array([[0.9, 0.06, 0.04], [0.2, 0.7, 0.1]], np.float32)
    scores = Scores(windows[0], windows, np.array([0, 64]), np.array([64, 100]), 2, 0.015625)
    decision = Decision(UNCLASSIFIED if reason else label, 0.9, label, reason, segments)
    return Prediction(read, scores, decision)


def read(name: str = "r1", *, header: Header = HEADER, source: str = "x/reads.fastq") -> Read:
    return Read(name, b"ACGT" * 25, b"I" * 100, b"ch=12", source, header=header)


@pytest.fixture
def bundle(bundle_path: Path) -> Bundle:
    return read_bundle(bundle_path)


def test_a_row_for_each_read(tmp_path: Path) -> None:
    sink = TsvSink(Output(tmp_path / "calls.tsv"), TASK)
    parts = (Segment(0, 64, "a", 0.95), Segment(64, 100, "b", 0.7))
    sink.write(Predictions.of([prediction(read(), segments=parts)]))
    sink.write(Predictions.of([prediction(read("r2", header=Header()), reason="score")]))
    sink.commit()
    assert (tmp_path / "calls.tsv").read_text() == (
        "read_id\tsource\tlength\tlabel\tscore\tcandidate\treason\twindows\tn_fraction\tsegments\tbarcode\n"
        "r1\tx/reads.fastq\t100\ta\t0.9000\ta\t.\t2\t0.0156\t0-64:a:0.9500;64-100:b:0.7000\tbarcode01\n"
        "r2\tx/reads.fastq\t100\tunclassified\t0.9000\ta\tscore\t2\t0.0156\t.\t.\n"
    )


def test_a_row_for_each_window(tmp_path: Path) -> None:
    sink = TsvSink(Output(tmp_path / "windows.tsv"), TASK, per_window=True)
    sink.write(Predictions.of([prediction(read())]))
    sink.commit()
    assert (tmp_path / "windows.tsv").read_text().splitlines() == [
        "read_id\tsource\tstart\tend\tlabel\tscore",
        "r1\tx/reads.fastq\t0\t64\ta\t0.9000",
        "r1\tx/reads.fastq\t64\t100\tb\t0.7000",
    ]


@pytest.mark.parametrize(
    ("name", "source", "barcode"), [("r\t1", "x", "b"), ("r", "a\nb\tc", "b"), ("r", "x", "b\r"), ("r\n1", "\t", "\n")]
)
def test_nothing_inside_a_value_breaks_a_row(tmp_path: Path, name: str, source: str, barcode: str) -> None:
    sink = TsvSink(Output(tmp_path / "calls.tsv"), TASK)
    sink.write(Predictions.of([prediction(read(name, source=source, header=Header(barcode=barcode)))]))
    sink.commit()
    _, row, rest = (tmp_path / "calls.tsv").read_bytes().split(b"\n")
    values = [
        value.replace("\\t", "\t").replace("\\n", "\n").replace("\\r", "\r") for value in row.decode().split("\t")
    ]
    assert len(values) == len(COLUMNS)
    assert (values[0], values[1], values[2], values[10]) == (name, source, "100", barcode)
    assert (b"\r" in row, rest) == (False, b"")


def test_an_object_for_each_read(tmp_path: Path) -> None:
    sink = JsonlSink(Output(tmp_path / "calls.jsonl"), TASK)
    sink.write(
        Predictions.of([prediction(read("r\t1"), segments=(Segment(0, 64, "a", 0.95), Segment(64, 100, "b", 0.7)))])
    )
    sink.write(Predictions.of([prediction(read("r2", header=Header()), reason="short")]))
    sink.commit()
    first, second = map(json.loads, (tmp_path / "calls.jsonl").read_text().splitlines())
    assert list(first) == [*COLUMNS[:-1], "run", "channel", "start_time", "barcode", "probabilities"]
    assert first["read_id"] == "r\t1"
    assert first["segments"][1] == {"start": 64, "end": 100, "label": "b", "score": 0.7}
    assert first["probabilities"] == {"a": 0.9, "b": 0.06, "other": 0.04}
    assert (second["label"], second["reason"], second["run"], second["channel"]) == (UNCLASSIFIED, "short", None, None)


def test_an_object_for_each_window(tmp_path: Path) -> None:
    sink = JsonlSink(Output(tmp_path / "windows.jsonl"), TASK, per_window=True)
    sink.write(Predictions.of([prediction(read())]))
    sink.commit()
    second = json.loads((tmp_path / "windows.jsonl").read_text().splitlines()[1])
    assert second == {"read_id": "r1", "source": "x/reads.fastq", "start": 64, "end": 100, "label": "b", "score": 0.7}


def test_values_of_regressions_and_embeddings(tmp_path: Path) -> None:
    one = Prediction(read(), prediction(read()).scores, Decision("", 12345.678, ""))
    for kind in ("regression", "embedding"):
        task = Task(kind=kind)
        for sink in (
            TsvSink(Output(tmp_path / f"{kind}.tsv"), task),
            JsonlSink(Output(tmp_path / f"{kind}.jsonl"), task),
        ):
            sink.write(Predictions.of([one]))
            sink.commit()
    assert (tmp_path / "regression.tsv").read_text().splitlines()[1].split("\t")[3:6] == [".", "12345.7", "."]
    assert "probabilities" not in json.loads((tmp_path / "regression.jsonl").read_text())
    assert json.loads((tmp_path / "embedding.jsonl").read_text())["embedding"] == [0.9, 0.06, 0.04]


def test_a_file_has_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    output = Output(tmp_path / "calls.tsv")
    output.write(b"one\n")
    output.flush()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calls.tsv.partial"]
    output.commit()
    output.abandon()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"calls.tsv": b"one\n"}


def test_an_abandoned_file_is_gone_or_kept_with_whole_rows(tmp_path: Path) -> None:
    for keep in (False, True):
        output = Output(tmp_path / "calls.tsv")
        output.write(b"one\n")
        output.abandon(keep=keep)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"calls.tsv.partial": b"one\n"}


def test_an_earlier_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    (tmp_path / "calls.tsv").write_bytes(b"earlier\n")
    output = Output(tmp_path / "calls.tsv")
    output.write(b"later\n")
    output.abandon()
    assert (tmp_path / "calls.tsv").read_bytes() == b"earlier\n"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory"):
        Output(tmp_path / "absent" / "calls.tsv")


@contextmanager
def a_small_disk() -> Iterator[None]:
    """No file of this process can grow beyond 1000 bytes, not even the test runner's log: only inside the block."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_no_half_row(tmp_path: Path) -> None:
    output = Output(tmp_path / "calls.tsv")
    output.write(b"first\n")
    output.flush()
    for number in range(100):
        output.write(b"row %04d of a table\n" % number)
    with a_small_disk(), pytest.raises(SinkError, match="File too large"):
        output.flush()
    written = (tmp_path / "calls.tsv.partial").read_bytes()
    assert written.endswith(b" of a table\n")
    assert len(written.splitlines()) == 1 + (1000 - 6) // 20
    output.abandon()
    assert list(tmp_path.iterdir()) == []


def test_a_device_without_space() -> None:
    output = Output()
    os.close(output._handle)
    output._handle = os.open("/dev/full", os.O_WRONLY)
    output.write(b"row\n")
    with pytest.raises(SinkError, match="No space left on device; free space"):
        output.commit()
    output.abandon()


def test_reads_of_each_class_in_their_own_file(tmp_path: Path) -> None:
    dorado = Read("r2", b"GGG", b"##!", b"st:Z:2024-01-01T00:00:00Z\tch:i:3", "x")
    archive = Read("r3", b"AC", b"II", b"1 length=2", "x")
    sink = SplitSink(tmp_path / "by_class", TASK.labels)
    sink.write(Predictions.of([prediction(read("r1"))]))
    sink.write(Predictions.of([prediction(dorado)]))
    sink.write(Predictions.of([prediction(archive, label="b")]))
    sink.write(Predictions.of([prediction(Read("r4", b"", b"", b"", "x"), label="b")]))
    sink.write(Predictions.of([prediction(Read("f1", b"AC" * 50, b"", b"", "y.fasta"), reason="score")]))
    assert all(path.name.endswith((".partial", ".edgeseq-output")) for path in (tmp_path / "by_class").iterdir())
    sink.commit()
    content = {path.name: gzip.decompress(path.read_bytes()) for path in (tmp_path / "by_class").glob("*.gz")}
    assert content == {
        "a.fastq.gz": b"@r1 ch=12\n" + b"ACGT" * 25 + b"\n+\n" + b"I" * 100 + b"\n"
        b"@r2\tst:Z:2024-01-01T00:00:00Z\tch:i:3\nGGG\n+\n##!\n",
        "b.fastq.gz": b"@r3 1 length=2\nAC\n+\nII\n@r4\n\n+\n\n",
        "unclassified.fasta.gz": b">f1\n" + b"AC" * 40 + b"\n" + b"AC" * 10 + b"\n",
    }


def test_split_files_can_be_read_again(tmp_path: Path) -> None:
    sink = SplitSink(tmp_path, TASK.labels)
    reads = [Read(f"r{number}", b"ACGTN" * (number % 500 + 1), b"5" * 5 * (number % 500 + 1)) for number in range(3000)]
    for one in reads:
        sink.write(Predictions.of([prediction(one)]))
    sink.commit()
    again = list(open_reads(tmp_path))
    assert [(one.id, one.sequence, one.quality) for one in again] == [
        (one.id, one.sequence, one.quality) for one in reads
    ]


def test_an_abandoned_split_leaves_no_reads(tmp_path: Path) -> None:
    sink = SplitSink(tmp_path / "by_class", TASK.labels)
    sink.write(Predictions.of([prediction(read())]))
    sink.abandon(keep=True)
    assert [path.name for path in (tmp_path / "by_class").iterdir()] == [".edgeseq-output"]


def test_a_split_never_mixes_with_an_earlier_one(tmp_path: Path) -> None:
    sink = SplitSink(tmp_path, TASK.labels)
    sink.write(Predictions.of([prediction(read(), label="b")]))
    sink.commit()
    with pytest.raises(UsageError, match=r"b\.fastq\.gz exists already"):
        SplitSink(tmp_path, TASK.labels)


def test_labels_never_leave_the_folder(tmp_path: Path) -> None:
    sink = SplitSink(tmp_path / "by_class", ("../up", "x/y"))
    sink.write(Predictions.of([prediction(read(), label="../up")]))
    sink.commit()
    assert sorted(path.name for path in tmp_path.rglob("*.gz")) == ["..%2Fup.fastq.gz"]


def test_a_split_on_a_full_disk(tmp_path: Path) -> None:
    sink = SplitSink(tmp_path, TASK.labels)
    random = np.random.default_rng(1)
    letters = random.choice(list(b"ACGT"), 20_000).astype(np.uint8).tobytes()
    with a_small_disk():
        sink.write(Predictions.of([prediction(Read("r", letters, b"I" * 20_000))]))
        with pytest.raises(SinkError, match=r"a\.fastq\.gz: cannot be written"):
            sink.commit()
    sink.abandon()
    assert list(tmp_path.glob("*.gz*")) == []


SAM = """@HD\tVN:1.6\tSO:unsorted
@SQ\tSN:ref\tLN:1000
@RG\tID:g\tSM:swab
@PG\tID:minimap2\tPN:minimap2
early\t256\tref\t1\t0\t4M\t*\t0\t0\t*\t*\tel:Z:old
p1\t16\tref\t1\t60\t4M\t*\t0\t0\tAACC\tIIII\tRG:Z:g\tML:B:C,1,2
p1\t2048\tref\t9\t60\t2H2M\t*\t0\t0\tCC\tII
early\t0\tref\t9\t60\t4M\t*\t0\t0\tACGT\t!!!!\tel:Z:old
p2\t4\t*\t0\t0\t*\t*\t0\t0\tGGGG\tIIII
p1\t256\tref\t20\t0\t4M\t*\t0\t0\t*\t*
"""


def score_into(sink: BamSink, *sources: Path) -> None:
    for source in sources:
        for one in open_reads(source):
            sink.write(Predictions.of([prediction(one, label="a" if one.sequence.startswith(b"G") else "b")]))
    sink.commit()


def records(path: Path) -> list[pysam.AlignedSegment]:
    with pysam.AlignmentFile(str(path), check_sq=False) as file:
        return list(file.fetch(until_eof=True))


@pytest.mark.parametrize("binary", [False, True])
def test_every_record_is_copied_with_its_call(tmp_path: Path, bundle: Bundle, binary: bool) -> None:
    source = tmp_path / "calls.sam"
    source.write_text(SAM)
    if binary:
        with (
            pysam.AlignmentFile(str(source)) as text,
            pysam.AlignmentFile(str(tmp_path / "c.bam"), "wb", template=text) as out,
        ):
            for record in text:
                out.write(record)
        source = tmp_path / "c.bam"
    before = records(source)
    sink = BamSink(tmp_path / "out.bam", bundle, inputs=[str(source)], command="edgeseq score")
    score_into(sink, source)
    after = records(tmp_path / "out.bam")
    labels = [record.get_tag("el") if record.has_tag("el") else None for record in after]
    assert labels == [None, "a", "a", "b", "a", "a"]
    assert after[1].get_tag("em") == f"tiny@1+{bundle.sha256[:12]}"
    assert after[1].get_tag("es") == pytest.approx(0.9)
    for one, two in zip(before, after, strict=True):
        for tag in ("el", "es", "em"):
            one.set_tag(tag, None)
            two.set_tag(tag, None)
        assert one.to_string() == two.to_string()
    with pysam.AlignmentFile(str(tmp_path / "out.bam")) as file:
        programs = file.header.to_dict()["PG"]
    assert [program["ID"] for program in programs] == ["minimap2", "edgeseq"]
    assert programs[1] == {"ID": "edgeseq", "PN": "edgeseq", "VN": "0.1.0", "PP": "minimap2", "CL": "edgeseq score"}


def test_tagging_twice(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "calls.sam").write_text(SAM)
    for source, target in (("calls.sam", "once.bam"), ("once.bam", "twice.bam")):
        score_into(BamSink(tmp_path / target, bundle, inputs=[str(tmp_path / source)]), tmp_path / source)
    with pysam.AlignmentFile(str(tmp_path / "twice.bam")) as file:
        assert [program["ID"] for program in file.header.to_dict()["PG"]] == ["minimap2", "edgeseq", "edgeseq.1"]
    assert len(records(tmp_path / "twice.bam")) == 6


def test_reads_of_other_formats_become_unaligned_records(tmp_path: Path, bundle: Bundle) -> None:
    fastq, fasta = tmp_path / "r.fastq", tmp_path / "r.fasta"
    fastq.write_bytes(
        b"@r1 runid=77 ch=5\nGGT\n+\n!I5\n@r2\tch:i:9\tqs:f:11.5\tst:Z:2024-01-01T00:00:00Z\tel:Z:x\nACGT\n+\nIIII\n"
        b"@r3\nA\n+\nI\n@r4\tch:i:x\nC\n+\nI\n@empty\n\n+\n\n"
    )
    fasta.write_bytes(b">f1\nACGTN\n")
    score_into(BamSink(tmp_path / "out.bam", bundle, inputs=[str(fastq), str(fasta)]), fastq, fasta)
    first, second, third, fourth, empty, last = records(tmp_path / "out.bam")
    assert all(record.is_unmapped for record in (first, second, third, fourth, empty, last))
    assert (first.query_sequence, first.query_qualities_str) == ("GGT", "!I5")
    assert first.get_tag("CO") == "runid=77 ch=5"
    assert (second.get_tag("ch"), second.get_tag("el"), second.has_tag("CO")) == (9, "b", False)
    assert second.get_tag("qs") == pytest.approx(11.5)
    assert not fourth.has_tag("ch")
    assert (empty.query_sequence, last.query_sequence, last.query_qualities) == (None, "ACGTN", None)


def test_one_output_has_one_set_of_references(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "one.sam").write_text(SAM)
    (tmp_path / "two.sam").write_text(SAM.replace("LN:1000", "LN:999"))
    with pytest.raises(UsageError, match="aligned to different references"):
        BamSink(tmp_path / "out.bam", bundle, inputs=[str(tmp_path / "one.sam"), str(tmp_path / "two.sam")])
    (tmp_path / "two.sam").write_text(SAM.replace("ID:g", "ID:h").replace("RG:Z:g", "RG:Z:h"))
    sources = [tmp_path / "one.sam", tmp_path / "two.sam"]
    score_into(BamSink(tmp_path / "out.bam", bundle, inputs=list(map(str, sources))), *sources)
    with pysam.AlignmentFile(str(tmp_path / "out.bam")) as file:
        assert [group["ID"] for group in file.header.to_dict()["RG"]] == ["g", "h"]
    assert len(records(tmp_path / "out.bam")) == 12


def test_an_abandoned_bam_is_gone(tmp_path: Path, bundle: Bundle) -> None:
    sink = BamSink(tmp_path / "out.bam", bundle)
    sink.write(Predictions.of([prediction(read())]))
    sink.abandon()
    assert list(tmp_path.glob("out*")) == []


def test_tiny_bundles_name_their_labels(tmp_path: Path) -> None:
    assert read_bundle(tiny_bundle(tmp_path / "t.edgeseq", labels=("x", "other"))).manifest.task.labels == (
        "x",
        "other",
    )
