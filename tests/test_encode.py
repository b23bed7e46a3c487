"""Reads become rows: one translation where the tokenizer allows it, window by window where it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.chunks import Chunk
from edgeseq.encode import EncodedChunk, Encoder
from edgeseq.manifest import Input, Strand
from edgeseq.normalise import n_fraction, normalise, reverse_complement
from edgeseq.read import Read
from edgeseq.tokenizers import load_tokenizer

PANEL: dict[str, Any] = {"type": "nucleotide", "vocabulary": {"A": 0, "C": 1, "G": 2, "T": 3, "N": 4}, "pad": 5}
SPECS = {
    "panel": PANEL,
    "byte": {"type": "byte", "pad": 1},
    "n is a": {**PANEL, "vocabulary": {"A": 0, "C": 1, "G": 2, "T": 3}, "unknown": 0},
    "framed": {**PANEL, "pad": 7, "prefix": [5], "suffix": [6]},
    "cut": {**PANEL, "max_length": 9},
    "words": {"type": "kmer", "k": 3, "first": 1, "unknown": 0, "pad": 0, "overlap": True},
}


letters = st.text("ACGTUNacgtunRY-*", max_size=90).map(str.encode)


def chunk(*sequences: bytes) -> Chunk:
    return Chunk([Read(f"r{number}", sequence) for number, sequence in enumerate(sequences)])


def rows_of(encoder: Encoder, encoded: EncodedChunk, *windows: int) -> list[list[int]]:
    rows = encoder.rows(encoded, np.array(windows) if windows else None)
    return [rows.ids[start : start + length].tolist() for start, length in zip(rows.starts, rows.lengths, strict=True)]


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
@given(sequences=st.lists(letters, min_size=1, max_size=4), strand=st.sampled_from(["forward", "mean"]))
def test_rows_are_the_encoded_windows_of_each_strand(
    spec: dict[str, Any], sequences: list[bytes], strand: Strand
) -> None:
    tokenizer = load_tokenizer(spec)
    encoder = Encoder(Input(window=16, stride=12, minimum=8, strand=strand, buckets=(16,)), tokenizer)
    encoded = encoder.plan(chunk(*sequences))
    expected = []
    for number, sequence in enumerate(sequences):
        normalised = normalise(sequence, "dna")
        windows = slice(encoded.first[number], encoded.first[number] + encoded.counts[number])
        for start, end in zip(encoded.starts[windows], encoded.ends[windows], strict=True):
            expected.append(tokenizer.encode(normalised[start:end]).tolist())
            if strand == "mean":
                expected.append(tokenizer.encode(reverse_complement(normalised[start:end])).tolist())
        assert encoded.n_fractions[number] == n_fraction(normalised, "dna")
    assert len(expected) == len(encoded.starts) * encoder.strands
    for window in range(len(encoded.starts)):
        first = window * encoder.strands
        assert rows_of(encoder, encoded, window) == expected[first : first + encoder.strands]
    assert rows_of(encoder, encoded) == expected


def test_rows_are_numbered_from_chunk_to_chunk() -> None:
    encoder = Encoder(Input(window=16, stride=16, strand="mean"), load_tokenizer(PANEL))
    encoded = encoder.plan(chunk(b"ACGT" * 8, b"ACG"))
    encoded.first_row = 100
    assert encoder.rows(encoded).numbers.tolist() == [100, 101, 102, 103, 104, 105]
    assert encoder.rows(encoded, np.array([2])).numbers.tolist() == [104, 105]


def test_windows_that_give_no_token_are_left_out() -> None:
    encoder = Encoder(Input(window=16, stride=16), load_tokenizer(SPECS["words"]))
    encoded = encoder.plan(chunk(b"ACG", b"AC", b"", b"ACGT" * 4 + b"AC"))
    assert encoded.counts.tolist() == [1, 0, 0, 1]
    assert encoded.ends.tolist() == [3, 16]
    assert [len(row) for row in rows_of(encoder, encoded)] == [1, 14]


@pytest.mark.parametrize("name", ["panel", "byte"])
def test_rows_of_plain_letters_share_one_array(name: str) -> None:
    encoder = Encoder(Input(window=16, stride=16), load_tokenizer(SPECS[name]))
    rows = encoder.rows(encoder.plan(chunk(b"acgu", b"T")))
    assert bytes(rows.ids) == (bytes([0, 1, 2, 3, 3]) if name == "panel" else b"ACGTT")
    assert (rows.starts.tolist(), rows.lengths.tolist()) == ([0, 4], [4, 1])


def test_the_ids_of_bytes_are_those_of_each_byte() -> None:
    for spec in SPECS.values():
        tokenizer = load_tokenizer(spec)
        if tokenizer.byte_ids is not None:
            ascii_text = bytes(range(128))
            np.testing.assert_array_equal(
                np.frombuffer(ascii_text.translate(tokenizer.byte_ids), np.uint8), tokenizer.encode(ascii_text)
            )
