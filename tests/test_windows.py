"""How a read is tiled."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.manifest import Input
from edgeseq.windows import tile


def windows(length: int, window: int, stride: int, minimum: int) -> list[tuple[int, int]]:
    starts, ends = tile(length, Input(window=window, stride=stride, minimum=minimum))
    assert starts.dtype == ends.dtype == np.int64
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
