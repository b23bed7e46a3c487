"""Predictions as JSON, one object in each line."""

from __future__ import annotations

import json
from typing import Any

from edgeseq.manifest import Task
from edgeseq.prediction import Prediction
from edgeseq.predictions import Predictions
from edgeseq.sinks.output import Output


class JsonlSink:
    """Writes the columns of `edgeseq.sinks.tsv` as keys, ``null`` for a value that there is not.

    Classifiers add ``probabilities`` (an object, by label), models for embeddings ``embedding`` (a list), all
    others ``values`` (a list).
    """

    def __init__(self, output: Output, task: Task, *, per_window: bool = False) -> None:
        self._output = output
        self._task = task
        self._per_window = per_window
        self._encode = json.JSONEncoder(separators=(",", ":")).encode

    def write(self, predictions: Predictions) -> None:
        for prediction in predictions:
            rows = self._windows(prediction) if self._per_window else [self._read(prediction)]
            self._output.write("".join([self._encode(row) + "\n" for row in rows]).encode())

    def flush(self) -> None:
        self._output.flush()

    def commit(self) -> None:
        self._output.commit()

    def abandon(self, *, keep: bool = False) -> None:
        self._output.abandon(keep=keep)

    def _read(self, prediction: Prediction) -> dict[str, Any]:
        read, scores, decision = prediction.read, prediction.scores, prediction.decision
        header = read.header
        row: dict[str, Any] = {
            "read_id": read.id,
            "source": read.source,
            "length": len(read.sequence),
            "label": decision.label or None,
            "score": round(decision.score, 6),
            "candidate": decision.candidate or None,
            "reason": decision.reason or None,
            "windows": len(scores.windows),
            "n_fraction": round(scores.n_fraction, 6),
            "segments": [
                {"start": part.start, "end": part.end, "label": part.label, "score": round(part.score, 6)}
                for part in decision.segments
            ],
            "run": header.run or None,
            "channel": header.channel,
            "start_time": header.start_time or None,
            "barcode": header.barcode or None,
        }
        values = [round(value, 6) for value in scores.probabilities.tolist()]
        if self._task.kind == "sequence-classification":
            row["probabilities"] = dict(zip(self._task.labels, values, strict=False))
        elif self._task.kind == "embedding":
            row["embedding"] = values
        else:
            row["values"] = values
        return row

    def _windows(self, prediction: Prediction) -> list[dict[str, Any]]:
        read, scores = prediction.read, prediction.scores
        labels = self._task.labels if self._task.kind == "sequence-classification" else ()
        rows = []
        for start, end, values in zip(
            scores.starts.tolist(), scores.ends.tolist(), scores.windows.tolist(), strict=True
        ):
            best = max(range(len(values)), key=values.__getitem__) if labels else 0
            rows.append(
                {
                    "read_id": read.id,
                    "source": read.source,
                    "start": start,
                    "end": end,
                    "label": labels[best] if labels else None,
                    "score": round(values[best], 6),
                }
            )
        return rows
