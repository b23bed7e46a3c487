"""Verdicts: what is inside a budget, what is over it, what cannot be told, and with how many reads it could be."""

from __future__ import annotations

import numpy as np
import pytest

from edgeseq.errors import UsageError
from quantize.budget import Budget, parse_budgets
from quantize.pairs import Calls, Pairs, correlation, mean_auroc, rank_correlation, ranking
from quantize.verdict import Verdict, judge, together

LABELS = ("a", "b", "other")


def pairs_of(truth: list[str], before: list[str], after: list[str], *, files: int = 1) -> Pairs:
    source = np.array([f"f{number % files}" for number in range(len(truth))], np.str_)
    nothing = np.zeros((len(truth), 3), np.float32)
    return Pairs(
        LABELS,
        "other",
        np.array(truth, np.str_),
        source,
        np.full(len(truth), 500),
        Calls(np.array(before, np.str_), nothing),
        Calls(np.array(after, np.str_), nothing),
    )


def same(count: int, *, wrong: int = 0, files: int = 1) -> Pairs:
    """``count`` reads of three classes, called right by both models but for ``wrong`` ones of the second."""
    truth = [LABELS[number % 3] for number in range(count)]
    after = [LABELS[(LABELS.index(label) + 1) % 3] if at < wrong else label for at, label in enumerate(truth)]
    return pairs_of(truth, truth, after, files=files)


def only(verdicts: tuple[Verdict, ...]) -> Verdict:
    assert len(verdicts) == 1
    return verdicts[0]


def test_correlation_of_known_counts() -> None:
    # two classes: (tp·tn − fp·fn) / √((tp+fp)(tp+fn)(tn+fp)(tn+fn)) with 40, 35, 15, 10
    found = correlation(np.array([[40.0, 10.0], [15.0, 35.0]]))
    assert float(found) == pytest.approx((40 * 35 - 15 * 10) / np.sqrt(55 * 50 * 50 * 45))


def test_areas_and_ranks() -> None:
    assert ranking(np.array([True, False, True, False]), np.array([3.0, 1.0, 2.0, 2.0])) == 0.875
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 15.0])) == pytest.approx(0.5)
    assert rank_correlation(np.array([1.0, 1.0]), np.array([1.0, 2.0])) == 0.0


def test_nothing_changed_is_still_bounded_by_the_rule_of_three() -> None:
    verdict = only(judge(same(300), [Budget("flips", 0.02)]))
    assert verdict.outcome == "WITHIN"
    assert verdict.drop == 0.0
    assert verdict.upper == pytest.approx(3 / 300, rel=0.05)
    assert only(judge(same(100), [Budget("flips", 0.02)])).outcome == "UNDECIDABLE"


def test_a_small_test_set_is_undecidable_and_the_n_it_names_decides() -> None:
    budget = [Budget("mcc", 0.005)]
    verdict = only(judge(same(90), budget))
    assert verdict.outcome == "UNDECIDABLE"
    assert verdict.needed is not None
    assert 500 <= verdict.needed <= 2500
    assert only(judge(same(verdict.needed), budget)).outcome == "WITHIN"
    assert str(verdict).endswith(f"about {verdict.needed} reads would decide")


def test_a_real_loss_is_over() -> None:
    verdicts = judge(same(900, wrong=60), [Budget("mcc", 0.01), Budget("flips", 0.02)])
    assert [verdict.outcome for verdict in verdicts] == ["OVER", "OVER"]
    assert verdicts[0].lower > 0.01
    assert together(verdicts) == "OVER"


def test_a_few_flips_within_a_budget() -> None:
    verdict = only(judge(same(5000, wrong=5), [Budget("flips", 0.005)]))
    assert (verdict.outcome, verdict.drop) == ("WITHIN", 0.001)
    assert 0.001 < verdict.upper < 0.005


def test_reads_of_one_file_are_no_independent_witnesses() -> None:
    truth = [LABELS[number % 3] for number in range(3000)]
    after = list(truth)
    for number in range(0, 3000, 10):  # all flips are in the first of ten files
        after[number] = LABELS[(number + 1) % 3] if number < 600 else truth[number]
    apart = only(judge(pairs_of(truth, truth, after, files=10), [Budget("mcc", 0.05)]))
    mixed = only(judge(pairs_of(truth, truth, sorted_flips(truth), files=10), [Budget("mcc", 0.05)]))
    assert apart.drop == pytest.approx(mixed.drop, abs=0.003)
    assert apart.upper > mixed.upper + 0.01


def sorted_flips(truth: list[str]) -> list[str]:
    return [LABELS[(at + 1) % 3] if at % 50 == at // 50 % 10 else label for at, label in enumerate(truth)]


def test_a_broken_class_is_caught_even_where_the_whole_hardly_moves() -> None:
    truth = ["a"] * 20_000 + ["other"] * 20_000 + ["b"] * 60
    after = ["a"] * 20_000 + ["other"] * 20_060
    verdicts = judge(pairs_of(truth, truth, after), [Budget("mcc", 0.01)])
    assert verdicts[0].outcome == "WITHIN"
    assert verdicts[1].metric == "class b"
    assert verdicts[1].outcome == "OVER"
    assert together(verdicts) == "OVER"


def test_silence_about_background_is_right_and_still_a_changed_call() -> None:
    pairs = pairs_of(["other"] * 300, ["other"] * 300, ["unclassified"] * 300)
    verdicts = judge(pairs, [Budget("mcc", 0.01), Budget("flips", 0.01)])
    assert verdicts[0].drop == 0.0
    assert verdicts[1].drop == 1.0


def test_scores_have_their_own_figures() -> None:
    rng = np.random.default_rng(4)
    truth = np.array([LABELS[number % 3] for number in range(600)])
    values = rng.random((600, 3)).astype(np.float32)
    values[np.arange(600), np.arange(600) % 3] += 0.7
    noisy = (values + rng.normal(0, 0.6, values.shape)).astype(np.float32)
    pairs = Pairs(LABELS, "", truth, np.full(600, "f"), np.full(600, 500), Calls(truth, values), Calls(truth, noisy))
    verdict = judge(pairs, [Budget("auroc", 0.02)])[0]
    assert verdict.reference == pytest.approx(mean_auroc(pairs, pairs.reference, np.arange(600)))
    assert verdict.outcome == "OVER"


def test_rank_correlation_of_a_regression() -> None:
    rng = np.random.default_rng(6)
    truth = rng.normal(0, 1, 800)
    before = (truth + rng.normal(0, 0.5, 800)).astype(np.float32)[:, None]
    nothing = np.full(800, "")
    found = []
    for noise in (0.001, 0.8):
        after = (before + rng.normal(0, noise, before.shape)).astype(np.float32)
        pairs = Pairs(
            (),
            "",
            truth.astype(np.str_),
            np.full(800, "f"),
            np.full(800, 500),
            Calls(nothing, before),
            Calls(nothing, after),
        )
        found.append(only(judge(pairs, [Budget("spearman", 0.02)])))
    assert [verdict.outcome for verdict in found] == ["WITHIN", "OVER"]
    assert found[0].reference == pytest.approx(0.88, abs=0.03)


def test_the_same_seed_gives_the_same_bounds() -> None:
    pairs = same(400, wrong=6, files=4)
    budgets = [Budget("mcc", 0.02), Budget("flips", 0.02)]
    assert judge(pairs, budgets, seed=3) == judge(pairs, budgets, seed=3)
    assert judge(pairs, budgets, seed=3) != judge(pairs, budgets, seed=4)


def test_budgets_are_read_from_words() -> None:
    assert parse_budgets(["mcc=0.01", "flips=0.02"], "sequence-classification") == (
        Budget("mcc", 0.01),
        Budget("flips", 0.02),
    )


@pytest.mark.parametrize(
    ("texts", "kind", "problem"),
    [
        ([], "sequence-classification", "a budget is needed"),
        (["mcc"], "sequence-classification", "METRIC=LIMIT"),
        (["f1=0.1"], "sequence-classification", "metrics are mcc, flips, auroc, spearman"),
        (["mcc=2"], "sequence-classification", "between 0 and 1"),
        (["mcc=nan"], "sequence-classification", "between 0 and 1"),
        (["mcc=0.1", "mcc=0.2"], "sequence-classification", "has a budget already"),
        (["mcc=0.1"], "regression", "a regression model has no mcc; its metrics: spearman"),
    ],
)
def test_budgets_that_make_no_sense(texts: list[str], kind: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        parse_budgets(texts, kind)  # type: ignore[arg-type]
