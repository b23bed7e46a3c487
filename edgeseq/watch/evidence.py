"""Whether a class is present in a sample above the background rate: an answer that may be asked for at any time.

Reads come one after the other, and the question is asked again after each. The answer rests on a confidence sequence
for the share of reads called the class: an interval that holds the true share at all times at once, with a stated
probability. It is the mixture of Robbins (1970) over a Beta prior: for ``hits`` of ``reads``,

    M(p) = B(hits + a, misses + b) / B(a, b) / (p^hits (1 − p)^misses)

is a martingale where the share is ``p``, so that by Ville (1939) it ever reaches 1/α with a probability of α at the
most; the interval is where M(p) < 1/α.

detected         the interval lies above the background: wrong with a probability of α at the most, over all time
not detected     it does not, so far. Where it lies below the least share that matters, the class is ``ruled_out`` at
                 that share as well: wrong with a probability of β at the most, over all time
no data yet      no read, which is something else
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

PRIOR = (0.5, 0.5)
"""The Beta prior of the mixture. It steers how early an answer comes, never how often it is wrong."""
_STEPS = 40


class Answer(str, Enum):
    """What can be said of one class in one sample."""

    NO_DATA = "no data yet"
    NOT_DETECTED = "not detected"
    DETECTED = "detected"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Bounds:
    """The question: is the share of reads called a class above ``background``, and if not, is it below ``least``?"""

    background: float
    """The share of reads that are called the class where it is absent."""
    least: float
    """The smallest share that must not be missed; larger than ``background``."""
    alpha: float
    """How often "detected" may be said, at any time, where the share is at most ``background``."""
    beta: float
    """How often "ruled out" may be said, at any time, where the share is at least ``least``."""

    def __post_init__(self) -> None:
        if not 0 <= self.background < self.least < 1:
            raise ValueError(f"background {self.background} and least share {self.least} must rise within 0 to 1")
        if not (0 < self.alpha < 1 and 0 < self.beta < 1):
            raise ValueError("error rates lie between 0 and 1")


@dataclass(frozen=True, slots=True)
class Evidence:
    """The answer for one class in one sample, and what it rests on."""

    answer: Answer
    ruled_out: bool
    """Whether the share is below the least one that matters."""
    hits: int
    reads: int
    low: float
    """The share of reads is at least this, with the confidence of 1 − α."""
    high: float
    """The share of reads is at most this, with the confidence of 1 − β."""
    background: float
    """What ``low`` is compared with."""
    strength: float
    """Log10 of the evidence against "background only"; the threshold for "detected" is −log10 α."""


def weigh(hits: int, reads: int, bounds: Bounds, *, control: tuple[int, int] | None = None) -> Evidence:
    """The answer after ``hits`` of ``reads``.

    ``control`` is (hits, reads) of a negative control: its own share, at the upper end of its confidence sequence,
    stands in for the background where it is larger, and α is then shared by both sequences.
    """
    alpha, background = bounds.alpha, bounds.background
    if control is not None:
        alpha /= 2
        background = max(background, upper(*control, alpha))
    if not reads:
        return Evidence(Answer.NO_DATA, False, 0, 0, 0.0, 1.0, background, 0.0)
    low, high = lower(hits, reads, alpha), upper(hits, reads, bounds.beta)
    strength = max(0.0, log_mixture(hits, reads, background) / math.log(10)) if hits > background * reads else 0.0
    answer = Answer.DETECTED if low > background else Answer.NOT_DETECTED
    return Evidence(answer, high < bounds.least, hits, reads, low, high, background, strength)


def exceeds(hits: int, reads: int, background: float, alpha: float) -> bool:
    """Whether the interval at level α lies above ``background``: what `lower` tells, without looking for its end."""
    return hits > background * reads and log_mixture(hits, reads, background) >= -math.log(alpha)


def log_mixture(hits: int, reads: int, share: float) -> float:
    """Log M(share); infinite for a share that the data exclude."""
    return _log_evidence(hits, reads) - _log_likelihood(hits, reads - hits, share)


def lower(hits: int, reads: int, alpha: float) -> float:
    """The lower end of the confidence sequence at level α."""
    if not hits or not reads:
        return 0.0
    return _crossing(hits, reads, alpha, 0.0, hits / reads)


def upper(hits: int, reads: int, alpha: float) -> float:
    """The upper end of the confidence sequence at level α."""
    if hits == reads:
        return 1.0
    return _crossing(hits, reads, alpha, 1.0, hits / reads)


def _crossing(hits: int, reads: int, alpha: float, outside: float, inside: float) -> float:
    """Where M falls to 1/α between a share outside of the interval and one inside; on its outer side."""
    misses, limit = reads - hits, _log_evidence(hits, reads) + math.log(alpha)
    for _ in range(_STEPS):
        middle = (outside + inside) / 2
        if _log_likelihood(hits, misses, middle) <= limit:
            outside = middle
        else:
            inside = middle
    return outside


def _log_evidence(hits: int, reads: int) -> float:
    """The part of log M that does not depend on the share."""
    a, b = PRIOR
    return _log_beta(hits + a, reads - hits + b) - _log_beta(a, b)


def _log_likelihood(hits: int, misses: int, share: float) -> float:
    if (share <= 0 and hits) or (share >= 1 and misses):
        return -math.inf
    return (hits * math.log(share) if hits else 0.0) + (misses * math.log1p(-share) if misses else 0.0)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
