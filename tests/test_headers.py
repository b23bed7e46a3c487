"""`parse_header` understands every dialect that sequencers and archives write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.headers import barcode, barcodes, folder_barcode, parse_header
from edgeseq.read import Header, Read

RUN = "6cb4091e08cd9be0b6a3a19e8875a996dd652dd7"
UUID = "7477eea4-9a90-4796-be0c-39a51818b7de"
MODEL = "dna_r10.4.1_e8.2_400bps_hac@v5.2.0"


def test_guppy_era() -> None:
    header = parse_header(f"runid={RUN} sampleid=no_sample read=17751 ch=291 start_time=2021-11-24T16:16:56Z".encode())
    assert (header.run, header.sample, header.number, header.channel) == (RUN, "no_sample", 17751, 291)
    assert header.start_time == "2021-11-24T16:16:56Z"


def test_keys_in_any_order_with_an_empty_value() -> None:
    header = parse_header(
        f"ch=5 flow_cell_id=FAY42760 sample_id= barcode=barcode01 parent_read_id=abc "
        f"basecall_model_version_id={MODEL} protocol_group_id=Peru runid={UUID}".encode()
    )
    assert header.run == UUID
    assert header.flow_cell == "FAY42760"
    assert header.sample == ""
    assert header.parent == "abc"
    assert header.model == MODEL
    assert header.tags["protocol_group_id"] == "Peru"
    assert header.tags["sample_id"] == ""


def test_of_a_repeated_key_the_last_value_that_is_not_empty_counts() -> None:
    assert parse_header(b"barcode=barcode20 ch=1 barcode=barcode09 barcode=").barcode == "barcode09"


def test_free_text_may_hold_spaces() -> None:
    assert parse_header(b"sample_id=swab 3 left ch=4").sample == "swab 3 left"


def test_id_only() -> None:
    assert parse_header(b"") == Header()


def test_dorado_tags_parted_by_tabs() -> None:
    header = parse_header(
        f"st:Z:2024-05-09T06:17:06.877+00:00\tRG:Z:{UUID}_{MODEL}_SQK-NBD114-24_barcode03\t"
        f"DS:Z:gpu:Tesla V100\tqs:f:9.5\tch:i:2548\trn:i:17\tpi:Z:parent".encode()
    )
    assert header.start_time == "2024-05-09T06:17:06.877+00:00"
    assert (header.run, header.model, header.barcode) == (UUID, MODEL, "barcode03")
    assert (header.channel, header.number, header.parent) == (2548, 17, "parent")
    assert header.tags["DS"] == "gpu:Tesla V100"


@pytest.mark.parametrize(
    ("group", "run", "model", "barcode"),
    [
        (f"{RUN}_{MODEL}", RUN, MODEL, ""),
        (f"{UUID}_{MODEL}_barcode12", UUID, MODEL, "barcode12"),
        (f"{UUID}_{MODEL}_unclassified", UUID, MODEL, "unclassified"),
        (f"{UUID}_{MODEL}_SQK-RBK114-96_barcode96", UUID, MODEL, "barcode96"),
        (f"{UUID}_{MODEL}_4mC_5mC@v1_6mA@v1_barcode02", UUID, MODEL, "barcode02"),
        (f"{RUN}_dna_r9.4.1_sup_barcode05", RUN, "dna_r9.4.1_sup", "barcode05"),
        ("lane1", "", "", ""),
    ],
)
def test_read_group(group: str, run: str, model: str, barcode: str) -> None:
    header = parse_header(b"RG:Z:" + group.encode())
    assert (header.run, header.model, header.barcode) == (run, model, barcode)


def test_the_description_tag_names_run_and_model() -> None:
    header = parse_header(f"qs:f:9\tDS:Z:runid={RUN} basecall_model={MODEL}".encode())
    assert (header.run, header.model) == (RUN, MODEL)


@pytest.mark.parametrize(("tag", "value"), [(b"ts:i:1006", "1006"), (b"ts:A:+", "+")])
def test_ts_means_one_thing_to_dorado_and_another_to_minimap2(tag: bytes, value: str) -> None:
    assert parse_header(tag).tags == {"ts": value}


def test_samtools_copies_any_tags_but_arrays_are_left_out() -> None:
    header = parse_header(b"MM:Z:C+m.,1;\tML:B:C,1,2\tNM:i:3\tzz:H:1AF0")
    assert header.tags == {"MM": "C+m.,1;", "NM": "3", "zz": "1AF0"}


def test_archive_re_export() -> None:
    assert parse_header(b"1 length=654").tags == {"length": "654"}


def test_dialects_may_be_mixed() -> None:
    header = parse_header(f"runid={RUN} ch=9\tst:Z:2024-01-01T00:00:00Z".encode())
    assert (header.run, header.channel, header.start_time) == (RUN, 9, "2024-01-01T00:00:00Z")


@pytest.mark.parametrize("value", [b"ch=x", b"ch=-1", b"ch=", b"ch=9999999999999", "ch=\u0663".encode(), b"ch:Z:abc"])
def test_a_channel_that_is_no_number_is_none(value: bytes) -> None:
    assert parse_header(value).channel is None


@pytest.mark.parametrize(
    ("source", "barcode"),
    [
        ("run/fastq_pass/barcode07/x.fastq", "barcode07"),
        ("run/fastq_fail/unclassified/x.fastq.gz", "unclassified"),
        ("run/bam_pass/patient-3/x.bam", "patient-3"),
        ("run/pass/Barcode11/sub/x.bam", "barcode11"),
        ("barcode01/run/fastq_pass/barcode02/x.fastq", "barcode02"),
        ("run/fastq_pass/x.fastq", ""),
        ("barcode07.fastq", ""),
        ("C:\\data\\barcode05\\x.fastq", "barcode05"),
        ("-", ""),
    ],
)
def test_barcode_folders(source: str, barcode: str) -> None:
    assert folder_barcode(source) == barcode
    assert parse_header(b"", source=source).barcode == barcode


@pytest.mark.parametrize(
    ("folder", "description", "conflict"),
    [
        ("fastq_pass/barcode93", b"barcode=barcode02 barcode_alias=barcode02", "barcode02"),
        ("fastq_pass/barcode93", b"barcode=barcode93", None),
        ("fastq_pass/barcode93", b"BC:Z:SQK-NBD114-96_barcode93", None),
        ("fastq_pass/barcode93", b"barcode=unclassified", "unclassified"),
        ("fastq_pass/swab", b"barcode=barcode07 barcode_alias=swab", None),
        ("fastq_pass/swab", b"barcode=barcode07 barcode_alias=blood", "blood"),
        ("fastq_pass/swab", b"barcode=barcode07", None),
    ],
)
def test_the_folder_wins_over_the_header_and_conflicts_are_told(
    folder: str, description: bytes, conflict: str | None
) -> None:
    header = parse_header(description, source=f"{folder}/x.fastq")
    assert header.barcode == folder.removeprefix("fastq_pass/")
    assert header.tags.get("barcode_conflict") == conflict


GROUP = f"RG:Z:{RUN}_dna_r10.4.1_e8.2_400bps_sup@v5.0.0_SQK-RBK114-24_barcode11"
PIECES = (
    *("barcode=barcode07", "barcode=", "barcode=x", "barcode=SQK-NBD114-24_barcode03", "xbarcode=barcode09", "ch=3"),
    *("BC:Z:barcode05", "BC:Z:", "BC=barcode06", "BC:i:3", "barcode_alias=site barcode=", "DS:Z:barcode=barcode12"),
    *(GROUP, "RG:Z:group", "RG=x", "RG:Z:", "CO:Z:some BC:Z:barcode08", "DS:Z:BC=barcode13 RG=y"),
    *("barcode=\u00e9", "\u00a0", "\x1c", "\r", "\n"),
)


@given(
    parts=st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from([" ", "\t", "", "  "])), max_size=6),
    source=st.sampled_from(["", "reads.fastq", "barcode02/reads.fastq", "fastq_pass/swab/reads.fastq"]),
)
def test_the_barcode_alone_is_that_of_the_whole_header(parts: list[tuple[str, str]], source: str) -> None:
    description = "".join(piece + end for piece, end in parts).encode()
    whole = parse_header(description, source=source).barcode
    assert barcode(description, source) == whole
    assert Read("r", b"A", description=description, source=source).barcode == whole


@given(
    reads=st.lists(
        st.lists(st.sampled_from([piece for piece in PIECES if piece != "\n"]), max_size=3).map(" ".join), max_size=5
    ),
    source=st.sampled_from(["reads.fastq", "barcode02/reads.fastq"]),
    tabs=st.booleans(),
)
def test_barcodes_of_several_reads_are_those_of_each(reads: list[str], source: str, tabs: bool) -> None:
    descriptions = [read.replace(" ", "\t" if tabs else " ").encode() for read in reads]
    assert barcodes(descriptions, source) == [barcode(description, source) for description in descriptions]


def test_a_header_at_hand_gives_its_barcode() -> None:
    assert Read("r", b"A", description=b"barcode=barcode01", header=Header(barcode="swab")).barcode == "swab"


def test_a_read_is_not_its_own_parent() -> None:
    assert Read("r1", b"A", description=b"parent_read_id=r1").header.parent == ""
    assert Read("r1", b"A", description=b"parent_read_id=r0").header.parent == "r0"


@given(st.binary(max_size=200))
def test_nothing_raises(description: bytes) -> None:
    assert isinstance(parse_header(description, source="barcode01/x"), Header)
