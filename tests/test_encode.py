"""Reads become rows: one translation where the tokenizer allows it, window by window where it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.encode import Encoder
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


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
@given(sequence=st.text("ACGTUNacgtunRY-*", max_size=90).map(str.encode), strand=st.sampled_from(["forward", "mean"]))
def test_rows_are_the_encoded_windows_of_each_strand(spec: dict[str, Any], sequence: bytes, strand: Strand) -> None:
    tokenizer = load_tokenizer(spec)
    encoder = Encoder(Input(window=16, stride=12, minimum=8, strand=strand, buckets=(16,)), tokenizer)
    encoded = encoder.plan(Read("r", sequence))
    normalised = normalise(sequence, "dna")
    expected = []
    for start, end in zip(encoded.starts, encoded.ends, strict=True):
        expected.append(tokenizer.encode(normalised[start:end]).tolist())
        if strand == "mean":
            expected.append(tokenizer.encode(reverse_complement(normalised[start:end])).tolist())
    assert [[*row] for row in encoder.rows(encoded, 0, len(encoded.starts))] == expected
    assert len(expected) == len(encoded.starts) * encoder.strands
    assert encoded.n_fraction == n_fraction(normalised, "dna")
    for window in range(len(encoded.starts)):
        first = window * encoder.strands
        some = [[*row] for row in encoder.rows(encoded, window, window + 1)]
        assert some == expected[first : first + encoder.strands]


def test_windows_that_give_no_token_are_left_out() -> None:
    encoder = Encoder(Input(window=16, stride=16), load_tokenizer(SPECS["words"]))
    assert len(encoder.plan(Read("r", b"AC")).starts) == 0
    assert encoder.plan(Read("r", b"ACGT" * 4 + b"AC")).ends.tolist() == [16]


@pytest.mark.parametrize("name", ["panel", "byte"])
def test_rows_of_plain_letters_are_bytes(name: str) -> None:
    encoder = Encoder(Input(window=16, stride=16), load_tokenizer(SPECS[name]))
    (row,) = encoder.rows(encoder.plan(Read("r", b"acgu")), 0, 1)
    assert row == (bytes([0, 1, 2, 3]) if name == "panel" else b"ACGT")


def test_the_ids_of_bytes_are_those_of_each_byte() -> None:
    for spec in SPECS.values():
        tokenizer = load_tokenizer(spec)
        if tokenizer.byte_ids is not None:
            ascii_text = bytes(range(128))
            np.testing.assert_array_equal(
                np.frombuffer(ascii_text.translate(tokenizer.byte_ids), np.uint8), tokenizer.encode(ascii_text)
            )
