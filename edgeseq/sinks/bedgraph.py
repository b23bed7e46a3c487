"""Scores of bases as bedGraph: a file for each label, ready for genome browsers, bedtools and bedGraphToBigWig."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from edgeseq.manifest import Task
from edgeseq.sinks.output import Output
from edgeseq.tracks import Stretch

DECIMALS = 4
"""Of probabilities. Neighbouring bases whose rounded scores are equal share a row, which keeps files small."""


class BedGraphSink:
    """Writes rows of ``name start end score`` (half open, from 0), in the order of the reads, without a header.

    A row covers neighbouring bases of equal score. Bases without a score, and those below ``minimum``, have no row.
    Probabilities are rounded to `DECIMALS`; other values (``identity``) have six digits.
    """

    def __init__(self, outputs: Mapping[str, Output], task: Task, *, minimum: float | None = None) -> None:
        """``outputs`` has the output of each label that is written."""
        self._tracks = [_Track(task.labels.index(label), output, minimum) for label, output in outputs.items()]
        self._rounded = task.activation != "identity"

    def write(self, stretch: Stretch) -> None:
        """Takes the scores of some bases. Raises SinkError."""
        name = track_name(stretch.read_id)
        for track in self._tracks:
            scores = stretch.values[:, track.label].astype(np.float64)
            track.write(name, stretch, np.round(scores, DECIMALS) if self._rounded else scores)

    def flush(self) -> None:
        for track in self._tracks:
            track.output.flush()

    def commit(self) -> None:
        self.flush()
        for track in self._tracks:
            track.output.commit()

    def abandon(self, *, keep: bool = False) -> None:
        for track in self._tracks:
            track.output.abandon(keep=keep)


class _Track:
    """The rows of one label, and the run of equal scores that the next stretch of the read may prolong."""

    def __init__(self, label: int, output: Output, minimum: float | None) -> None:
        self.label = label
        self.output = output
        self._least = -np.inf if minimum is None else minimum
        self._open: tuple[int, float] | None = None

    def write(self, name: str, stretch: Stretch, scores: NDArray[np.float64]) -> None:
        scores = np.where(scores >= self._least, scores, np.inf)
        changes = np.concatenate([[True], scores[1:] != scores[:-1]]) if len(scores) else np.empty(0, np.bool_)
        begins = np.flatnonzero(changes)
        runs = scores[begins]
        starts = (begins + stretch.start).tolist()
        ends = [*starts[1:], stretch.start + len(scores)][: len(starts)]
        values = runs.tolist()
        if self._open is not None:
            start, value = self._open
            if values and values[0] == value:
                starts[0] = start
            else:
                starts, ends, values = [start, *starts], [stretch.start, *ends], [value, *values]
        self._open = None
        if not stretch.last and values:
            self._open = (starts.pop(), values.pop())
            ends.pop()
        rows = [
            f"{name}\t{start}\t{end}\t{value:.6g}\n"
            for start, end, value in zip(starts, ends, values, strict=True)
            if value != np.inf
        ]
        if rows:
            self.output.write("".join(rows).encode("utf-8", "surrogateescape"))


def track_name(read_id: str) -> str:
    """A read's id as the first column of a track: white space, which would end the column, as ``_``."""
    return read_id if read_id.isprintable() and " " not in read_id else "_".join(read_id.split()) or "_"


def track_paths(path: Path, labels: tuple[str, ...]) -> dict[str, Path]:
    """The file of each label: ``path`` itself for one, else ``NAME.LABEL.SUFFIX``.

    Characters of a label that a file name cannot hold are written as ``%XX``.
    """
    if len(labels) == 1:
        return {labels[0]: path}
    return {label: path.with_name(f"{path.stem}.{quote(label, safe=' +,@=')}{path.suffix}") for label in labels}
