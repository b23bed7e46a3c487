"""Temperature and thresholds: fitted on held-out reads, so that few background reads are called a virus."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_genomes import toy_sampler

torch = pytest.importorskip("torch", reason="training needs torch (extra `export`)")

from edgeseq.prediction import Decision, Prediction, Scores  # noqa: E402
from edgeseq.read import Read  # noqa: E402
from export.calibrate import FALSE_VIRUS, KINDS, MINIMUM_LENGTH, held_reads, temperature, thresholds  # noqa: E402

LABELS = ("zika", "rubella", "other")
ALLOWED = 20
READS = math.ceil(ALLOWED / FALSE_VIRUS)
"""Background reads, of which `ALLOWED` may be called a virus."""


def prediction(candidate: str, score: float, truth: str = "other") -> Prediction:
    nothing = np.empty(0, np.float32)
    scores = Scores(nothing, nothing.reshape(0, 3), np.empty(0, np.int64), np.empty(0, np.int64), 0, 0.0)
    return Prediction(Read("r", b"A", source=f"{truth}|background"), scores, Decision(candidate, score, candidate))


def background(viruses: dict[str, list[float]]) -> list[Prediction]:
    """All reads of background: the given virus scores, and ``other`` for the rest."""
    found = [prediction(label, score) for label, scores in viruses.items() for score in scores]
    return found + [prediction("other", 0.99)] * (READS - len(found))


def called(predictions: list[Prediction]) -> int:
    """Background reads that are called a virus under the thresholds fitted to them."""
    rule = thresholds(predictions, LABELS)
    return sum(
        p.decision.candidate != "other"
        and p.decision.score >= rule.thresholds.get(p.decision.candidate, rule.minimum_score)
        for p in predictions
    )


def grid(count: int) -> list[float]:
    """Scores between 0.5 and 0.99, four decimals, no two alike."""
    return [round(float(score), 4) for score in np.linspace(0.5, 0.99, count)]


@pytest.mark.parametrize("count", [ALLOWED + 2, 3 * ALLOWED, 300])
def test_at_most_the_allowed_share_of_background_is_called(count: int) -> None:
    found = called(background({"zika": grid(count // 2), "rubella": grid(count - count // 2)}))
    assert 0 < found <= ALLOWED


def common_threshold() -> tuple[list[float], float]:
    """Scores of five labels that share the budget evenly, and the one threshold that holds for all of them."""
    labels = ("a", "b", "c", "d", "e", "other")
    scores = grid(100)
    rule = thresholds(background({label: scores[number::5] for number, label in enumerate(labels[:5])}), labels)
    assert rule.thresholds == {"other": 0.0}
    return scores, rule.minimum_score


def test_the_threshold_is_no_higher_than_it_must_be() -> None:
    scores, threshold = common_threshold()
    assert sum(score >= threshold for score in scores) >= ALLOWED


def test_a_score_on_the_edge_is_not_called() -> None:
    scores, threshold = common_threshold()
    assert sum(score >= threshold for score in scores) <= ALLOWED


def test_few_background_reads_need_no_more_than_an_even_chance() -> None:
    rule = thresholds(background({"zika": [0.9] * 2, "rubella": [0.9]}), LABELS)
    assert rule.minimum_score == 0.5
    assert rule.thresholds == {"other": 0.0}


def test_a_label_that_takes_most_of_the_budget_has_a_threshold_of_its_own() -> None:
    rule = thresholds(background({"zika": grid(100), "rubella": [0.55, 0.6]}), LABELS)
    assert rule.thresholds["zika"] > rule.minimum_score
    assert "rubella" not in rule.thresholds


def test_reads_of_viruses_have_no_part_in_the_threshold() -> None:
    reads = background({"zika": grid(50)})
    viruses = [prediction("zika", 1.0, truth="zika")] * 1000
    assert thresholds(reads + viruses, LABELS) == thresholds(reads, LABELS)


def test_other_needs_no_score_and_short_reads_are_never_called() -> None:
    rule = thresholds(background({"zika": grid(50)}), LABELS)
    assert rule.thresholds["other"] == 0.0
    assert rule.minimum_length == MINIMUM_LENGTH


@pytest.mark.parametrize("heat", [0.7, 1.0, 2.5])
def test_temperature_undoes_the_heat_of_the_logits(heat: float) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (20_000, 4)).astype(np.float32)
    probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = (probability.cumsum(1) < rng.random(20_000)[:, None]).sum(1).clip(max=3)
    assert temperature(logits * np.float32(heat), truth) == pytest.approx(heat, rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_held_out_reads_say_what_they_are(kind: str) -> None:
    reads = list(held_reads(toy_sampler(), np.random.default_rng(2), kind, 150, 1024))
    assert len(reads) == 150
    assert [read.record for read in reads] == list(range(150))
    assert all(MINIMUM_LENGTH <= len(read) <= 1024 for read in reads)
    assert all(set(read.sequence) <= set(b"ACGTN") for read in reads)
    truths = {"zika", "measles"} if kind == "virus" else {"other"}
    assert {read.source for read in reads} == {f"{truth}|{kind}" for truth in truths}


def test_held_out_reads_are_the_same_for_the_same_seed() -> None:
    first, again, other = (
        [read.sequence for read in held_reads(toy_sampler(), np.random.default_rng(seed), "virus", 40)]
        for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other
