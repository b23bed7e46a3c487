"""Sketches estimate how alike two sequences are, on either strand and from parts of them, and cluster records by it."""

from __future__ import annotations

import numpy as np
import pytest
from made_genomes import Codes, complement, random_codes, relative

from export.sketches import canonical_kmers, clusters, identities, sketch

RNG = np.random.default_rng(1)
ANCESTOR = random_codes(RNG, 30_000)


def identity(first: Codes, second: Codes) -> float:
    return float(identities([sketch(first)], [sketch(second)])[0, 0])


def test_kmers_are_those_of_the_definition() -> None:
    aac, caa, gca = 0b00_00_01, 0b01_00_00, 0b10_01_00
    assert canonical_kmers(np.array([0, 0, 1, 4, 3, 3, 2, 1], np.uint8), 3).tolist() == [aac, caa, gca]


@pytest.mark.parametrize("difference", [0.0, 0.001, 0.01, 0.03, 0.06, 0.10])
def test_identity_is_estimated_within_a_percent(difference: float) -> None:
    assert identity(ANCESTOR, relative(RNG, ANCESTOR, difference)) == pytest.approx(1 - difference, abs=0.01)


def test_identity_does_not_depend_on_the_strand() -> None:
    other = relative(RNG, ANCESTOR, 0.05)
    assert identity(ANCESTOR, complement(other)) == identity(ANCESTOR, other)


def test_a_part_is_as_identical_as_the_whole() -> None:
    assert identity(ANCESTOR, ANCESTOR[9_000:14_000]) == 1.0


def test_unrelated_sequences_share_nothing() -> None:
    assert identity(ANCESTOR, random_codes(RNG, 30_000)) < 0.75


def test_records_cluster_by_single_linkage() -> None:
    """Each step of the chain is 3 % of the bases; its ends are joined through the middle, strangers are not."""
    middle = relative(RNG, ANCESTOR, 0.03)
    end = relative(RNG, middle, 0.03)
    stranger = random_codes(RNG, 30_000)
    records = [sketch(codes) for codes in (ANCESTOR, stranger, end, complement(middle), relative(RNG, stranger, 0.01))]
    loose, tight = clusters(records, 0.96), clusters(records, 0.98)
    assert identities([records[0]], [records[2]])[0, 0] < 0.96
    assert loose[0] == loose[2] == loose[3] != loose[1] == loose[4]
    assert len(set(tight)) == 4
    assert tight[1] == tight[4]


def test_records_without_a_sketch_stand_alone() -> None:
    """Records shorter than a k-mer, and of N alone."""
    found = clusters([sketch(np.zeros(10, np.uint8)), sketch(np.full(500, 4, np.uint8)), sketch(ANCESTOR)], 0.9)
    assert len(set(found)) == 3
