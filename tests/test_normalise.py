"""One function makes every sequence that a model sees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.normalise import Alphabet, n_fraction, normalise, reverse_complement


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (b"", b""),
        (b"ACGT", b"ACGT"),
        (b"acgtn", b"ACGTN"),
        (b"ACGU", b"ACGT"),
        (b"acgu", b"ACGT"),
        (b"RYKMSWBDHVN", b"NNNNNNNNNNN"),
        (b"AC-GT. *", b"ACNGTNNN"),
        (b"A\x00C\xffG\n", b"ANCNGN"),
    ],
)
def test_dna_keeps_four_letters(given_: bytes, expected: bytes) -> None:
    assert normalise(given_, "dna") == expected


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (b"ACDEFGHIKLMNPQRSTVWY", b"ACDEFGHIKLMNPQRSTVWY"),
        (b"mktayiakqr", b"MKTAYIAKQR"),
        (b"BZUOX", b"BZUOX"),
        (b"MJ*-. 1", b"MXXXXXX"),
        (b"U", b"U"),
    ],
)
def test_protein_keeps_residue_letters(given_: bytes, expected: bytes) -> None:
    assert normalise(given_, "protein") == expected


@given(st.binary(max_size=300), st.sampled_from(["dna", "protein"]))
def test_length_stays_and_a_second_time_changes_nothing(sequence: bytes, alphabet: Alphabet) -> None:
    once = normalise(sequence, alphabet)
    assert len(once) == len(sequence)
    assert normalise(once, alphabet) == once
    assert set(once) <= set(b"ACGTN" if alphabet == "dna" else b"ACDEFGHIKLMNPQRSTVWYBZUOX")


def test_n_fraction_counts_unknown_letters() -> None:
    assert n_fraction(b"ACGTNNNN", "dna") == 0.5
    assert n_fraction(b"MNNX", "protein") == 0.25
    assert n_fraction(b"", "dna") == 0.0


def test_reverse_complement_reads_the_other_strand() -> None:
    assert reverse_complement(b"AACGTN") == b"NACGTT"
    assert reverse_complement(b"acgU") == b"Acgt"
    assert reverse_complement(b"RYKMBDHVSW") == b"WSBDHVKMRY"


@given(st.text(alphabet="ACGTN", max_size=300).map(str.encode))
def test_both_strands_of_a_normalised_sequence_are_normalised(sequence: bytes) -> None:
    other = reverse_complement(sequence)
    assert normalise(other, "dna") == other
    assert reverse_complement(other) == sequence
