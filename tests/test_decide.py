"""Scores become a decision by the manifest alone: label, abstention, segments, and when to stop early."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.aggregate import Values, aggregate, log_probabilities
from edgeseq.decide import decide
from edgeseq.manifest import Abstention, Task
from edgeseq.prediction import UNCLASSIFIED, Decision, Scores
from edgeseq.predictions import ScoreColumns
from edgeseq.segments import segments
from edgeseq.settling import next_goals, settled
from edgeseq.windows import Windows

LABELS = ("a", "b", "other")
SURE = {"a": [0.998, 0.001, 0.001], "b": [0.001, 0.998, 0.001], "o": [0.001, 0.001, 0.998], "?": [0.34, 0.33, 0.33]}


def task(**rule: object) -> Task:
    return Task(kind="sequence-classification", labels=LABELS, abstention=Abstention(**rule))  # type: ignore[arg-type]


def scores(text: str, *, width: int = 100, step: int = 100, n_fraction: float = 0.0) -> Scores:
    """Windows along a read, a letter each: sure of ``a``, ``b`` or ``o``, or unsure."""
    starts = np.arange(len(text)) * step
    rows: Values = np.log(np.array([SURE[letter] for letter in text], np.float32).reshape(len(text), 3))
    windows = Windows(np.array([len(text)]), starts, starts + width, np.array([n_fraction]))
    return aggregate(windows, rows, task())[0]


def decisions(several: list[Scores], lengths: list[int], rule: Task) -> list[Decision]:
    found = decide(ScoreColumns.of(several), np.array(lengths), rule)
    return [found[number] for number in range(len(found))]


def called(text: str, length: int = 1000, n_fraction: float = 0.0, **rule: object) -> Decision:
    (decision,) = decisions([scores(text, n_fraction=n_fraction)], [length], task(**rule))
    return decision


def test_the_most_probable_label_is_called() -> None:
    decision = called("b")
    assert (decision.label, decision.candidate, decision.reason, decision.segments) == ("b", "b", "", ())
    assert decision.score == pytest.approx(0.998, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "length", "n_fraction", "rule", "reason"),
    [
        ("?", 1000, 0.0, {"minimum_score": 0.5}, "score"),
        ("a", 1000, 0.0, {"thresholds": {"a": 0.999}}, "score"),
        ("a", 199, 0.0, {"minimum_length": 200}, "short"),
        ("a", 1000, 0.31, {"maximum_n_fraction": 0.3}, "n"),
        ("?", 199, 0.5, {"minimum_length": 200, "maximum_n_fraction": 0.3, "minimum_score": 0.5}, "short"),
        ("", 0, 0.0, {"minimum_length": 200}, "empty"),
    ],
)
def test_reasons_to_abstain(text: str, length: int, n_fraction: float, rule: dict[str, object], reason: str) -> None:
    decision = called(text, length, n_fraction, **rule)
    assert (decision.label, decision.reason) == (UNCLASSIFIED, reason)
    assert decision.candidate == ("a" if text else "")


@pytest.mark.parametrize(
    ("text", "length", "n_fraction", "rule"),
    [
        ("b", 1000, 0.0, {"minimum_score": 0.9, "thresholds": {"a": 1.0}}),
        ("b", 1000, 0.0, {"minimum_score": 1.0, "thresholds": {"b": 0.9}}),
        ("b", 200, 0.3, {"minimum_length": 200, "maximum_n_fraction": 0.3}),
    ],
)
def test_limits_belong_to_what_they_allow(text: str, length: int, n_fraction: float, rule: dict[str, object]) -> None:
    assert called(text, length, n_fraction, **rule).label == "b"


def test_a_regression_has_a_value_and_no_label() -> None:
    values = Task(kind="regression")
    reads = Windows(np.array([1, 0]), np.zeros(1, np.int64), np.full(1, 9), np.zeros(2))
    scored = aggregate(reads, np.array([[2.5]], np.float32), values)
    found = decide(scored, np.array([9, 0]), values)
    assert (found[0], found[1]) == (Decision("", 2.5, ""), Decision(UNCLASSIFIED, 0.0, "", "empty"))


def test_reads_are_decided_on_alone() -> None:
    several = [scores(text) for text in ("aaaabbbb", "", "?", "b", "", "ooo")]
    rule = task(minimum_score=0.6, minimum_length=100)
    together = decisions(several, [800, 0, 100, 99, 200, 300], rule)
    assert [decision.reason for decision in together] == ["score", "empty", "score", "short", "empty", ""]
    assert together == [
        decisions([one], [length], rule)[0] for one, length in zip(several, [800, 0, 100, 99, 200, 300], strict=True)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aaaa", []),
        ("aaaabbbb", [(0, 400, "a"), (400, 800, "b")]),
        ("aaoobb", [(0, 200, "a"), (200, 400, "other"), (400, 600, "b")]),
        ("aabaa", []),
        ("aaaab", []),
        ("baaaa", []),
        ("ab", []),
        ("aa?bb", [(0, 200, "a"), (200, 500, "b")]),
        ("aa??aa", []),
        ("a", []),
    ],
)
def test_segments_need_two_windows_that_agree(text: str, expected: list[tuple[int, int, str]]) -> None:
    found = [(part.start, part.end, part.label) for part in segments(scores(text), task())]
    if text == "aa?bb":
        assert found in (expected, [(0, 300, "a"), (300, 500, "b")])
    else:
        assert found == expected


def test_a_segment_below_its_threshold_is_left_out() -> None:
    assert segments(scores("aaaabbbb"), task(thresholds={"b": 0.9999})) == ()
    assert [part.label for part in segments(scores("aaabbbooo"), task(thresholds={"b": 0.9999}))] == ["a", "other"]


def test_boundaries_lie_in_the_middle_of_an_overlap() -> None:
    parts = segments(scores("aaaaaaaabbbbbbbb", width=200, step=100), task())
    assert [(part.start, part.end) for part in parts] == [(0, 850), (850, 1700)]
    assert parts[0].score > 0.99


def test_a_chimera_keeps_its_segments_when_the_whole_is_not_called() -> None:
    decision = called("aaaabbbb", minimum_score=0.9)
    assert (decision.label, decision.reason) == (UNCLASSIFIED, "score")
    assert [part.label for part in decision.segments] == ["a", "b"]


@pytest.mark.parametrize("planned", [1, 2, 3, 17, 100])
def test_waves_reach_the_end_of_a_read(planned: int) -> None:
    scored, waves = np.array([0]), 0
    while scored < planned:
        goal = next_goals(scored, np.array([planned]))
        assert scored < goal <= planned
        scored, waves = goal, waves + 1
    assert waves <= 9


def test_a_sure_read_is_settled_before_its_end_and_an_unsure_one_is_not() -> None:
    weights = np.full(20, 100)
    logs = np.array([[0.0, -12.0, -12.0]] * 12, np.float32)
    assert settled(logs, weights, task())
    assert not settled(logs[:10], weights, task())
    assert not settled(np.array([[-1.0, -1.2, -1.1]] * 19, np.float32), weights, task(minimum_score=0.4))


row = st.lists(st.floats(-20, 20, width=32), min_size=3, max_size=3)


@given(
    first=st.lists(row, min_size=1, max_size=12),
    rest=st.lists(row, min_size=1, max_size=4),
    limit=st.sampled_from([0.0, 0.5, 0.9, 0.999]),
    sharp=st.booleans(),
)
def test_what_is_settled_stays(first: list[list[float]], rest: list[list[float]], limit: float, sharp: bool) -> None:
    rule = task(minimum_score=limit)
    if sharp:
        first = [[abs(value) + 15, value, value] for value, *_ in first]
    logits = np.array(first + rest, np.float32)
    starts = np.arange(len(logits)) * 50
    both = Windows(
        np.full(2, len(logits)),
        np.tile(starts, 2),
        np.tile(starts + 50, 2),
        np.zeros(2),
        scored=np.array([len(logits), len(first)]),
    )
    logs = log_probabilities(logits[: len(first)], rule)
    if settled(logs, np.full(len(logits), 50), rule):
        scored = aggregate(both, np.concatenate([logits, logits[: len(first)]]), rule)
        found = decide(scored, np.array([999, 999]), rule)
        assert (found.labels[0], found.reasons[0]) == (found.labels[1], found.reasons[1])
