"""Rows of output come in any order and leave in order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.outputs import OutputRows


def outputs(*numbers: int) -> np.ndarray:
    return np.array([[number, -number] for number in numbers], np.float32)


def test_rows_leave_once_all_before_them_came() -> None:
    rows = OutputRows()
    rows.put(np.array([1, 2]), outputs(1, 2), close=True)
    assert rows.complete == 0
    rows.put(np.array([0, 5]), outputs(0, 5), close=True)
    assert rows.complete == 3
    assert rows.take(2).tolist() == outputs(0, 1).tolist()
    assert rows.between(5, 6).tolist() == outputs(5).tolist()
    assert rows.take(3).tolist() == outputs(2).tolist()
    assert rows.take(3).shape == (0, 2)


def test_rows_that_are_open_hold_back_those_behind_them_and_closed_ones_may_have_no_output() -> None:
    rows = OutputRows()
    rows.put(np.array([0, 1]), outputs(0, 1), close=False)
    rows.put(np.array([4]), outputs(4), close=True)
    assert rows.complete == 0
    rows.close(np.arange(4))
    assert rows.complete == 5
    assert rows.take(5).tolist() == outputs(0, 1, 4).tolist()


@given(order=st.permutations(range(40)), size=st.integers(1, 9))
def test_nothing_is_lost_or_repeated(order: list[int], size: int) -> None:
    rows = OutputRows()
    seen = []
    for start in range(0, len(order), size):
        rows.put(np.array(order[start : start + size]), outputs(*order[start : start + size]), close=True)
        came = {*order[: start + size]}
        assert rows.complete == next(number for number in range(41) if number not in came)
        seen += rows.take(rows.complete).tolist()
    assert seen == outputs(*range(40)).tolist()
