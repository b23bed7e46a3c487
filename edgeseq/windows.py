"""Where the windows of a read lie."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeseq.manifest import Input


def tile(length: int, spec: Input) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and ends (half open, in bases) of the windows of a read of ``length`` bases, in order along the read.

    Windows start at 0 and then every ``spec.stride`` bases until the end of the read is reached; all but the last are
    ``spec.window`` long. A last window shorter than ``spec.minimum`` is not used as it is: its start moves back so that
    it covers the last ``spec.window`` bases of the read. While ``stride <= window``, therefore, every base is seen, and
    only a read shorter than ``minimum`` itself gives a window that is shorter. A read of no bases has no windows.
    """
    if length <= 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    if length <= spec.window:
        return np.zeros(1, np.int64), np.full(1, length, np.int64)
    starts = np.arange(0, min(length - spec.window + spec.stride, length), spec.stride, dtype=np.int64)
    ends = np.minimum(starts + spec.window, length)
    if ends[-1] - starts[-1] < min(spec.minimum, spec.window):
        starts[-1] = length - spec.window
    return starts, ends
