"""Figures of merit against other implementations, published values and counts done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from export.measure import (
    by,
    calibration,
    calls_of,
    confusion,
    length_bins,
    mcc,
    mcc_interval,
    per_class,
    predictive_value,
    right,
    summary,
    wilson,
)

ROWS = [
    ("zika", "zika", 0.99, 450, "a"),
    ("zika", "unclassified", 0.60, 250, "a"),
    ("zika", "rubella", 0.97, 900, "a"),
    ("rubella", "rubella", 0.98, 5000, "b"),
    ("other", "other", 0.90, 300, "b"),
    ("other", "unclassified", 0.55, 299, "b"),
    ("other", "zika", 0.96, 200, "b"),
    ("other", "other", 0.99, 100_000, "b"),
]
CALLS = calls_of(ROWS)


@pytest.mark.parametrize("accuracy", [0.0, 0.4, 0.9, 1.0])
def test_mcc_is_that_of_scikit_learn(accuracy: float) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="the reference is scikit-learn (extra `export`)")
    rng = np.random.default_rng(1)
    truth = rng.choice(["zika", "rubella", "other"], 500, p=[0.6, 0.3, 0.1])
    label = np.where(rng.random(500) < accuracy, truth, rng.choice(["zika", "other", "unclassified"], 500))
    assert mcc(truth, label) == pytest.approx(metrics.matthews_corrcoef(truth, label), abs=1e-12)


def test_mcc_of_one_class_alone_is_undefined_and_given_as_0() -> None:
    same = np.array(["zika"] * 5)
    assert mcc(same, same) == 0.0


def test_the_interval_of_the_mcc_holds_the_mcc_and_narrows_with_more_reads() -> None:
    few, many = calls_of(ROWS * 5), calls_of(ROWS * 80)
    low, high = mcc_interval(few)
    narrow_low, narrow_high = mcc_interval(many)
    assert low < mcc(few.truth, few.label) < high
    assert narrow_high - narrow_low < (high - low) / 2
    assert mcc_interval(few) == (low, high), "the bootstrap is seeded"


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_are_the_published_ones(hits: int, total: int, low: float, high: float) -> None:
    """81 of 263 and 1 of 29: Newcombe 1998, table I, method 3."""
    assert wilson(hits, total) == pytest.approx((hits / total, low, high), abs=6e-5)


def test_nothing_observed_is_nothing_known() -> None:
    assert wilson(0, 0) == (0.0, 0.0, 1.0)


def test_background_that_is_not_called_is_right() -> None:
    assert right(CALLS).tolist() == [True, False, False, True, True, True, False, True]


def test_the_summary_counts_what_was_called() -> None:
    found = summary(CALLS)
    assert found["reads"] == 8
    assert found["virus_called"] == wilson(3, 4)
    assert found["virus_right"] == wilson(2, 4)
    assert found["background_called_virus"] == wilson(1, 4)
    called = ["zika", "zika", "rubella", "other", "other", "other", "other"]
    labels = ["zika", "rubella", "rubella", "other", "other", "zika", "other"]
    assert found["mcc"] == pytest.approx(mcc(np.array(called), np.array(labels)))


def test_classes_have_sensitivity_and_precision_over_all_reads() -> None:
    rows = {row["label"]: row for row in per_class(CALLS)}
    assert set(rows) == {"zika", "rubella", "other"}
    assert rows["zika"]["sensitivity"] == wilson(1, 3)
    assert rows["zika"]["precision"] == wilson(1, 2)
    assert rows["zika"]["unclassified"] == wilson(1, 3)
    assert rows["other"]["precision"] == wilson(2, 2)


def test_figures_by_key_add_up() -> None:
    first, second = by(CALLS, CALLS.source)
    assert (first["key"], first["reads"], first["unclassified"]) == ("a", 3, pytest.approx(1 / 3))
    assert (second["key"], second["reads"], second["right"]) == ("b", 5, 0.8)
    assert second["right_95"] == wilson(4, 5)[1:]


def test_lengths_fall_into_half_open_bins() -> None:
    names = [name.strip() for name in length_bins(CALLS).tolist()]
    assert names == ["300–499", "200–299", "500–999", "5000+", "300–499", "200–299", "200–299", "5000+"]


def test_what_a_positive_call_is_worth_depends_on_prevalence() -> None:
    assert predictive_value(0.9, 0.1, 0.5) == pytest.approx(0.9)
    assert predictive_value(0.9, 0.001, 0.001) == pytest.approx(0.9 / (0.9 + 0.999))
    assert predictive_value(0.9, 0.0, 0.01) == 1.0
    assert predictive_value(0.0, 0.0, 0.5) == 0.0


def test_probabilities_that_come_true_are_calibrated() -> None:
    rng = np.random.default_rng(2)
    top = rng.uniform(0.5, 1.0, 40_000)
    probability = np.stack([top, 1 - top], axis=1).astype(np.float32)
    honest = (rng.random(40_000) > top).astype(np.int64)
    assert calibration(probability, honest)["ece"] < 0.01
    overconfident = (rng.random(40_000) > 0.5).astype(np.int64)
    assert calibration(probability, overconfident)["ece"] == pytest.approx(0.25, abs=0.01)


def test_brier_score_and_log_loss_by_hand() -> None:
    found = calibration(np.array([[0.8, 0.2], [0.4, 0.6]], np.float32), np.array([0, 0]))
    assert found["brier"] == pytest.approx((0.2**2 * 2 + 0.6**2 * 2) / 2)
    assert found["log_loss"] == pytest.approx(-(math.log(0.8) + math.log(0.4)) / 2)
    assert found["ece"] == pytest.approx((0.2 + 0.6) / 2)
    certain = calibration(np.array([[0.0, 1.0]], np.float32), np.array([0]))
    assert math.isfinite(certain["log_loss"])


def test_confusion_counts_calls_of_each_true_label_with_unclassified_last() -> None:
    calls = calls_of([("a", "a", 1.0, 300, "s"), ("a", "unclassified", 0.3, 300, "s"), ("b", "a", 0.9, 300, "s")] * 2)
    assert confusion(calls, ("a", "b")) == {
        "labels": ["a", "b"],
        "called": ["a", "b", "unclassified"],
        "counts": [[2, 0, 2], [2, 0, 0]],
    }
