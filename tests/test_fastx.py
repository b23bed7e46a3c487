"""FASTQ and FASTA text becomes reads, whatever its line ends and wrapping; the first damage ends it, with its place."""

from __future__ import annotations

import gzip
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_reads import Record, drip, fasta, fastq, outcome, wrapped_fastq

from edgeseq import stream as stream_module
from edgeseq.errors import FormatError, TruncatedError
from edgeseq.fastx import read_fasta, read_fastq, split_name
from edgeseq.read import Read
from edgeseq.reads import open_reads
from edgeseq.stream import CHUNK, Stream

RECORDS: list[Record] = [
    ("r1 ch=1", b"ACGTACGTAC", b"IIIII@IIII"),
    ("r2\tst:Z:now\tqs:f:9", b"NNacgu", b"+!~@#$"),
    ("r3", b"", b""),
    ("\u00e9t\u00e9 caf\u00e9", b"ACGTRYKM", b"@@@@@@@@"),
]
IDS = [("r1", *RECORDS[0][1:]), ("r2", *RECORDS[1][1:]), ("r3", b"", b""), ("\u00e9t\u00e9", *RECORDS[3][1:])]

names = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=20)
lines = st.text("ACGTNacgtnu", max_size=120).map(str.encode)
records = st.lists(
    st.tuples(names.filter(lambda name: name[0] not in " \t"), lines).flatmap(
        lambda pair: st.tuples(
            st.just(pair[0]),
            st.just(pair[1]),
            st.binary(min_size=len(pair[1]), max_size=len(pair[1])).map(lambda q: bytes(33 + x % 94 for x in q)),
        )
    ),
    max_size=12,
)


def ids(expected: list[Record]) -> list[Record]:
    return [(split_name(name.encode())[0].decode(), sequence, quality) for name, sequence, quality in expected]


@given(records, st.integers(0, 99), st.sampled_from([b"\n", b"\r\n"]), st.sampled_from([1, 7, 200]))
def test_fastq_reads_back_equal_from_any_chunks(made: list[Record], seed: int, end: bytes, most: int) -> None:
    data = fastq(made, end)
    assert outcome(data) == (ids(made), None)
    assert outcome(drip(data, seed, most)) == (ids(made), None)
    assert outcome(drip(gzip.compress(data), seed, most)) == (ids(made), None)


@given(records, st.integers(0, 99), st.integers(1, 70), st.sampled_from([b"\n", b"\r\n"]))
def test_fasta_reads_back_equal_from_any_chunks(made: list[Record], seed: int, width: int, end: bytes) -> None:
    data = fasta(made, width, end)
    expected = [(name, sequence, b"") for name, sequence, _ in ids(made)]
    assert outcome(data) == (expected, None)
    assert outcome(drip(data + end * 2, seed)) == (expected, None)


@given(records, st.integers(0, 99), st.integers(1, 70))
def test_wrapped_fastq_reads_back_equal(made: list[Record], seed: int, width: int) -> None:
    data = wrapped_fastq(made, width)
    assert outcome(data) == (ids(made), None)
    assert outcome(drip(data, seed)) == (ids(made), None)


def test_a_read_knows_its_place() -> None:
    reads = list(open_reads(io.BytesIO(fastq(RECORDS))))
    data = fastq(RECORDS)
    assert [read.record for read in reads] == [0, 1, 2, 3]
    assert [data[read.offset : read.offset + 3] for read in reads] == [b"@r1", b"@r2", b"@r3", b"@\xc3\xa9"]
    assert [read.description for read in reads] == [b"ch=1", b"st:Z:now\tqs:f:9", b"", b"caf\xc3\xa9"]
    assert reads[0].source == "<stream>"


def test_the_id_ends_at_the_first_space_or_tab() -> None:
    assert split_name(b"r1 a\tb c") == (b"r1", b"a\tb c")
    assert split_name(b"r1\ta b") == (b"r1", b"a b")
    assert split_name(b"r1") == (b"r1", b"")


def test_bytes_that_are_no_text_in_an_id_stay_visible() -> None:
    assert next(open_reads(io.BytesIO(b"@r\xff\nA\n+\nI\n"))).id == "r\\xff"


def test_a_chunk_border_anywhere() -> None:
    made = [(f"r{i} x", b"ACGT" * (i % 60), b"IIII" * (i % 60)) for i in range(8000)]
    data = fastq(made)
    assert len(data) > 3 * CHUNK
    assert outcome(data) == (ids(made), None)


def test_reads_longer_than_a_chunk() -> None:
    made = [("long", b"ACGT" * CHUNK, b"IIII" * CHUNK), ("short", b"A", b"I"), ("long2", b"G" * CHUNK, b"#" * CHUNK)]
    assert outcome(fastq(made)) == (ids(made), None)
    assert outcome(drip(wrapped_fastq(made, 80), most=1 << 17)) == (ids(made), None)
    assert outcome(fasta(made)) == ([(name, sequence, b"") for name, sequence, _ in made], None)


def test_the_plus_line_may_repeat_the_header() -> None:
    assert outcome(b"@r1 a\nAC\n+r1 a\nII\n@r2\nG\n+r2\tx\nI\n") == ([("r1", b"AC", b"II"), ("r2", b"G", b"I")], None)


def test_blank_lines_between_records() -> None:
    data = b"\n\r\n@r1\nAC\n+\nII\n\n\n@r2\nG\n+\nI\n\n\n"
    assert outcome(data) == ([("r1", b"AC", b"II"), ("r2", b"G", b"I")], None)
    assert outcome(drip(data, most=1)) == ([("r1", b"AC", b"II"), ("r2", b"G", b"I")], None)


def test_a_wrapped_sequence_with_its_quality_on_one_line() -> None:
    assert outcome(b"@r1\nAC\nGT\n+\nI@I+\n@r2\nG\n+\nI\n") == ([("r1", b"ACGT", b"I@I+"), ("r2", b"G", b"I")], None)


def test_a_quality_line_may_start_with_at_or_plus() -> None:
    made = [("r1", b"ACGT", b"@III"), ("r2", b"ACGT", b"+III"), ("r3", b"A", b"@"), ("r4", b"A", b"+")]
    assert outcome(fastq(made)) == (made, None)


def test_cut_at_every_byte_whole_records_come_out_and_no_others() -> None:
    data = fastq(RECORDS)
    ends = [len(fastq(RECORDS[:count])) for count in range(len(RECORDS) + 1)]
    for cut in range(len(data) + 1):
        got, error = outcome(data[:cut])
        without_line_end = cut + 1 in ends
        whole = sum(end <= cut + without_line_end for end in ends) - 1
        empty_quality = data[:cut].endswith(b"@r3\n\n+\n")
        assert got == IDS[: whole + (empty_quality and not without_line_end)]
        if cut in ends or without_line_end or empty_quality:
            assert error is None
        else:
            assert isinstance(error, TruncatedError)
            assert (error.record, error.offset) == (whole, ends[whole])


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        (b"r2\nAC\n+\nII\n", "starts with b'r', not with '@'"),
        (b"@r2\nAC\n+\nIII\n", "a quality line of 3 characters follows a sequence of 2 bases"),
        (b"@r2\nACGT\n+\nII\n@r3\nA\n+\nI\n", "a quality line of 2 characters follows a sequence of 4 bases"),
        (b"@r2\nAC\nII\n@r3\nA\n+\nI\n", "'+' line is missing"),
        (b"@r2\nA\0\n+\nII\n", r"the sequence holds b'\x00'"),
        (b"@r2\nA \n+\nII\n", "the sequence holds b' '"),
        (b"@r2\nAC\n+\nI \n", "the quality holds b' '"),
        (b"@r2\nAC\n+\nI\x01\n", "the quality holds"),
        (b"@r2\nAC\n+\nI\xff\n", "the quality holds"),
        (b"@r2\nA\xc3\n+\nII\n", "the sequence holds"),
        (b"@r\0\nAC\n+\nII\n", "header line holds control characters"),
        (b"@r2\nAC\n+\x07\nII\n", "header line holds control characters"),
        (b"@\nAC\n+\nII\n", "no read id"),
        (b"@ r2\nAC\n+\nII\n", "no read id"),
        (b"\0" * 700, "starts with"),
        (b">r2\nAC\n", "starts with b'>'"),
    ],
)
@pytest.mark.parametrize("most", [1, 5000])
def test_damage_in_the_middle_is_told_with_its_place_and_never_skipped(second: bytes, problem: str, most: int) -> None:
    first, last = b"@r1\nAC\n+\nII\n", b"@r9\nAC\n+\nII\n"
    found: list[Read] = []
    with pytest.raises(FormatError, match=re.escape(problem)) as error:
        found.extend(open_reads(drip(first + second + last, most=most)))
    assert [read.id for read in found] == ["r1"]
    assert (error.value.record, error.value.offset) == (1, len(first))


@pytest.mark.parametrize(
    ("data", "got", "kind"),
    [
        (b">r1\nAC\n>r2\nA\0\n>r3\nA\n", 1, FormatError),
        (b">r1\nAC\n>r2\nA@\n", 1, FormatError),
        (b">r1\nAC\n>\nA\n", 1, FormatError),
        (b">r1\nAC\n>r\x02\nA\n", 1, FormatError),
        (b">r1\nAC\n>r2", 1, TruncatedError),
        (b">r1\nAC\n>r2\n", 2, None),
    ],
)
def test_damage_in_fasta(data: bytes, got: int, kind: type[Exception] | None) -> None:
    found, error = outcome(drip(data, most=4))
    assert len(found) == got
    assert error is None if kind is None else type(error) is kind


def test_in_a_cut_gzip_member_a_record_without_line_end_is_not_trusted() -> None:
    data = gzip.compress(b"@r1\nAC\n+\nII\n@r2\nAC\n+\nII")
    assert outcome(data) == ([("r1", b"AC", b"II"), ("r2", b"AC", b"II")], None)
    found, error = outcome(data[:-3])
    assert [read[0] for read in found] == ["r1"]
    assert isinstance(error, TruncatedError)
    found, error = outcome(gzip.compress(b">r1\nAC\n>r2\nAC\n")[:-3])
    assert [read[0] for read in found] == ["r1"]
    assert isinstance(error, TruncatedError)


@pytest.mark.parametrize("start", [b"@r1\n", b"@", b">r1\n", b"@r1\nA\n+\n", b"@r1\nA\n+"])
def test_a_record_without_end_is_refused_before_memory_runs_out(start: bytes) -> None:
    parse = read_fasta if start.startswith(b">") else read_fastq
    endless = iter([start, *[b"A" * 1000] * 10_000])
    with pytest.raises(FormatError, match=r"longer than|follows a sequence"):
        list(parse(Stream("endless", endless, limit=200_000)))
    assert len(list(endless)) > 9_000


def test_the_limit_is_half_a_gigabyte() -> None:
    assert stream_module.LIMIT == 512_000_000
