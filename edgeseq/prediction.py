"""What the runtime says about one read.

Named tuples: they are made by the thousand, and a tuple is made several times as fast as a frozen dataclass.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeseq.read import Read

UNCLASSIFIED = "unclassified"


class Segment(NamedTuple):
    """A stretch of a read, ``start`` to ``end`` in bases (half open), whose windows agree on ``label``."""

    start: int
    end: int
    label: str
    score: float


class Scores(NamedTuple):
    """Aggregated model output for one read, before any decision.

    ``probabilities`` is float32 of shape (labels,). ``windows`` holds one row of float32 probabilities for each scored
    window (windows × labels), ``starts`` and ``ends`` its place on the read, in bases. ``planned`` counts the windows
    that the read has; early stopping scores fewer.
    """

    probabilities: NDArray[np.float32]
    windows: NDArray[np.float32]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    planned: int
    n_fraction: float


class Decision(NamedTuple):
    """The call for a read.

    ``label`` is a task label or ``unclassified``; ``score`` the probability of ``candidate``, the most probable label
    (equal to ``label`` where the read was called). ``reason`` says why it was not called: ``short``, ``n``, ``score``,
    ``empty``, or is empty. ``segments`` has more than one entry where the class changes along the read (chimera).
    """

    label: str
    score: float
    candidate: str
    reason: str = ""
    segments: tuple[Segment, ...] = ()


class Prediction(NamedTuple):
    """A read with its scores and its decision."""

    read: Read
    scores: Scores
    decision: Decision
