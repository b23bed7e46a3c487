"""SAM and BAM records become the reads that the sequencer wrote: one each, in their own direction."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pysam
import pytest
from conftest import Shared
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_reads import Record, bam, drip, first_records, outcome

from edgeseq.bam import tags_as_text
from edgeseq.errors import FormatError, ReadError, TruncatedError
from edgeseq.reads import open_reads

SAM = (
    b"@HD\tVN:1.6\n@SQ\tSN:chr1\tLN:99\n@RG\tID:g\tPU:FAK1\tSM:swab\n"
    b"fwd\t0\tchr1\t1\t60\t4M\t*\t0\t0\tACGT\tIIII\tRG:Z:g\tch:i:12\n"
    b"rev\t16\tchr1\t1\t60\t4M\t*\t0\t0\tAACR\tABCD\n"
    b"fwd\t256\tchr1\t9\t0\t4M\t*\t0\t0\tACGT\tIIII\n"
    b"fwd\t2048\tchr1\t9\t0\t2H2M\t*\t0\t0\tGT\tII\n"
    b"noq\t4\t*\t0\t0\t*\t*\t0\t0\tACGT\t*\n"
    b"none\t4\t*\t0\t0\t*\t*\t0\t0\t*\t*\n"
)
EXPECTED: list[Record] = [
    ("fwd", b"ACGT", b"IIII"),
    ("rev", b"YGTT", b"DCBA"),
    ("noq", b"ACGT", b""),
    ("none", b"", b""),
]


def as_bam(path: Path, text: bytes) -> Path:
    source = path.with_suffix(".sam")
    source.write_bytes(text)
    with (
        pysam.AlignmentFile(str(source), check_sq=False) as lines,
        pysam.AlignmentFile(str(path), "wb", template=lines) as file,
    ):
        for segment in lines:
            file.write(segment)
    return path


def test_sam_text() -> None:
    assert outcome(SAM) == (EXPECTED, None)
    assert outcome(SAM.replace(b"\n", b"\r\n")) == (EXPECTED, None)
    assert outcome(drip(gzip.compress(SAM), most=9)) == (EXPECTED, None)


def test_bam(tmp_path: Path) -> None:
    data = as_bam(tmp_path / "x.bam", SAM).read_bytes()
    assert outcome(data) == (EXPECTED, None)
    assert outcome(drip(data, most=9)) == (EXPECTED, None)
    assert outcome(gzip.decompress(data)) == (EXPECTED, None)


@pytest.mark.parametrize("name", ["x.sam", "x.bam"])
def test_headers_come_from_tags_and_read_groups(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(SAM) if name == "x.sam" else as_bam(path, SAM)
    read = next(open_reads(path))
    assert read.description == b"RG:Z:g\tch:i:12"
    assert (read.header.channel, read.header.flow_cell, read.header.sample) == (12, "FAK1", "swab")


def test_records_count_every_line_of_the_file() -> None:
    reads = list(open_reads(drip(SAM)))
    assert [read.record for read in reads] == [0, 1, 4, 5]
    assert [SAM[read.offset : read.offset + 3] for read in reads] == [b"fwd", b"rev", b"noq", b"non"]


def test_sam_without_header_lines() -> None:
    assert outcome(SAM[SAM.index(b"fwd") :]) == (EXPECTED, None)


def test_a_fastq_read_may_be_called_almost_like_a_header_line() -> None:
    assert outcome(b"@RG1\tst:Z:now\nAC\n+\nII\n") == ([("RG1", b"AC", b"II")], None)


records = st.lists(
    st.tuples(
        st.text("abcdef0123456789-", min_size=1, max_size=40),
        st.text("ACGTN", max_size=99).map(str.encode),
        st.integers(33, 126),
    ).map(lambda made: (made[0], made[1], bytes([made[2]]) * len(made[1]))),
    max_size=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records, st.integers(0, 99), st.booleans())
def test_what_pysam_writes_reads_back_equal_from_any_chunks(
    tmp_path: Path, made: list[Record], seed: int, text: bool
) -> None:
    data = bam(tmp_path / "made", made, text=text).read_bytes()
    # A lone base of quality 9 is written like a missing quality: SAM text cannot tell them apart.
    expected = [(n, s, b"*") if text and q == b"*" else (n, s, q) for n, s, q in made]
    assert outcome(data) == (expected, None)
    assert outcome(drip(data, seed)) == (expected, None)


def test_every_base_code_both_ways(tmp_path: Path) -> None:
    line = b"r\t%d\t*\t0\t0\t*\t*\t0\t0\tACMGRSVTWYHKDBN\t*\n"
    data = as_bam(tmp_path / "x.bam", b"@SQ\tSN:chr1\tLN:9\n" + line % 4 + line % 20).read_bytes()
    assert [read[1] for read in outcome(data)[0]] == [b"ACMGRSVTWYHKDBN", b"NVHMDRWABSYCKGT"]


def test_tags_of_every_type() -> None:
    tags = b"".join(
        [
            b"aaA+",
            b"bbc" + struct.pack("<b", -1),
            b"ccC\xff",
            b"dds" + struct.pack("<h", -300),
            b"eeS" + struct.pack("<H", 60000),
            b"ffi" + struct.pack("<i", -70000),
            b"ggI" + struct.pack("<I", 4_000_000_000),
            b"hhf" + struct.pack("<f", 9.5),
            b"iiBC" + struct.pack("<I", 3) + b"abc",
            b"jjZtext with spaces\0",
            b"kkH1AE3\0",
        ]
    )
    text = (
        b"aa:A:+\tbb:i:-1\tcc:i:255\tdd:i:-300\tee:i:60000\tff:i:-70000\tgg:i:4000000000\thh:f:9.5\t"
        b"jj:Z:text with spaces\tkk:H:1AE3"
    )
    assert tags_as_text(tags) == text
    for cut in range(len(tags)):
        assert text.startswith(tags_as_text(tags[:cut]).removesuffix(b"kk:A:"))
    assert tags_as_text(b"xxQ????") == b""


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"r\t4\t*\t0\t0\t*\t*\t0\t0\tACGT\tIII\n", FormatError),
        (b"r\t4\t*\t0\t0\t*\t*\t0\t0\tAC\0T\tIIII\n", FormatError),
        (b"r\t4\t*\t0\t0\t*\t*\t0\t0\tACGT\tII\x01I\n", FormatError),
        (b"r\tx\t*\t0\t0\t*\t*\t0\t0\tACGT\tIIII\n", FormatError),
        (b"r\t4\t*\t0\t0\t*\t*\t0\t0\tACGT\n", FormatError),
        (b"r\t4\t*\t0\t0\t*\t*\t0\t0\tACGT", TruncatedError),
        (b"r\t4\t*\t0\t0\t*\t*\t0\t0\tACGT\tIII", TruncatedError),
        (b"r\t4\t*\t0\t0\t*\t*\t0\t0\tACGT\t*", TruncatedError),
    ],
)
def test_a_damaged_sam_line_is_told_with_its_place(line: bytes, kind: type[ReadError]) -> None:
    found, error = outcome(SAM + line)
    assert found == EXPECTED
    assert type(error) is kind
    assert (error.record, error.offset) == (6, len(SAM))


def test_a_real_bam_cut_at_every_byte(shared: Shared, tmp_path: Path) -> None:
    made = first_records(shared / "data/reads/mpox/mpox_ubam_dev.bam", 3)
    made = [(name, sequence[:300], quality[:300]) for name, sequence, quality in made]
    data = bam(tmp_path / "x.bam", made).read_bytes()
    for cut in range(1, len(data)):
        found, error = outcome(data[:cut])
        assert found == made[: len(found)]
        assert isinstance(error, TruncatedError)
    assert outcome(data[:-28])[0] == made
    raw = gzip.decompress(data)
    for cut in range(5, len(raw)):
        found, error = outcome(raw[:cut])
        assert found == made[: len(found)]
        assert error is None or isinstance(error, TruncatedError)
        assert (error is None) == (cut in _ends(raw))


def _ends(raw: bytes) -> set[int]:
    at = 12 + int.from_bytes(raw[4:8], "little")
    ends = {at}
    while at < len(raw):
        at += 4 + int.from_bytes(raw[at : at + 4], "little")
        ends.add(at)
    return ends


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, (1 << 31) - 1),
        (0, 10),
        (0, -5),
        (20, -1),
        (20, 1 << 30),
    ],
)
def test_a_bam_record_that_contradicts_its_length_is_refused(tmp_path: Path, at: int, value: int) -> None:
    made = [("r1", b"ACGT", b"IIII"), ("r2", b"ACGT", b"IIII")]
    raw = bytearray(gzip.decompress(bam(tmp_path / "x.bam", made).read_bytes()))
    start = 12 + int.from_bytes(raw[4:8], "little")
    second = start + 4 + int.from_bytes(raw[start : start + 4], "little")
    raw[second + at : second + at + 4] = struct.pack("<i", value)
    found, error = outcome(bytes(raw))
    assert found == made[:1]
    assert type(error) is FormatError
    assert (error.record, error.offset) == (1, second)


@pytest.mark.parametrize("at", [4, -4])
def test_a_bam_header_with_impossible_lengths_is_refused(at: int) -> None:
    header = b"@HD\tVN:1.6\n"
    raw = bytearray(b"BAM\1" + struct.pack("<i", len(header)) + header + struct.pack("<i", 0))
    at %= len(raw)
    raw[at : at + 4] = struct.pack("<i", -2)
    assert type(outcome(bytes(raw))[1]) is FormatError


def test_the_reads_of_a_real_dorado_bam_are_those_that_pysam_gives(shared: Shared) -> None:
    path = shared / "data/pod5/dorado_modbase_out.bam"
    reads = list(open_reads(path))
    assert [(read.id, read.sequence, read.quality) for read in reads] == first_records(path, 10_000)
    header = reads[0].header
    assert header.run == "6d76dc86-a036-450f-9c02-ec29340db6d6"
    assert (header.channel, header.flow_cell) == (2548, "PAW48366")
    assert header.model == "dna_r10.4.1_e8.2_400bps_hac@v5.2.0"
