"""Calls along reads as BED: where a label's score reaches its threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeseq.aggregate import Values
from edgeseq.errors import UsageError
from edgeseq.manifest import Manifest, Task
from edgeseq.sinks.bedgraph import track_name
from edgeseq.sinks.output import Output
from edgeseq.tracks import Stretch

DEFAULT = 0.5
"""The threshold where neither the user nor the bundle has one."""
WAITING = 50_000
"""So many rows may wait for one that begins before them and has not ended; then that one is cut in two."""

Row = tuple[int, int, str, float]
"""Start, end, label, highest score."""


class BedSink:
    """Writes rows of BED 6: ``name start end label score strand``, those of a read ordered by start, without a header.

    A row covers neighbouring bases at which the label's score is at least its threshold: each label for itself, so that
    rows of different labels may overlap. The score is the highest one in the row, times 1000. The strand is ``+`` (that
    of the read) where the bundle looks at one strand, and ``.`` where it looks at both.
    """

    def __init__(
        self, output: Output, manifest: Manifest, labels: tuple[str, ...], *, minimum: float | None = None
    ) -> None:
        """``minimum`` is the threshold of all labels instead of those of the bundle. Raises UsageError without any."""
        self._output = output
        self._strand = "+" if manifest.input.strand == "forward" else "."
        self._limits = {
            label: (manifest.task.labels.index(label), _limit(manifest.task, label, minimum)) for label in labels
        }
        self._open: dict[str, tuple[int, float]] = {}
        self._waiting: list[Row] = []

    def write(self, stretch: Stretch) -> None:
        """Takes the scores of some bases. Raises SinkError."""
        for label, (column, limit) in self._limits.items():
            self._add(label, stretch, stretch.values[:, column] >= np.float32(limit), stretch.values[:, column])
        end = stretch.start + len(stretch.values)
        if stretch.last or len(self._waiting) > WAITING:
            self._waiting += [(start, end, label, best) for label, (start, best) in self._open.items()]
            self._open.clear()
        self._put(track_name(stretch.read_id))

    def flush(self) -> None:
        self._output.flush()

    def commit(self) -> None:
        self._output.commit()

    def abandon(self, *, keep: bool = False) -> None:
        self._output.abandon(keep=keep)

    def _add(self, label: str, stretch: Stretch, called: NDArray[np.bool_], scores: Values) -> None:
        """Notes the rows of a label that end in a stretch, and the one that may go on after it."""
        edges = np.flatnonzero(np.diff(np.concatenate([[False], called, [False]]).astype(np.int8)))
        rows = [
            (start + stretch.start, end + stretch.start, label, float(scores[start:end].max()))
            for start, end in edges.reshape(-1, 2).tolist()
        ]
        known = self._open.pop(label, None)
        if known is not None:
            start, best = known
            if rows and rows[0][0] == stretch.start:
                rows[0] = (start, rows[0][1], label, max(best, rows[0][3]))
            else:
                rows.insert(0, (start, stretch.start, label, best))
        if rows and rows[-1][1] == stretch.start + len(scores) and not stretch.last:
            start, _, _, best = rows.pop()
            self._open[label] = (start, best)
        self._waiting += rows

    def _put(self, name: str) -> None:
        """Writes the rows that none still to come begins before."""
        self._waiting.sort()
        first = min((start for start, _ in self._open.values()), default=None)
        ready = self._waiting if first is None else [row for row in self._waiting if row[0] < first]
        self._waiting = self._waiting[len(ready) :]
        lines = [
            f"{name}\t{start}\t{end}\t{track_name(label)}\t{round(1000 * min(max(best, 0.0), 1.0))}\t{self._strand}\n"
            for start, end, label, best in ready
        ]
        if lines:
            self._output.write("".join(lines).encode("utf-8", "surrogateescape"))


def _limit(task: Task, label: str, minimum: float | None) -> float:
    """The score at which a label is called."""
    if minimum is not None:
        return minimum
    known = task.abstention.thresholds.get(label, task.abstention.minimum_score)
    if known > 0:
        return known
    if task.activation == "identity":
        raise UsageError("the bundle gives plain values and no thresholds: say with --min-score from which value on")
    return DEFAULT
