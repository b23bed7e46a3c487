"""Windows become one set of scores: the length-weighted, normalised geometric mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.aggregate import FLOOR, Values, aggregate, log_probabilities, strand_means
from edgeseq.manifest import Task
from edgeseq.prediction import Scores
from edgeseq.windows import Windows

TASK = Task(kind="sequence-classification", labels=("a", "b", "other"))


Scored = tuple[list[int], Values]
"""The lengths of the windows of a read, and the model's output for them."""


def windows(logits: list[list[float]], lengths: list[int]) -> Scored:
    return lengths, np.array(logits, np.float32).reshape(len(lengths), 3 if not logits else len(logits[0]))


def all_of(reads: list[Scored], task: Task = TASK) -> list[Scores]:
    rows = [rows for _, rows in reads if len(rows)]
    ends = np.concatenate([np.empty(0, np.int64), *[np.cumsum(lengths, dtype=np.int64) for lengths, _ in reads]])
    starts = ends - np.array([length for lengths, _ in reads for length in lengths], np.int64)
    counts = np.array([len(lengths) for lengths, _ in reads], np.int64)
    found = aggregate(
        Windows(counts, starts, ends, np.full(len(reads), 0.25)),
        np.concatenate(rows) if rows else np.empty((0, 0), np.float32),
        task,
    )
    return [found[number] for number in range(len(found))]


def one(read: Scored, task: Task = TASK) -> Scores:
    (scores,) = all_of([read], task)
    return scores


def test_one_window_is_a_softmax() -> None:
    scores = one(windows([[1.0, 0.0, 0.0]], [100]))
    np.testing.assert_allclose(scores.probabilities, np.exp([1, 0, 0]) / (np.e + 2), rtol=1e-6)
    np.testing.assert_array_equal(scores.windows[0], scores.probabilities)
    assert scores.probabilities.dtype == scores.windows.dtype == np.float32
    assert (scores.starts.tolist(), scores.ends.tolist(), scores.planned) == ([0], [100], 1)
    assert scores.n_fraction == 0.25


def test_windows_weigh_as_much_as_they_are_long() -> None:
    first, second = np.log([0.7, 0.2, 0.1]), np.log([0.1, 0.8, 0.1])
    expected = np.exp((300 * first + 100 * second) / 400)
    scores = one(windows([first.tolist(), second.tolist()], [300, 100]))
    np.testing.assert_allclose(scores.probabilities, expected / expected.sum(), rtol=1e-6)


def test_temperature_comes_before_the_softmax() -> None:
    hot = Task(kind="sequence-classification", labels=("a", "b"), temperature=2.0)
    np.testing.assert_allclose(
        one(windows([[2.0, 0.0]], [9]), hot).probabilities,
        one(windows([[1.0, 0.0]], [9]), hot).probabilities ** 2
        / (one(windows([[1.0, 0.0]], [9]), hot).probabilities ** 2).sum(),
        rtol=1e-5,
    )


def test_both_strands_are_averaged_at_the_logits() -> None:
    rows = np.array([[4.0, 0.0, 0.0], [0.0, 2.0, 0.0], [1.0, 1.0, 1.0], [3.0, 1.0, 1.0]], np.float32)
    assert strand_means(rows, 2).tolist() == [[2.0, 1.0, 0.0], [2.0, 1.0, 1.0]]
    assert strand_means(rows, 1) is rows


def test_one_window_cannot_outvote_all_others() -> None:
    logs = log_probabilities(np.array([[500.0, 0.0, -500.0]], np.float32), TASK)
    assert logs.min() == FLOOR
    assert logs.max() == 0.0


def test_labels_of_a_sigmoid_are_independent() -> None:
    task = Task(kind="sequence-classification", labels=("a", "b"), activation="sigmoid")
    np.testing.assert_allclose(one(windows([[0.0, 2.0]], [10]), task).probabilities, [0.5, 0.880797], rtol=1e-5)


def test_probabilities_that_the_graph_gives_itself() -> None:
    task = Task(kind="sequence-classification", labels=("a", "b"), activation="identity", temperature=3.0)
    np.testing.assert_allclose(one(windows([[0.3, 0.7]], [10]), task).probabilities, [0.3, 0.7], rtol=1e-5)


@pytest.mark.parametrize("kind", ["regression", "embedding"])
def test_values_that_are_no_classes_are_averaged(kind: str) -> None:
    task = Task(kind=kind)  # type: ignore[arg-type]
    scores = one(windows([[1.0, 8.0], [3.0, 0.0]], [30, 10]), task)
    np.testing.assert_allclose(scores.probabilities, [1.5, 6.0])


def test_a_read_without_windows_has_empty_scores_between_its_neighbours() -> None:
    full = windows([[1.0, 0.0, 0.0]], [10])
    first, empty, last = all_of([full, windows([], []), full])
    assert len(empty.windows) == len(empty.probabilities) == 0
    np.testing.assert_array_equal(first.probabilities, last.probabilities)
    assert all_of([]) == []


def test_of_a_read_that_was_not_scored_to_its_end_the_first_windows_count() -> None:
    _, rows = part = windows([[1.0, 0.0, 0.0], [0.0, 3.0, 0.0]], [100, 50])
    starts, ends = np.array([0, 100, 150]), np.array([100, 150, 400])
    whole = Windows(np.array([3]), starts, ends, np.array([0.25]), scored=np.array([2]))
    scores = aggregate(whole, rows, TASK)[0]
    np.testing.assert_array_equal(scores.probabilities, one(part).probabilities)
    assert (scores.starts.tolist(), scores.ends.tolist(), scores.planned) == ([0, 100], [100, 150], 3)


@given(
    reads=st.lists(
        st.lists(
            st.tuples(st.lists(st.floats(-30, 30, width=32), min_size=3, max_size=3), st.integers(1, 999)),
            min_size=1,
            max_size=5,
        ),
        min_size=1,
        max_size=6,
    )
)
def test_the_company_of_a_read_changes_nothing(reads: list[list[tuple[list[float], int]]]) -> None:
    several = [windows([row for row, _ in read], [length for _, length in read]) for read in reads]
    for together, read in zip(all_of(several), several, strict=True):
        np.testing.assert_array_equal(together.probabilities, one(read).probabilities)
        assert together.probabilities.sum() == pytest.approx(1, abs=1e-5)
