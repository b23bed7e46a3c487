"""What the runtime says about one read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeseq.read import Read

UNCLASSIFIED = "unclassified"


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a read, ``start`` to ``end`` in bases (half open), whose windows agree on ``label``."""

    start: int
    end: int
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Scores:
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


@dataclass(frozen=True, slots=True)
class Decision:
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


@dataclass(frozen=True, slots=True)
class Prediction:
    """A read with its scores and its decision."""

    read: Read
    scores: Scores
    decision: Decision
