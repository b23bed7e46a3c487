"""Predictions as tab-separated rows, one for each read or one for each window."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.manifest import Task
from edgeseq.prediction import Segment
from edgeseq.predictions import Predictions
from edgeseq.sinks.output import Output

COLUMNS = (
    "read_id",
    "source",
    "length",
    "label",
    "score",
    "candidate",
    "reason",
    "windows",
    "n_fraction",
    "segments",
    "barcode",
)
WINDOW_COLUMNS = ("read_id", "source", "start", "end", "label", "score")
NONE = "."
"""Stands for a value that there is not."""

_ESCAPES = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})


class TsvSink:
    """Writes rows of `COLUMNS`, or with ``per_window`` of `WINDOW_COLUMNS`, under a line with their names.

    Text is UTF-8; bytes of a read id that are not, stay as they are. A tab or line break inside a value is written as
    ``\\t``, ``\\n`` or ``\\r``.
    """

    def __init__(self, output: Output, task: Task, *, per_window: bool = False) -> None:
        self._output = output
        self._labels = task.labels if task.kind == "sequence-classification" else ()
        self._number = "%.4f" if self._labels else "%.6g"
        self._per_window = per_window
        output.write(("\t".join(WINDOW_COLUMNS if per_window else COLUMNS) + "\n").encode())

    def write(self, predictions: Predictions) -> None:
        values = self._windows(predictions) if self._per_window else self._reads(predictions)
        self._output.write(table_rows(values).encode("utf-8", "surrogateescape"))

    def flush(self) -> None:
        self._output.flush()

    def commit(self) -> None:
        self._output.commit()

    def abandon(self, *, keep: bool = False) -> None:
        self._output.abandon(keep=keep)

    def _reads(self, predictions: Predictions) -> list[list[str]]:
        """The columns of rows for reads."""
        chunk, scores, decisions = predictions.chunk, predictions.scores, predictions.decisions
        segments = [NONE] * len(chunk)
        for place, parts in decisions.segments.items():
            segments[place] = ";".join(map(segment_text, parts))
        return [
            chunk.ids(),
            chunk.sources(),
            _texts("%d", chunk.lengths),
            decisions.labels,
            _texts(self._number, decisions.scores),
            decisions.candidates,
            decisions.reasons,
            _texts("%d", scores.counts),
            _texts("%.4f", scores.n_fractions),
            segments,
            chunk.barcodes(),
        ]

    def _windows(self, predictions: Predictions) -> list[list[str]]:
        """The columns of rows for windows."""
        chunk, scores = predictions.chunk, predictions.scores
        best = np.zeros(len(scores.windows), np.intp)
        labels = [NONE] * len(best)
        if self._labels and len(best):
            best = scores.windows.argmax(axis=1)
            labels = [self._labels[label] for label in best.tolist()]
        ids, sources, counts = chunk.ids(), chunk.sources(), scores.counts.tolist()
        return [
            [name for name, count in zip(ids, counts, strict=True) for _ in range(count)],
            [source for source, count in zip(sources, counts, strict=True) for _ in range(count)],
            _texts("%d", scores.starts),
            _texts("%d", scores.ends),
            labels,
            _texts(self._number, scores.windows[np.arange(len(best)), best]),
        ]


def _texts(form: str, values: NDArray[Any] | list[float]) -> list[str]:
    """Each number as text, with one formatting for all of them."""
    if not len(values):
        return []
    numbers = values if isinstance(values, list) else values.tolist()
    return ("\t".join([form] * len(numbers)) % tuple(numbers)).split("\t")


def table_rows(columns: list[list[str]]) -> str:
    """Rows of values parted by tabs. What would break a row is escaped; an empty value becomes `NONE`."""
    columns = [[value or NONE for value in column] if "" in column else column for column in columns]
    rows = "\n".join(map("\t".join, zip(*columns, strict=True))) + "\n" if columns[0] else ""
    tabs, ends = (len(columns) - 1) * len(columns[0]), len(columns[0])
    if rows.count("\t") == tabs and rows.count("\n") == ends and "\r" not in rows:
        return rows
    return "".join(["\t".join(map(_clean, row)) + "\n" for row in zip(*columns, strict=True)])


def segment_text(segment: Segment) -> str:
    """A segment as it stands in a row: start, end, label and score."""
    return f"{segment.start}-{segment.end}:{_clean(segment.label)}:{segment.score:.4f}"


def _clean(text: str) -> str:
    """``text`` as one value of a row."""
    return text.translate(_ESCAPES)
