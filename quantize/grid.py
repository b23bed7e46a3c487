"""Numbers on a grid: arrays as integers of 8 or 4 bits with scales."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CLIPS = np.linspace(0.55, 1.0, 19)
"""Shares of the largest value at which 4-bit grids may end."""


@dataclass(frozen=True, slots=True)
class Gridded:
    """``values`` ≈ ``integers`` × ``scales``: int8 of the same shape, float32 that broadcast against it."""

    integers: NDArray[np.int8]
    scales: NDArray[np.float32]

    def restored(self) -> NDArray[np.float32]:
        """The values on the grid."""
        result: NDArray[np.float32] = self.integers.astype(np.float32) * self.scales
        return result


def symmetric(values: NDArray[np.floating], axis: int | None, limit: int, *, half: bool = False) -> Gridded:
    """``values`` on a grid of −``limit`` to ``limit`` with a scale for each index along ``axis`` (None: one for all).

    ``half``: the scales are rounded to float16, which is what is stored of them. The error of a value is at most half
    its scale (a little more with ``half``).
    """
    values = np.asarray(values, np.float32)
    largest = _largest(values, axis)
    return _rounded(values, largest / np.float32(limit), limit, half)


def best_clip(values: NDArray[np.floating], limit: int, *, half: bool = False) -> Gridded:
    """Rows of ``values`` (rows × columns) on grids whose ends are chosen for the least squared error of each row."""
    values = np.asarray(values, np.float32)
    largest = _largest(values, 0)
    best = _rounded(values, largest / np.float32(limit), limit, half)
    error = _squared(values, best)
    for share in CLIPS[:-1]:
        tried = _rounded(values, largest * np.float32(share / limit), limit, half)
        found = _squared(values, tried)
        better = found < error
        error = np.where(better, found, error)
        best = Gridded(
            np.where(better[:, None], tried.integers, best.integers),
            np.where(better[:, None], tried.scales, best.scales),
        )
    return best


def pack_nibbles(integers: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Rows of an even number of integers within [−8, 7], two to a byte, each plus 8: the first half of the columns in
    the low nibbles, the second half in the high ones."""
    lifted = (integers.astype(np.int16) + 8).astype(np.uint8)
    half = lifted.shape[1] // 2
    packed: NDArray[np.uint8] = lifted[:, :half] | (lifted[:, half:] << np.uint8(4))
    return packed


def _largest(values: NDArray[np.float32], axis: int | None) -> NDArray[np.float32]:
    if axis is None:
        whole: NDArray[np.float32] = np.abs(values).max(keepdims=True)
        return whole
    others = tuple(each for each in range(values.ndim) if each != axis % values.ndim)
    result: NDArray[np.float32] = np.abs(values).max(axis=others, keepdims=True)
    return result


def _rounded(values: NDArray[np.float32], scales: NDArray[np.float32], limit: int, half: bool) -> Gridded:
    scales = np.where(scales > 0, scales, np.float32(1)).astype(np.float32)
    if half:
        scales = np.maximum(scales, np.float32(6.2e-5)).astype(np.float16).astype(np.float32)
    integers = np.clip(np.rint(values / scales), -limit, limit).astype(np.int8)
    return Gridded(integers, scales)


def _squared(values: NDArray[np.float32], found: Gridded) -> NDArray[np.float64]:
    result: NDArray[np.float64] = ((values - found.restored()) ** 2).sum(axis=1, dtype=np.float64)
    return result
