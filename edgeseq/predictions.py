"""What the runtime says about a chunk of reads, as columns.

A `Prediction` is made only for those who ask for one read; whoever can use columns (the closing table, rows of text)
never does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
from numpy.typing import NDArray

from edgeseq.chunks import Chunk
from edgeseq.prediction import Decision, Prediction, Scores, Segment


@dataclass(frozen=True, slots=True)
class ScoreColumns:
    """The `Scores` of several reads.

    ``probabilities`` is float32 of (reads, labels); the row of a read without windows means nothing. ``windows`` holds
    the scored windows of all reads, one read after the other, ``starts`` and ``ends`` the place of each on its read,
    ``counts`` how many of them each read has and ``first`` the place of its first one.
    """

    probabilities: NDArray[np.float32]
    windows: NDArray[np.float32]
    counts: NDArray[np.int64]
    first: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    planned: NDArray[np.int64]
    n_fractions: NDArray[np.float64]

    @classmethod
    def of(cls, scores: Sequence[Scores]) -> ScoreColumns:
        """The columns of scores, all of which have the same labels."""
        counts = np.array([len(one.windows) for one in scores], np.int64)
        labels = max((one.probabilities.size for one in scores), default=0)
        probabilities = np.zeros((len(scores), labels), np.float32)
        for row, one in zip(probabilities, scores, strict=True):
            row[: one.probabilities.size] = one.probabilities
        return cls(
            probabilities,
            np.concatenate([np.empty((0, labels), np.float32), *[one.windows for one in scores if len(one.windows)]]),
            counts,
            np.cumsum(counts) - counts,
            np.concatenate([np.empty(0, np.int64), *[one.starts for one in scores]]),
            np.concatenate([np.empty(0, np.int64), *[one.ends for one in scores]]),
            np.array([one.planned for one in scores], np.int64),
            np.array([one.n_fraction for one in scores], np.float64),
        )

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, read: int) -> Scores:
        first, count = int(self.first[read]), int(self.counts[read])
        windows = slice(first, first + count)
        return Scores(
            self.probabilities[read] if count else np.empty(0, np.float32),
            self.windows[windows] if count else np.empty((0, 0), np.float32),
            self.starts[windows],
            self.ends[windows],
            int(self.planned[read]),
            float(self.n_fractions[read]),
        )


@dataclass(frozen=True, slots=True)
class DecisionColumns:
    """The `Decision` of each of several reads; ``segments`` holds those of the reads that have any, by place."""

    labels: list[str]
    scores: list[float]
    candidates: list[str]
    reasons: list[str]
    segments: Mapping[int, tuple[Segment, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, decisions: Sequence[Decision]) -> DecisionColumns:
        """The columns of decisions."""
        return cls(
            [one.label for one in decisions],
            [one.score for one in decisions],
            [one.candidate for one in decisions],
            [one.reason for one in decisions],
            {place: one.segments for place, one in enumerate(decisions) if one.segments},
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, read: int) -> Decision:
        return Decision(
            self.labels[read], self.scores[read], self.candidates[read], self.reasons[read], self.segments.get(read, ())
        )


class Predictions(Sequence[Prediction]):
    """One prediction for each read of a chunk, in order."""

    __slots__ = ("chunk", "decisions", "scores")

    def __init__(self, chunk: Chunk, scores: ScoreColumns, decisions: DecisionColumns) -> None:
        self.chunk = chunk
        self.scores = scores
        self.decisions = decisions

    @classmethod
    def of(cls, predictions: Sequence[Prediction]) -> Predictions:
        """Predictions made one by one, for a sink."""
        return cls(
            Chunk([one.read for one in predictions]),
            ScoreColumns.of([one.scores for one in predictions]),
            DecisionColumns.of([one.decision for one in predictions]),
        )

    def __len__(self) -> int:
        return len(self.chunk)

    @overload
    def __getitem__(self, place: int) -> Prediction: ...

    @overload
    def __getitem__(self, place: slice) -> list[Prediction]: ...

    def __getitem__(self, place: int | slice) -> Prediction | list[Prediction]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        return Prediction(self.chunk[place], self.scores[place], self.decisions[place])

    def __iter__(self) -> Iterator[Prediction]:
        for place, read in enumerate(self.chunk):
            yield Prediction(read, self.scores[place], self.decisions[place])
