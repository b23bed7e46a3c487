"""Operating points: which setting of a classifier is allowed by its false calls, and what it finds there.

A classifier is a list of `Setting`s over the same reads. One half of the background reads chooses the setting, the
other half says how many false calls it really makes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeseq.prediction import UNCLASSIFIED
from export.genomes import OTHER

Labels = NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Setting:
    """What a tool calls every read with one setting: ``labels`` (reads,)."""

    name: str
    labels: Labels


@dataclass(frozen=True, slots=True)
class Chosen:
    """A setting, and the false calls on the half of the background that did not choose it."""

    setting: Setting
    false: int
    background: int


def called_virus(labels: Labels) -> NDArray[np.bool_]:
    """Reads that were called something other than background."""
    return np.asarray((labels != OTHER) & (labels != UNCLASSIFIED))


def thresholds(candidate: Labels, score: NDArray[np.floating], points: Iterable[float], unit: str) -> list[Setting]:
    """Settings of a tool with a score: a candidate below the threshold is not called."""
    return [Setting(f"{unit} ≥ {point:.6g}", np.where(score >= point, candidate, UNCLASSIFIED)) for point in points]


def candidate_points(candidate: Labels, score: NDArray[np.floating], background: NDArray[np.bool_]) -> list[float]:
    """The thresholds that matter: 0, and just above each of the 200 highest scores of background called a virus."""
    worst = np.sort(score[background & called_virus(candidate)])[::-1][:200]
    return [0.0, *(float(np.nextafter(value, np.inf, dtype=score.dtype)) for value in np.unique(worst))]


def halves(background: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Every other background read, and the rest."""
    number = np.cumsum(background)
    return background & (number % 2 == 0), background & (number % 2 == 1)


def judge(setting: Setting, background: NDArray[np.bool_]) -> Chosen:
    """A setting that nobody chose, with its false calls on all of the background."""
    return Chosen(setting, int((called_virus(setting.labels) & background).sum()), int(background.sum()))


def choose(
    settings: Sequence[Setting],
    background: NDArray[np.bool_],
    lineages: Mapping[str, tuple[NDArray[np.bool_], str]],
    limit: float,
) -> Chosen:
    """The setting that finds most, averaged over ``lineages`` (name → reads, expected label), within ``limit``.

    Raises ValueError if every setting makes more false calls than that.
    """
    fitting, rest = halves(background)
    allowed = [one for one in settings if (called_virus(one.labels) & fitting).sum() <= limit * fitting.sum()]
    if not allowed:
        raise ValueError(f"no setting keeps false calls at {limit:.2%} or below")

    def found(setting: Setting) -> float:
        return float(np.mean([(setting.labels[reads] == label).mean() for reads, label in lineages.values()]))

    return judge(max(allowed, key=found), rest)


def paired_difference(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Difference of two shares over the same reads, and its 95 % interval (normal approximation)."""
    difference = first.astype(float) - second.astype(float)
    half = 1.959964 * difference.std() / np.sqrt(len(difference))
    mean = float(difference.mean())
    return mean, mean - float(half), mean + float(half)
