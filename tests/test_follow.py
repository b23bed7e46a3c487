"""A growing file: every whole read comes out once, in order, as soon as its last byte is there."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from pathlib import Path

import pysam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeseq.errors import FormatError, ReadError, TruncatedError
from edgeseq.watch.follow import Follower

RECORDS = [f"@read{number} ch={number}\n{'ACGT' * (number + 1)}\n+\n{'I' * 4 * (number + 1)}\n" for number in range(6)]
FASTQ = "".join(RECORDS).encode()
IDS = [f"read{number}" for number in range(6)]


def ids(follower: Follower) -> list[str]:
    return [read.id for gained in follower.poll() for read in gained.chunk]


def until_damage(follower: Follower) -> tuple[list[str], ReadError]:
    found: list[str] = []
    try:
        for gained in follower.poll():
            found += gained.chunk.ids()
    except ReadError as error:
        return found, error
    raise AssertionError("no damage was reported")


def grown(path: Path, data: bytes, cuts: list[int]) -> Iterator[tuple[int, list[str]]]:
    """Writes ``data`` piece by piece and polls after each."""
    follower = Follower(str(path))
    path.write_bytes(b"")
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        with path.open("ab") as file:
            file.write(data[start:end])
        yield end, ids(follower)


@pytest.mark.parametrize("step", [1, 7, 50])
def test_a_read_comes_out_with_its_last_byte(tmp_path: Path, step: int) -> None:
    ends = [len("".join(RECORDS[: number + 1])) - 1 for number in range(6)]  # the line end itself may be missing
    found: list[str] = []
    for end, gained in grown(tmp_path / "a.fastq", FASTQ, list(range(step, len(FASTQ), step))):
        found += gained
        assert found == IDS[: sum(last <= end for last in ends)]
    assert found == IDS


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 10_000), max_size=6), st.integers(1, 4), st.randoms(use_true_random=False))
def test_gzip_of_any_number_of_members_cut_anywhere(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], members: int, chance: random.Random
) -> None:
    bounds = sorted(chance.randrange(len(FASTQ)) for _ in range(members - 1))
    parts = zip([0, *bounds], [*bounds, len(FASTQ)], strict=True)
    data = b"".join(gzip.compress(FASTQ[start:end]) for start, end in parts)
    path = tmp_path_factory.mktemp("gz") / "a.fastq.gz"
    places = sorted(min(cut, len(data)) for cut in cuts)
    assert [read for _, found in grown(path, data, places) for read in found] == IDS


def test_the_place_after_each_read_is_where_another_follower_goes_on(tmp_path: Path) -> None:
    for name, data in (("a.fastq", FASTQ), ("a.fastq.gz", gzip.compress(FASTQ))):
        path = tmp_path / name
        path.write_bytes(data)
        follower = Follower(str(path))
        (gained,) = follower.poll()
        assert (gained.offset, gained.records) == (len(FASTQ), 6)
        half = len("".join(RECORDS[:3]))
        later = Follower(str(path), offset=half, records=3)
        assert ids(later) == IDS[3:]
        assert (later.offset, later.records) == (len(FASTQ), 6)


def test_the_last_fasta_record_waits_until_nothing_follows(tmp_path: Path) -> None:
    path = tmp_path / "a.fasta"
    path.write_bytes(b">a\nACGT\n>b\nAC")
    follower = Follower(str(path))
    assert ids(follower) == ["a"]
    with path.open("ab") as file:
        file.write(b"GT\nTTTT\n")
    assert ids(follower) == []
    assert [read.sequence for gained in follower.finish() for read in gained.chunk] == [b"ACGTTTTT"]


def test_a_renamed_file_is_followed_under_its_new_name(tmp_path: Path) -> None:
    path = tmp_path / "a.fastq"
    path.write_bytes(FASTQ[:100])
    follower = Follower(str(path))
    found = ids(follower)
    path.rename(tmp_path / "b.fastq")
    assert ids(follower) == []
    follower.path = str(tmp_path / "b.fastq")
    with (tmp_path / "b.fastq").open("ab") as file:
        file.write(FASTQ[100:])
    assert found + ids(follower) == IDS


def test_a_file_that_ends_in_a_record_says_so_when_it_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "a.fastq"
    path.write_bytes(FASTQ[:-8])
    follower = Follower(str(path))
    assert ids(follower) == IDS[:5]
    with pytest.raises(TruncatedError, match=r"record 6 at byte 200") as caught:
        list(follower.finish())
    assert caught.value.record == 5


@pytest.mark.parametrize("tail", [b"garbage\n" * 4, b"@x\nACGT\n+\nII\n@y\nA\n+\nI\n"])
def test_damage_is_reported_once_after_the_reads_before_it(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "a.fastq"
    path.write_bytes(FASTQ + tail)
    follower = Follower(str(path))
    found, error = until_damage(follower)
    assert found == IDS
    assert isinstance(error, FormatError)
    assert error.record == 6
    assert ids(follower) == []


def test_corrupt_gzip_is_reported_once_after_what_can_be_read(tmp_path: Path) -> None:
    chance = random.Random(3)
    records = "".join(
        f"@r{n}\n{(s := ''.join(chance.choices('ACGT', k=400)))}\n+\n{'I' * len(s)}\n" for n in range(2000)
    )
    data = bytearray(gzip.compress(records.encode()))
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    path = tmp_path / "a.fastq.gz"
    path.write_bytes(data)
    follower = Follower(str(path))
    found, error = until_damage(follower)
    assert error.record == len(found)
    assert found == [f"r{n}" for n in range(len(found))]
    assert 900 < len(found) < 1100
    assert ids(follower) == []


def test_files_without_reads_are_passed_over(tmp_path: Path) -> None:
    for name, text in (("sequencing_summary.txt", "filename\tread_id\nx\ty\nx\ty\n"), ("log.json", '{"a": 1}\n\n\n\n')):
        (tmp_path / name).write_text(text)
        follower = Follower(str(tmp_path / name))
        assert ids(follower) == []
        assert follower.kind == "other"
        assert list(follower.finish()) == []


def test_a_bam_file_waits_for_its_end_block(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.bam", tmp_path / "a.bam"
    with pysam.AlignmentFile(str(whole), "wb", header={"HD": {"VN": "1.6"}}) as bam:
        for number in range(3):
            read = pysam.AlignedSegment(bam.header)
            read.query_name, read.query_sequence, read.flag = f"read{number}", "ACGT" * 60, 4
            bam.write(read)
    data = whole.read_bytes()
    follower = Follower(str(path))
    for end in (40, len(data) - 28, len(data) - 1):
        path.write_bytes(data[:end])
        assert ids(follower) == []
    path.write_bytes(data)
    assert ids(follower) == IDS[:3]
    assert ids(Follower(str(path), records=2)) == IDS[2:3]


def test_a_file_that_is_not_there_gives_nothing(tmp_path: Path) -> None:
    assert ids(Follower(str(tmp_path / "soon.fastq"))) == []
