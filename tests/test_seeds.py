"""Seeds: the table row of each position, the same for both strands, found without a loop over bases."""

from __future__ import annotations

import numpy as np
import pytest
from made_genomes import Codes, complement, random_codes

torch = pytest.importorskip("torch", reason="training needs torch (extra `export`)")

from export.seeds import Seed, seed_rows  # noqa: E402

SPACED = Seed("11011011011011", 93_997)
SOLID = Seed("1111111", 1009)
LONGEST = Seed("111111111111", 16_777_213)
SEEDS = pytest.mark.parametrize("seed", [SPACED, SOLID, LONGEST], ids=lambda seed: seed.pattern)


def rows(codes: Codes, seed: Seed) -> list[int]:
    """The rows of one window."""
    return [int(row) for row in seed_rows(torch.from_numpy(codes[None, :]), seed)[0]]


def slow_row(window: Codes, seed: Seed) -> int:
    """The definition: both strands read as a number in base four, the smaller one modulo the rows."""
    sampled = [int(window[offset]) for offset in seed.offsets]
    if max(sampled) > 3:
        return seed.rows
    strands = (sampled, [3 - base for base in reversed(sampled)])
    return min(int("".join(map(str, strand)), 4) for strand in strands) % seed.rows


@SEEDS
def test_rows_are_those_of_the_definition(seed: Seed) -> None:
    codes = random_codes(np.random.default_rng(1), 300)
    codes[[40, 41, 150]] = 4
    codes[280:] = 5
    expected = [slow_row(codes[at : at + seed.span], seed) for at in range(300 - seed.span + 1)]
    assert rows(codes, seed) == expected + [seed.rows] * (seed.span - 1)


@SEEDS
def test_both_strands_hold_the_same_rows_in_reverse(seed: Seed) -> None:
    codes = random_codes(np.random.default_rng(2), 200)
    codes[60] = 4
    starts = 200 - seed.span + 1
    assert rows(complement(codes), seed)[:starts] == rows(codes, seed)[:starts][::-1]


def test_different_windows_have_different_rows() -> None:
    found = rows(random_codes(np.random.default_rng(3), 1000), SPACED)[:-13]
    assert len(set(found)) > 900


def test_an_unknown_base_takes_only_the_seeds_that_sample_it() -> None:
    codes = random_codes(np.random.default_rng(4), 60)
    holed = codes.copy()
    holed[30] = 4
    lost = {at for at, row in enumerate(rows(holed, SPACED)) if row == SPACED.rows and at <= 60 - SPACED.span}
    assert lost == {30 - offset for offset in SPACED.offsets}
    untouched = [at for at in range(60) if at not in lost]
    assert [rows(holed, SPACED)[at] for at in untouched] == [rows(codes, SPACED)[at] for at in untouched]


def test_padding_has_no_seeds() -> None:
    assert set(rows(np.full(32, 5, np.uint8), SPACED)) == {SPACED.rows}


def test_windows_shorter_than_a_seed_have_none() -> None:
    assert rows(random_codes(np.random.default_rng(5), 10), SPACED) == [SPACED.rows] * 10


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [("1101", "palindrome"), ("0110", "starts with 1"), ("1" * 13, "at most 12")],
)
def test_seeds_that_strands_or_float32_cannot_agree_on_are_refused(pattern: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Seed(pattern, 97)
