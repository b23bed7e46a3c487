"""Predictions as tab-separated rows, one for each read or one for each window."""

from __future__ import annotations

from edgeseq.manifest import Task
from edgeseq.prediction import Prediction, Segment
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
        self._digits = ("{:.4f}" if self._labels else "{:.6g}").format
        self._per_window = per_window
        self._source: tuple[str, str] = ("", "")
        output.write(("\t".join(WINDOW_COLUMNS if per_window else COLUMNS) + "\n").encode())

    def write(self, prediction: Prediction) -> None:
        text = self._windows(prediction) if self._per_window else self._read(prediction)
        self._output.write(text.encode("utf-8", "surrogateescape"))

    def flush(self) -> None:
        self._output.flush()

    def commit(self) -> None:
        self._output.commit()

    def abandon(self, *, keep: bool = False) -> None:
        self._output.abandon(keep=keep)

    def _read(self, prediction: Prediction) -> str:
        read, scores, (label, score, candidate, reason, segments) = prediction
        value = self._digits(score)
        parts = ";".join(map(_segment, segments)) if segments else NONE
        row = (
            f"{read.id}\t{self._name(read.source)}\t{len(read.sequence)}\t{label or NONE}\t{value}\t"
            f"{candidate or NONE}\t{reason or NONE}\t{len(scores.windows)}\t{scores.n_fraction:.4f}\t{parts}\t"
            f"{read.barcode or NONE}\n"
        )
        if row.count("\t") == len(COLUMNS) - 1 and row.count("\n") == 1 and "\r" not in row:
            return row
        fixed = (read.id, read.source, str(len(read.sequence)), label, value, candidate, reason)
        return (
            "\t".join(map(_clean, (*fixed, str(len(scores.windows)), f"{scores.n_fraction:.4f}", parts, read.barcode)))
            + "\n"
        )

    def _windows(self, prediction: Prediction) -> str:
        read, scores = prediction.read, prediction.scores
        start = f"{_clean(read.id)}\t{self._name(read.source)}"
        best = scores.windows.argmax(axis=1) if self._labels else [0] * len(scores.windows)
        rows = []
        for first, last, column, values in zip(scores.starts, scores.ends, best, scores.windows, strict=True):
            label = _clean(self._labels[column]) if self._labels else NONE
            rows.append(f"{start}\t{first}\t{last}\t{label}\t{self._digits(values[column])}\n")
        return "".join(rows)

    def _name(self, source: str) -> str:
        if source is not self._source[0]:
            self._source = (source, _clean(source))
        return self._source[1]


def _segment(segment: Segment) -> str:
    return f"{segment.start}-{segment.end}:{_clean(segment.label)}:{segment.score:.4f}"


def _clean(text: str) -> str:
    """``text`` as one value of a row."""
    return text.translate(_ESCAPES) or NONE
