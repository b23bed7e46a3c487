"""Simulated reads: of known origin, on either strand, with the errors that the profile asks for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_genomes import EXACT, Codes, complement, letters, random_codes

from export.simulate import ADAPTERS, PAD, UNKNOWN, ErrorProfile, Sources, error_rates, mutate, reads

EVEN = ErrorProfile(homopolymer=0.0, adapter=0.0, unknown=0.0)


def simulated(
    profile: ErrorProfile, records: list[Codes], count: int, length: int, width: int, *, seed: int = 1
) -> list[Codes]:
    """``count`` reads of random records, without their padding."""
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, len(records), count)
    rows = reads(rng, Sources.of(records), chosen, np.full(count, length), width, profile)
    assert rows.shape == (count, width)
    assert rows.dtype == np.uint8
    return [row[row != PAD] for row in rows]


def test_reads_without_errors_are_stretches_of_either_strand() -> None:
    record = random_codes(np.random.default_rng(0), 900)
    record[450:455] = UNKNOWN
    forward, backward = letters(record), letters(complement(record))
    found = [letters(read) for read in simulated(EXACT, [record], 200, 300, 512)]
    assert {len(read) for read in found} == {300}
    assert all(read in forward or read in backward for read in found)
    assert 60 < sum(read in forward for read in found) < 140
    assert any("N" in read for read in found)


def test_reads_cover_a_record_to_both_ends_and_never_reach_into_the_next() -> None:
    records = [np.full(40, base, np.uint8) for base in (0, 1)]
    found = simulated(EXACT, records, 400, 30, 64)
    assert {letters(read) for read in found} == {base * 30 for base in "ACGT"}
    ramp = random_codes(np.random.default_rng(3), 50)
    starts = {letters(ramp).find(letters(read)) for read in simulated(EXACT, [ramp], 2000, 30, 64)} - {-1}
    assert starts == set(range(21))


def test_reads_longer_than_their_record_are_the_whole_record() -> None:
    record = random_codes(np.random.default_rng(4), 70)
    found = {letters(read) for read in simulated(EXACT, [record], 50, 500, 512)}
    assert found == {letters(record), letters(complement(record))}


def test_padding_follows_the_read_and_long_reads_are_cut() -> None:
    record = random_codes(np.random.default_rng(5), 400)
    rng = np.random.default_rng(1)
    lengths = np.array([100, 256, 300])
    rows = reads(rng, Sources.of([record]), np.zeros(3, np.int64), lengths, 256, EXACT)
    assert (rows[0, :100] != PAD).all()
    assert (rows[0, 100:] == PAD).all()
    assert (rows[1:] != PAD).all()


def test_the_same_seed_gives_the_same_reads() -> None:
    record = random_codes(np.random.default_rng(6), 2000)
    first, again, other = (
        [letters(read) for read in simulated(ErrorProfile(), [record], 20, 400, 512, seed=seed)] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.15])
def test_errors_are_as_frequent_and_as_mixed_as_asked_for(rate: float) -> None:
    """Each kind alone, so that it can be counted without an alignment."""
    codes = random_codes(np.random.default_rng(7), 400_000)
    owner, rates = np.zeros(len(codes), np.int32), np.array([rate], np.float32)

    def errors(substitution: float = 0.0, insertion: float = 0.0, deletion: float = 0.0) -> Codes:
        profile = replace(EVEN, substitution=substitution, insertion=insertion, deletion=deletion)
        return mutate(np.random.default_rng(8), codes, owner, rates, profile)[0]

    substituted = errors(substitution=0.34)
    assert len(substituted) == len(codes)
    assert np.mean(substituted != codes) == pytest.approx(0.34 * rate, rel=0.1)
    assert 1 - len(errors(deletion=0.42)) / len(codes) == pytest.approx(0.42 * rate, rel=0.1)
    assert len(errors(insertion=0.24)) / len(codes) - 1 == pytest.approx(0.24 * rate, rel=0.1)


def test_rates_of_reads_follow_the_bands_of_the_profile() -> None:
    rates = error_rates(np.random.default_rng(9), 20_000, ErrorProfile(rates=((3.0, 0.01, 0.02), (1.0, 0.10, 0.20))))
    low = rates < 0.05
    assert low.mean() == pytest.approx(0.75, abs=0.02)
    assert ((rates[low] >= 0.01) & (rates[low] <= 0.02)).all()
    assert ((rates[~low] >= 0.10) & (rates[~low] <= 0.20)).all()
    assert rates[~low].mean() == pytest.approx(0.15, abs=0.005)


def test_homopolymers_lose_more_bases_than_other_sequence() -> None:
    def lost(codes: Codes) -> float:
        owner, rates = np.arange(len(codes), dtype=np.int32) // 6, np.full(len(codes) // 6, 0.1, np.float32)
        profile = ErrorProfile(substitution=0, insertion=0, deletion=1)
        return 1 - len(mutate(np.random.default_rng(10), codes, owner, rates, profile)[0]) / len(codes)

    runs, mixed = np.zeros(120_000, np.uint8), np.tile(np.arange(6, dtype=np.uint8) % 4, 20_000)
    assert lost(runs) / lost(mixed) == pytest.approx(np.mean(1 + 0.6 * np.arange(6)), rel=0.1)


def test_adapters_stand_before_and_after_reads() -> None:
    record = random_codes(np.random.default_rng(12), 200)
    strands = (letters(record), letters(complement(record)))
    whole = [letters(read) for read in simulated(replace(EXACT, adapter=1.0), [record], 300, 200, 512)]
    bodies = [read.partition(next(strand for strand in strands if strand in read)) for read in whole]
    heads, tails = [head for head, _, _ in bodies], [tail for _, _, tail in bodies]
    assert 8 <= min(map(len, heads)) <= max(map(len, heads)) <= 80
    assert np.mean([tail != "" for tail in tails]) == pytest.approx(0.7, abs=0.1)
    for adapter in ADAPTERS:
        assert any(head.startswith(adapter) for head in heads)
        assert any(tail.startswith(adapter) for tail in tails)


def test_some_reads_have_a_few_unknown_bases() -> None:
    record = random_codes(np.random.default_rng(11), 600)
    found = simulated(replace(EXACT, unknown=0.5), [record], 400, 300, 512)
    holes = np.array([np.count_nonzero(read == UNKNOWN) for read in found])
    assert 0.35 < np.mean(holes > 0) < 0.6
    assert holes.max() <= 11


def test_made_up_relatives_differ_most_at_every_third_base() -> None:
    relatives = replace(EXACT, diverged=1.0, divergence=0.2)
    rows = np.array(simulated(relatives, [np.zeros(900, np.uint8)], 2000, 900, 900))
    original = np.where(np.mean(rows == 0, axis=1) > 0.5, 0, 3)
    changed = rows != original[:, None]
    assert changed.mean() == pytest.approx(0.1, abs=0.01)
    frames = np.sort(np.stack([changed[:, at::3].mean(1) for at in range(3)], axis=1), axis=1).mean(0)
    assert frames[2] == pytest.approx(4 * frames[:2].mean(), rel=0.2)
