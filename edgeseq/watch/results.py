"""The rows of a journal, in the columns of ``edgeseq score``, for those who want them as a file.

A reader works beside the daemon: what it gives is a snapshot, complete up to one moment.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

from edgeseq.errors import MissingExtraError, ReadError, SinkError
from edgeseq.reads import open_reads
from edgeseq.sinks.output import Output
from edgeseq.sinks.split import SplitSink
from edgeseq.sinks.tsv import COLUMNS, table_rows
from edgeseq.watch.journal_reader import JournalReader

ResultFormat = Literal["tsv", "jsonl", "parquet"]
EXTRA_COLUMNS = ("run", "part", "policy", "bundle", "scored")
"""What the journal knows beyond the columns of ``edgeseq score``: ``bundle`` is the sha256 of the bundle that scored
the read, ``scored`` the time of storing as seconds since 1970, ``policy`` how much of the read was scored."""
CLASSIFICATION = "sequence-classification"
_LOT = 10_000


@dataclass(frozen=True, slots=True)
class Selection:
    """Which reads; nothing chosen means all."""

    barcodes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


class _Table(Protocol):
    def write(self, rows: Sequence[tuple[Any, ...]]) -> None: ...

    def commit(self) -> None: ...

    def abandon(self) -> None: ...


def export_results(folder: Path, output: Path | None, kind: ResultFormat, selection: Selection, *, extra: bool) -> int:
    """Writes the rows of the journal in ``folder``, in the order of scoring; how many there were.

    Without ``output``, rows go to standard output; ``extra`` adds `EXTRA_COLUMNS` to a TSV, the other formats have them
    anyway. Raises JournalError, SinkError and, where pyarrow is absent, MissingExtraError; a file that is not complete
    never gets its name.
    """
    reader = JournalReader(folder)
    classifies = reader.settings().get("task", CLASSIFICATION) == CLASSIFICATION
    table = _open(output, kind, extra=extra, form="%.4f" if classifies else "%.6g")
    count = 0
    try:
        rows = reader.rows(selection.barcodes, selection.labels)
        while lot := list(islice(rows, _LOT)):
            table.write(lot)
            count += len(lot)
        table.commit()
    finally:
        table.abandon()
        reader.close()
    return count


def _open(output: Path | None, kind: ResultFormat, *, extra: bool, form: str) -> _Table:
    if kind == "parquet":
        if output is None:
            raise SinkError("standard output: parquet needs a file; name one with -o")
        return _Parquet(output)
    return _Tsv(Output(output), extra=extra, form=form) if kind == "tsv" else _Jsonl(Output(output))


def split_reads(folder: Path, target: Path, report: Callable[[ReadError], None]) -> int:
    """Writes the reads of each class to ``target``/LABEL.fastq.gz, from the files they came from; how many.

    The files must still be where they were; what cannot be read any more goes to ``report``. Raises JournalError,
    SinkError and UsageError; files get their names when all are complete.
    """
    reader = JournalReader(folder)
    sink = SplitSink(target, reader.labels())
    count = 0
    try:
        for source in reader.sources():
            calls = reader.calls(source.id)
            if not calls:
                continue
            try:
                for read in open_reads(Path(source.root) / source.relative):
                    label = calls.pop(read.record, None)
                    if label is not None:
                        sink.put(read, label)
                        count += 1
            except ReadError as error:
                if calls:
                    report(error)
        sink.commit()
    finally:
        sink.abandon()
        reader.close()
    return count


class _Tsv:
    """The columns of ``edgeseq score``, to the byte; ``extra`` adds `EXTRA_COLUMNS`."""

    def __init__(self, output: Output, *, extra: bool, form: str) -> None:
        self._output = output
        self._forms = ["%s", "%s", "%d", "%s", form, "%s", "%s", "%d", "%.4f", "%s", "%s"]
        self._names: tuple[str, ...] = COLUMNS
        if extra:
            self._forms += ["%s", "%s", "%s", "%s", "%.3f"]
            self._names = (*COLUMNS, *EXTRA_COLUMNS)
        output.write(("\t".join(self._names) + "\n").encode())

    def write(self, rows: Sequence[tuple[Any, ...]]) -> None:
        columns = zip(*[row[: len(self._forms)] for row in rows], strict=True)
        texts = [
            list(column) if form == "%s" else [form % value for value in column]
            for form, column in zip(self._forms, columns, strict=True)
        ]
        self._output.write(table_rows(texts).encode("utf-8", "surrogateescape"))

    def commit(self) -> None:
        self._output.commit()

    def abandon(self) -> None:
        self._output.abandon()


class _Jsonl:
    """One object in each line, with all columns; null for a value that there is not."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._encode = json.JSONEncoder(separators=(",", ":")).encode

    def write(self, rows: Sequence[tuple[Any, ...]]) -> None:
        self._output.write("".join(self._encode(entry) + "\n" for entry in _entries(rows)).encode())

    def commit(self) -> None:
        self._output.commit()

    def abandon(self) -> None:
        self._output.abandon()


class _Parquet:
    """One row group for each lot, through pyarrow."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow as pa
            from pyarrow import parquet
        except ImportError as error:
            raise MissingExtraError("pyarrow", "parquet") from error
        self._arrow = pa
        text, whole, real = pa.string(), pa.int64(), pa.float64()
        kinds = {"length": whole, "windows": whole, "score": real, "n_fraction": real, "scored": real}
        self._schema = pa.schema([(name, kinds.get(name, text)) for name in (*COLUMNS, *EXTRA_COLUMNS)])
        self._path = path
        self._partial = path.with_name(f"{path.name}.partial")
        try:
            self._writer = parquet.ParquetWriter(self._partial, self._schema)
        except OSError as error:
            raise SinkError(f"{path}: cannot be written: {error.strerror or error}") from error

    def write(self, rows: Sequence[tuple[Any, ...]]) -> None:
        flat = [{**entry, "segments": row[9]} for entry, row in zip(_entries(rows), rows, strict=True)]
        self._writer.write_table(self._arrow.Table.from_pylist(flat, schema=self._schema))

    def commit(self) -> None:
        self._writer.close()
        self._partial.replace(self._path)

    def abandon(self) -> None:
        self._writer.close()
        self._partial.unlink(missing_ok=True)


def _entries(rows: Sequence[tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        entry: dict[str, Any] = {
            name: None if value == "" else value for name, value in zip((*COLUMNS, *EXTRA_COLUMNS), row, strict=True)
        }
        entry["segments"] = _segments(row[9])
        yield entry


def _segments(text: str) -> list[Mapping[str, Any]]:
    """The segments of a read from their text, ``0-900:label:0.9991;…``."""
    found: list[Mapping[str, Any]] = []
    for part in text.split(";") if text not in ("", ".") else ():
        place, rest = part.split(":", 1)
        label, score = rest.rsplit(":", 1)
        start, end = place.split("-")
        found.append({"start": int(start), "end": int(end), "label": label, "score": float(score)})
    return found
