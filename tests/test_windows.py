"""How reads are tiled."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.manifest import Input
from edgeseq.windows import Windows, tile


def windows(length: int, window: int, stride: int, minimum: int) -> list[tuple[int, int]]:
    counts, starts, ends = tile(np.array([length]), Input(window=window, stride=stride, minimum=minimum))
    assert starts.dtype == ends.dtype == np.int64
    assert counts.tolist() == [len(starts)]
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, []),
        (1, [(0, 1)]),
        (100, [(0, 100)]),
        (101, [(0, 100), (1, 101)]),
        (119, [(0, 100), (19, 119)]),
        (120, [(0, 100), (100, 120)]),
        (199, [(0, 100), (100, 199)]),
        (200, [(0, 100), (100, 200)]),
        (205, [(0, 100), (100, 200), (105, 205)]),
    ],
)
def test_a_tail_shorter_than_the_minimum_moves_back_to_a_full_window(
    length: int, expected: list[tuple[int, int]]
) -> None:
    assert windows(length, window=100, stride=100, minimum=20) == expected


def test_overlapping_windows_stop_when_the_end_is_reached() -> None:
    assert windows(160, window=100, stride=60, minimum=1) == [(0, 100), (60, 160)]
    assert windows(161, window=100, stride=60, minimum=1) == [(0, 100), (60, 160), (120, 161)]
    assert windows(161, window=100, stride=60, minimum=50) == [(0, 100), (60, 160), (61, 161)]


def test_a_stride_beyond_the_window_leaves_gaps_and_never_starts_after_the_end() -> None:
    assert windows(150, window=100, stride=200, minimum=1) == [(0, 100)]
    assert windows(230, window=100, stride=200, minimum=1) == [(0, 100), (200, 230)]


@given(
    lengths=st.lists(st.integers(0, 700), max_size=8),
    window=st.integers(1, 300),
    stride=st.integers(1, 300),
    minimum=st.integers(0, 300),
)
def test_reads_are_tiled_together_as_alone(lengths: list[int], window: int, stride: int, minimum: int) -> None:
    spec = Input(window=window, stride=stride, minimum=minimum)
    counts, starts, ends = tile(np.array(lengths, np.int64), spec)
    alone = [windows(length, window, stride, minimum) for length in lengths]
    assert counts.tolist() == [len(each) for each in alone]
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == [place for each in alone for place in each]


def test_places_of_some_windows_of_each_read() -> None:
    found = Windows(np.array([2, 0, 3]), np.arange(5), np.arange(5) + 1, np.zeros(3))
    assert found.first.tolist() == [0, 2, 2]
    assert found.between(np.array([0, 0, 1]), np.array([1, 0, 3])).tolist() == [0, 3, 4]


@given(
    length=st.integers(1, 5000),
    window=st.integers(1, 600),
    stride=st.integers(1, 600),
    minimum=st.integers(0, 600),
)
def test_windows_cover_the_read_in_order(length: int, window: int, stride: int, minimum: int) -> None:
    stride = min(stride, window)
    tiles = windows(length, window, stride, minimum)
    assert tiles[0][0] == 0
    assert tiles[-1][1] == length
    for (start, end), (following, next_end) in pairwise(tiles):
        assert end - start == window
        assert start < following <= end < next_end
    if length >= min(minimum, window):
        assert tiles[-1][1] - tiles[-1][0] >= min(minimum, window)
