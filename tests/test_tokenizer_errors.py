"""The pieces of `benchmarks/tokenizer_errors.py` that decide what its tables mean: splits, errors, intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.labelled_tasks import (
    PARTS,
    SHARES,
    Labelled,
    chromosome_of,
    components,
    deal,
    one_base_late,
    promoters,
    relatives,
    split,
    with_errors,
)
from benchmarks.paired import Codes, Draws
from benchmarks.tokenizer_tables import change_cell, mcc_cell, share_cell, title
from edgeseq.normalise import reverse_complement
from quantize.sample import Sample
from quantize.sample import unlabelled as read_table

BASES = np.frombuffer(b"ACGT", np.uint8)


def random_sequences(count: int, length: int = 251, seed: int = 0) -> list[bytes]:
    rng = np.random.default_rng(seed)
    return [rng.choice(BASES, length).tobytes() for _ in range(count)]


def edits(a: bytes, b: bytes) -> int:
    """Levenshtein's distance."""
    codes, row = np.frombuffer(b, np.uint8), np.arange(len(b) + 1)
    steps = np.arange(len(b) + 1)
    for number, base in enumerate(a, start=1):
        best = np.minimum(row[1:] + 1, row[:-1] + (codes != base))
        row = np.minimum.accumulate(np.concatenate(([number], best)) - steps) + steps
    return int(row[-1])


def test_sequences_that_overlap_on_either_strand_are_one_component() -> None:
    whole = random_sequences(1, 600)[0]
    others = random_sequences(3, seed=1)
    found = components([whole[:251], others[0], reverse_complement(whole[170:421]), others[1], whole[340:], others[2]])
    assert found[0] == found[2] == found[4]
    assert len(set(found.tolist())) == 4


def test_a_short_overlap_is_none() -> None:
    whole = random_sequences(1, 480)[0]
    assert len(set(components([whole[:251], whole[229:]]).tolist())) == 2


@pytest.mark.parametrize("by_chromosome", [False, True])
def test_no_part_resembles_another(by_chromosome: bool) -> None:
    rng = np.random.default_rng(2)
    found = []
    for number, molecule in enumerate(random_sequences(120, 400)):
        for start in (0, 60, 120)[: 1 + number % 3]:
            piece = molecule[start : start + 251]
            piece = reverse_complement(piece) if rng.random() < 0.5 else piece
            found.append(Labelled(piece, int(rng.integers(2)), f"{rng.integers(1, 20)}"))
    made = split(found, by_chromosome=by_chromosome, seed=3)
    every = [(part, each) for part, members in made.parts.items() for each in members]
    component = components([each.sequence for _, each in every])
    for number in np.unique(component).tolist():
        members = [every[at] for at in np.flatnonzero(component == number)]
        assert len({part for part, _ in members}) == 1
        assert len({each.component for _, each in members}) == 1
    if by_chromosome:
        chromosomes = [{each.chromosome for each in made.parts[part]} for part in PARTS]
        assert not chromosomes[0] & chromosomes[1]
        assert not chromosomes[0] & chromosomes[2]
        assert not chromosomes[1] & chromosomes[2]
        assert made.facts["left out: resemble a sequence of a part that matters more"] > 0
    left_out = sum(count for what, count in made.facts.items() if "left out" in what)
    assert left_out + len(every) == len(found) == made.facts["sequences"]


def test_copies_leave_and_so_do_copies_with_both_labels() -> None:
    a, b, c = random_sequences(3)
    found = [Labelled(a, 1), Labelled(reverse_complement(a), 1), Labelled(b, 0), Labelled(b, 1), Labelled(c, 0)]
    made = split(found, by_chromosome=False, seed=0)
    kept = [each.sequence for members in made.parts.values() for each in members]
    assert sorted(kept) == sorted([a, c])
    assert made.facts["left out: exact copies"] == 3


def test_sequences_without_a_chromosome_take_no_part() -> None:
    a, b, c = random_sequences(3)
    made = split([Labelled(a, 1, "1"), Labelled(b, 0, ""), Labelled(c, 0, "X")], by_chromosome=True, seed=0)
    assert b not in [each.sequence for members in made.parts.values() for each in members]


def test_whole_units_are_dealt_out_in_shares() -> None:
    unit = np.repeat(np.arange(400), 1 + np.arange(400) % 4)
    part = deal(unit, 5)
    assert all(len(set(part[unit == number].tolist())) == 1 for number in range(400))
    assert np.bincount(part) / len(unit) == pytest.approx(SHARES, abs=0.01)
    assert not np.array_equal(part, deal(unit, 6))


def test_what_an_ordinary_split_would_leave_in_both_parts() -> None:
    assert relatives(np.arange(1000), 1) == 0
    assert relatives(np.zeros(1000, np.int64), 1) == 1
    assert relatives(np.repeat(np.arange(500), 2), 1) == pytest.approx(SHARES[2], abs=0.06)


@pytest.mark.parametrize(
    ("header", "chromosome"),
    [
        ("CHR13_99137199_99137399", "13"),
        ("Chr1_6627824_6628024", "1"),
        ("CHRX_10705600_10705800", "X"),
        ("hg19_ct_UserTrack_3545_9 range=chr4:136292751-136339550 5'pad=0", "4"),
        ("hg19_ct_UserTrack_3545_158rangechr1278319870-783938695pad0", "12"),
        ("hg19_ct_UserTrack_3545_57rangechr710106276-104520755pad0", "7"),
        ("hg19_ct_UserTrack_3545_35rangechrX65967276-662150755pad0", "X"),
        ("hg19_ct_UserTrack_3545_2132rangechr2235412462-2354534615pad0", "2"),
        ("hg19_ct_UserTrack_3545_9", ""),
        ("rangechr199-15pad0", ""),
    ],
)
def test_the_chromosome_of_a_header(header: str, chromosome: str) -> None:
    assert chromosome_of(header) == chromosome


@pytest.mark.parametrize("rate", [0.01, 0.05])
def test_errors_come_at_the_rate_that_is_asked_for(rate: float) -> None:
    sequences = random_sequences(120)
    changed = with_errors(sequences, rate, 7)
    found = sum(edits(a, b) for a, b in zip(sequences, changed, strict=True)) / (120 * 251)
    assert found == pytest.approx(rate, rel=0.2)
    assert changed == with_errors(sequences, rate, 7)
    assert changed != with_errors(sequences, rate, 8)


def test_no_errors_change_nothing() -> None:
    sequences = [*random_sequences(3), b"ACGTNNACGT"]
    assert with_errors(sequences, 0.0, 1) == sequences


def test_errors_stay_in_their_own_sequence() -> None:
    sequences = [b"A" * 200, b"C" * 200, b"G" * 200]
    changed = with_errors(sequences, 0.05, 2)
    for before, after in zip(sequences, changed, strict=True):
        assert after.count(before[:1]) > 180


def test_one_base_late() -> None:
    assert one_base_late([b"ACGT", b"TT"]) == [b"CGT", b"T"]


def alone(truth: Codes) -> Draws:
    """Draws of single sequences."""
    return Draws.of(truth, np.arange(len(truth)))


def test_the_correlation_and_its_interval() -> None:
    truth = np.array([1] * 60 + [0] * 40)
    called = np.array([1] * 50 + [0] * 10 + [0] * 35 + [1] * 5)
    found = alone(truth).score(called)
    assert found.value == pytest.approx((50 * 35 - 5 * 10) / np.sqrt(55 * 60 * 40 * 45))
    assert found.low < found.value < found.high
    assert found.high - found.low == pytest.approx(0.28, abs=0.04)  # 2 × 1.96 × the spread of such samples
    assert alone(truth).score(truth).low == 1.0


def test_the_interval_of_a_change_is_that_of_pairs() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 3000)
    first = np.where(rng.random(3000) < 0.15, 1 - truth, truth)
    second = np.where(rng.random(3000) < 0.01, 1 - first, first)
    draws = alone(truth)
    same, other = draws.change(first, first), draws.change(first, second)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert other.value == pytest.approx(draws.score(second).value - draws.score(first).value)
    assert other.high - other.low < 0.5 * (draws.score(first).high - draws.score(first).low)
    worse = np.where(rng.random(3000) < 0.1, 1 - first, first)
    assert draws.change(first, worse).differs


def test_sequences_that_resemble_each_other_are_one_witness() -> None:
    """Ten copies of a hundred sequences tell no more than the hundred."""
    rng = np.random.default_rng(3)
    truth, group = np.repeat(rng.integers(0, 2, 100), 10), np.repeat(np.arange(100), 10)
    called = np.where(np.repeat(rng.random(100), 10) < 0.2, 1 - truth, truth)
    together, single = Draws.of(truth, group).score(called), alone(truth).score(called)
    few = alone(truth[::10]).score(called[::10])
    assert together.value == single.value == pytest.approx(few.value)
    assert together.high - together.low == pytest.approx(few.high - few.low, rel=0.1)
    assert single.high - single.low < 0.5 * (together.high - together.low)


def test_changed_calls_count_both_ways() -> None:
    truth, first, second = np.zeros(200, np.int64), np.zeros(200, np.int64), np.zeros(200, np.int64)
    first[:3], second[3:10] = 1, 1
    found = alone(truth).flips(first, second)
    assert found.value == 0.05
    assert found.low < 0.03
    assert found.high > 0.07
    assert alone(truth).flips(first, first).high == pytest.approx(0.0188, abs=1e-4)  # Wilson's, of none among 200


def test_cells_of_the_tables() -> None:
    truth = np.array([0, 1] * 50)
    draws = alone(truth)
    assert mcc_cell(draws.score(truth)) == "1.000 (1.000–1.000)"
    assert change_cell(draws.change(truth, truth)) == "+.000 (+.000 to +.000)"
    assert change_cell(None) == share_cell(None) == ""
    assert change_cell(draws.change(truth, 1 - truth)).startswith("**−2.000")
    assert share_cell(draws.flips(truth, 1 - truth)) == "100.0 % (96.3–100.0)"
    assert title("whole-float") == "float"
    assert title("ffn-recovered-int8") == "feed-forward − 30 %, recovered, int8"
    assert title("channels-float") == "all channels − 30 %"


def test_real_promoters_are_read_and_split(shared: Path) -> None:
    found = promoters(shared / "data/labelled")
    assert len(found) == 9034
    assert sum(each.label for each in found) == 4915


def test_tables_are_what_the_commands_read(tmp_path: Path) -> None:
    from benchmarks.labelled_tasks import write_table

    sequences = random_sequences(2)
    write_table(tmp_path / "part.csv", [Labelled(sequences[0], 1), Labelled(sequences[1], 0)])
    sample: Sample = read_table(tmp_path / "part.csv")
    assert [each.sequence for each in sample.reads] == sequences
