"""`decompressed` gives the bytes of a gzip stream, all of them up to any damage, and says what the damage is."""

from __future__ import annotations

import gzip
import io
import random
import zlib
from typing import BinaryIO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_reads import drip, members

from edgeseq.errors import FormatError, ReadError, TruncatedError, UsageError
from edgeseq.inflate import PIECE, STEP, DamageError, decompressed

BGZF_BLOCK = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0"
BGZF_END = BGZF_BLOCK + b"\x1b\0\x03\0" + bytes(8)
TEXT = bytes(random.Random(3).choices(b"ACGT", k=5000))


def content(file: BinaryIO) -> tuple[bytes, DamageError | None]:
    out = []
    try:
        for piece in decompressed(file):
            assert 0 < len(piece) <= PIECE
            out.append(piece)
    except DamageError as damage:
        return b"".join(out), damage
    return b"".join(out), None


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=8), st.integers(0, 9))
def test_any_number_of_members_from_any_chunks(parts: list[bytes], seed: int) -> None:
    data = b"".join(gzip.compress(part) for part in parts)
    assert content(io.BytesIO(data)) == (b"".join(parts), None)
    assert content(drip(data, seed)) == (b"".join(parts), None)


@given(st.binary(max_size=300))
def test_what_is_not_gzip_comes_through(data: bytes) -> None:
    if not data.startswith(b"\x1f"):
        assert content(drip(data)) == (data, None)


def test_large_members() -> None:
    text = TEXT * 1000
    assert content(io.BytesIO(members(text, 3))) == (text, None)


def test_a_decompression_bomb_comes_in_small_pieces() -> None:
    sizes = [len(piece) for piece in decompressed(io.BytesIO(gzip.compress(bytes(30 * PIECE))))]
    assert sum(sizes) == 30 * PIECE
    assert max(sizes) <= PIECE


def test_every_optional_part_of_a_member_header_is_passed_over() -> None:
    raw = zlib.compressobj(wbits=-15)
    body = raw.compress(b"text") + raw.flush()
    head = b"\x1f\x8b\x08\x1e\0\0\0\0\0\xff" + b"\x03\0abc" + b"name\0" + b"comment\0" + b"\x12\x34"
    data = head + body + zlib.crc32(b"text").to_bytes(4, "little") + (4).to_bytes(4, "little")
    assert content(drip(data * 3, most=3)) == (b"text" * 3, None)


def test_zeros_may_follow() -> None:
    assert content(drip(gzip.compress(b"text") + bytes(700))) == (b"text", None)
    assert content(drip(gzip.compress(b"a") + bytes(3) + gzip.compress(b"b"))) == (b"ab", None)


def test_nothing_else_may_follow() -> None:
    text, damage = content(io.BytesIO(gzip.compress(b"text") + b"junk"))
    assert (text, damage and damage.kind) == (b"text", FormatError)


@pytest.mark.parametrize("pipe", [False, True])
def test_cut_at_every_byte_all_that_can_be_decoded_comes_out(pipe: bool) -> None:
    parts = [TEXT[:400], b"", TEXT[400:900]]
    data = b"".join(gzip.compress(part) for part in parts)
    edges = {0, *(len(b"".join(gzip.compress(part) for part in parts[:count])) for count in (1, 2, 3))}
    for cut in range(len(data) + 1):
        text, damage = content(drip(data[:cut]) if pipe else io.BytesIO(data[:cut]))
        whole, rest = b"", data[:cut]
        while rest:
            decoder = zlib.decompressobj(31)
            whole += decoder.decompress(rest)
            rest = decoder.unused_data
        assert text == whole
        assert (damage is None) == (cut in edges)
        if damage:
            assert damage.kind is TruncatedError


@pytest.mark.parametrize("back", [8, 1])
def test_a_wrong_checksum_or_length_is_told_after_the_content(back: int) -> None:
    data = bytearray(gzip.compress(TEXT))
    data[-back] ^= 1
    text, damage = content(io.BytesIO(bytes(data)))
    assert text == TEXT
    assert damage is not None
    assert damage.kind is FormatError


def test_before_bad_deflate_data_the_same_comes_out_as_from_zlib_byte_by_byte() -> None:
    good = gzip.compress(TEXT * 40, 1)
    rng = random.Random(1)
    cut_short = 0
    for _ in range(30):
        data = bytearray(gzip.compress(b"first") + good)
        hole = rng.randrange(len(data) - len(good) + 20, len(data) - 80)
        data[hole : hole + 60] = rng.choice([rng.randbytes(60), bytes(60), b"\xff" * 60])
        decoder = zlib.decompressobj(-15)
        expected = [b"first"]
        try:
            body = range(len(data) - len(good) + 10, len(data))
            expected.extend(decoder.decompress(data[at : at + 1]) for at in body)
        except zlib.error:
            cut_short += 1
        text, damage = content(io.BytesIO(bytes(data)))
        assert damage is not None
        assert text == b"".join(expected)
    assert cut_short > 3


def test_on_a_pipe_bad_deflate_data_costs_one_step_at_most() -> None:
    text = random.Random(5).randbytes(10 * STEP)
    data = bytearray(gzip.compress(text))
    data[7 * STEP] ^= 255
    data[7 * STEP + 1 :] = bytes(len(data) - 7 * STEP - 1)
    got, damage = content(drip(bytes(data), most=9999))
    assert damage is not None
    assert len(got) >= 6 * STEP - 100
    assert got[: 6 * STEP - 100] == text[: 6 * STEP - 100]


def test_bgzf_must_end_with_its_end_block() -> None:
    raw = zlib.compressobj(wbits=-15)
    body = raw.compress(b"text") + raw.flush()
    block = BGZF_BLOCK + (len(body) + 25).to_bytes(2, "little") + body
    block += zlib.crc32(b"text").to_bytes(4, "little") + (4).to_bytes(4, "little")
    assert content(io.BytesIO(block * 2 + BGZF_END)) == (b"texttext", None)
    text, damage = content(io.BytesIO(block * 2))
    assert (text, damage and damage.kind) == (b"texttext", TruncatedError)


@pytest.mark.parametrize("byte", [2, 3])
def test_unknown_methods_and_flags_are_refused(byte: int) -> None:
    data = bytearray(gzip.compress(b"text"))
    data[byte] = 0xE7
    _, damage = content(io.BytesIO(bytes(data)))
    assert damage is not None
    assert damage.kind is FormatError


def test_an_endless_member_header_is_refused() -> None:
    _, damage = content(io.BytesIO(b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + b"x" * 2_000_000))
    assert damage is not None
    assert "endless" in damage.problem


class Failing(io.RawIOBase):
    def __init__(self, answers: list[bytes | None]) -> None:
        self.answers = answers

    def read(self, _: int = -1) -> bytes | None:
        if not self.answers:
            raise OSError(5, "Input/output error")
        return self.answers.pop(0)


def test_an_error_of_the_system_is_told() -> None:
    text, damage = content(cast(BinaryIO, Failing([b"text"])))
    assert text == b"text"
    assert damage is not None
    assert damage.kind is ReadError
    assert "Input/output error" in damage.problem


def test_a_source_that_has_no_data_yet_is_told() -> None:
    _, damage = content(cast(BinaryIO, Failing([b"text", None])))
    assert damage is not None
    assert "blocking mode" in damage.remedy


def test_a_text_file_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(UsageError, match="binary mode"):
        content(cast(BinaryIO, io.StringIO("@a\nA\n+\nI\n")))
