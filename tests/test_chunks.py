"""Reads travel in chunks; whoever wants single reads gets them, in order and once."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from edgeseq.chunks import MOST_BASES, MOST_READS, Chunk, Reads, gathered
from edgeseq.errors import ReadError
from edgeseq.read import Read
from edgeseq.reads import open_reads

FASTQ = b"@r1 barcode=barcode01\nACGU\n+\nIIII\n@r2\n\n+\n\n@r\xff3\tBC:Z:barcode02\nNN\n+\n@@\n"


def named(*names: str, letters: bytes = b"ACGT") -> list[Read]:
    return [Read(name, letters, source="x") for name in names]


def test_the_columns_of_a_chunk() -> None:
    (chunk,) = open_reads(io.BytesIO(FASTQ)).chunks()
    assert (chunk.letters, chunk.lengths.tolist(), len(chunk)) == (b"ACGUNN", [4, 0, 2], 3)
    assert chunk.ids() == ["r1", "r2", "r\\xff3"]
    assert chunk.sources() == ["<stream>"] * 3
    assert chunk.barcodes() == ["barcode01", "", "barcode02"]


def test_a_chunk_cut_from_text_is_as_one_of_its_reads() -> None:
    (chunk,) = open_reads(io.BytesIO(FASTQ)).chunks()
    made = Chunk(list(chunk))
    assert (made.letters, made.lengths.tolist()) == (chunk.letters, chunk.lengths.tolist())
    assert (made.ids(), made.sources(), made.barcodes()) == (chunk.ids(), chunk.sources(), chunk.barcodes())
    for number, read in enumerate(made):
        other = chunk[number]
        assert (read.id, read.sequence, read.quality) == (other.id, other.sequence, other.quality)
        assert (read.description, read.record, read.offset) == (other.description, other.record, other.offset)
    assert chunk[-1].id == made[-1].id
    with pytest.raises(IndexError):
        chunk[3]


def test_reads_that_were_begun_one_by_one_go_on_in_chunks() -> None:
    reads = open_reads(io.BytesIO(FASTQ))
    assert next(reads).id == "r1"
    assert [chunk.ids() for chunk in reads.chunks()] == [["r2", "r\\xff3"]]
    assert list(reads) == []


def test_single_reads_are_gathered_until_nothing_more_comes_for_now() -> None:
    whole = Chunk(named("d"))
    first, pause, last, same = gathered([*named("a", "b"), None, *named("c"), whole])
    assert first is not None
    assert last is not None
    assert (first.ids(), pause, last.ids(), same) == (["a", "b"], None, ["c"], whole)


def test_gathered_chunks_are_bounded() -> None:
    many = gathered(named(*["r"] * (MOST_READS + 1)))
    assert [len(chunk) for chunk in many if chunk] == [MOST_READS, 1]
    long = gathered(named("a", "b", "c", letters=b"A" * (MOST_BASES // 2)))
    assert [len(chunk) for chunk in long if chunk] == [2, 1]


def test_an_error_comes_after_the_reads_before_it() -> None:
    def cut() -> Iterator[Read]:
        yield from named("a")
        raise ReadError("x", "it ends", record=1, offset=9)

    chunks = gathered(cut())
    assert [chunk.ids() for chunk in [next(chunks)] if chunk] == [["a"]]
    with pytest.raises(ReadError):
        next(chunks)


def test_closing_reads_closes_their_source() -> None:
    ended = []

    def source() -> Iterator[Chunk]:
        try:
            yield Chunk(named("a", "b"))
        finally:
            ended.append(True)

    reads = Reads(source())
    assert next(reads).id == "a"
    reads.close()
    assert ended == [True]
