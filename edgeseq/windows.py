"""Where the windows of reads lie."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeseq.manifest import Input


class Windows:
    """The windows of several reads, one read after the other.

    Of each read, ``counts`` holds the number of its windows, ``first`` the place of the first of them among all,
    ``n_fractions`` the share of unknown letters, and ``scored`` how many of its windows, from the first on, have been
    scored. Of each window, ``starts`` and ``ends`` hold its place on its read (half open, in bases).
    """

    def __init__(
        self,
        counts: NDArray[np.int64],
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        n_fractions: NDArray[np.float64],
        scored: NDArray[np.int64] | None = None,
    ) -> None:
        self.counts = counts
        self.first: NDArray[np.int64] = np.cumsum(counts) - counts
        self.starts = starts
        self.ends = ends
        self.n_fractions = n_fractions
        self.scored = counts if scored is None else scored

    def between(self, begin: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places of the windows ``begin[i]`` to ``end[i]`` (not included) of each read i."""
        counts = end - begin
        within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        places: NDArray[np.int64] = np.repeat(self.first + begin, counts) + within
        return places


def tile(lengths: NDArray[np.int64], spec: Input) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """How many windows reads of ``lengths`` bases have, and the start and the end of each window.

    Windows start at 0 and then every ``spec.stride`` bases until the end of the read is reached; all but the last are
    ``spec.window`` long. A last window shorter than ``spec.minimum`` is not used as it is: its start moves back so that
    it covers the last ``spec.window`` bases of the read. While ``stride <= window``, therefore, every base is seen, and
    only a read shorter than ``minimum`` itself gives a window that is shorter. A read of no bases has no windows.
    """
    counts = (lengths > 0).astype(np.int64)
    long = lengths > spec.window
    if not long.any():
        ends = lengths[lengths > 0]
        return counts, np.zeros_like(ends), ends
    reach = np.minimum(lengths[long] - spec.window + spec.stride, lengths[long])
    counts[long] = -(-reach // spec.stride)
    first = np.cumsum(counts) - counts
    of_read = np.repeat(lengths, counts)
    starts = (np.arange(len(of_read)) - np.repeat(first, counts)) * spec.stride
    ends = np.minimum(starts + spec.window, of_read)
    last = (first + counts - 1)[long]
    short = last[(ends - starts)[last] < min(spec.minimum, spec.window)]
    starts[short] = of_read[short] - spec.window
    return counts, starts, ends
