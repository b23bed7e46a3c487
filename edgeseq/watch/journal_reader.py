"""A journal for those who only look."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgeseq.watch.journal import BUSY_SECONDS, NAME, Group, JournalError, Source, counted, journal_error


class JournalReader:
    """The journal of a folder for those who only look: a snapshot at each call, also while it is written."""

    def __init__(self, folder: Path) -> None:
        """Raises JournalError where there is no journal."""
        self.path = folder / NAME
        if not self.path.is_file():
            raise JournalError(self.path, "there is no journal", remedy="name the output folder of edgeseq watch")
        try:
            self._db = sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
            self._db.execute("SELECT 1 FROM settings LIMIT 1")
        except sqlite3.Error as error:
            raise journal_error(self.path, error) from error

    def settings(self) -> dict[str, str]:
        """What the journal was begun with."""
        return dict(self._db.execute("SELECT key, value FROM settings"))

    def groups(self) -> list[Group]:
        """Counts by barcode, label and reason, over all reads."""
        return counted(self._db)

    def rows(self, barcodes: Sequence[str] = (), labels: Sequence[str] = ()) -> Iterator[tuple[Any, ...]]:
        """The columns of `edgeseq.sinks.tsv.COLUMNS` of each read, in the order of scoring, then run, part, policy,
        sha256 of the bundle and time.

        With ``barcodes`` or ``labels``, of their reads only.
        """
        wanted = {"reads.barcode": barcodes, "label": labels}
        tests = [f"{column} IN ({', '.join('?' * len(names))})" for column, names in wanted.items() if names]
        statement = f"""
            SELECT read_id, root || '/' || relative, length, label, score, candidate, reason, windows, n_fraction,
                segments, reads.barcode, run, part, policy, bundle, scored
            FROM reads JOIN sources ON sources.id = reads.source
            {"WHERE" if tests else ""} {" AND ".join(tests)} ORDER BY number
        """
        yield from self._db.execute(statement, (*barcodes, *labels))

    def count(self) -> int:
        """How many reads there are: rows are numbered from 1 on, and none is ever removed."""
        return int(self._db.execute("SELECT ifnull(max(number), 0) FROM reads").fetchone()[0])

    def span(self) -> tuple[float, float] | None:
        """When the first and the last read were scored, seconds since 1970; None where there is none."""
        ends = [f"SELECT scored FROM reads WHERE number = (SELECT {end}(number) FROM reads)" for end in ("min", "max")]
        times = [when for (when,) in self._db.execute(" UNION ALL ".join(ends))]
        return (min(times), max(times)) if times else None

    def timeline(self, start: float, seconds: float) -> list[Group]:
        """Counts by barcode, label and reason, for each stretch of so many seconds from ``start`` on."""
        statement = """
            SELECT barcode, label, reason, count(*), sum(length), CAST((scored - ?) / ? AS INTEGER) AS step, min(number)
            FROM reads GROUP BY step, barcode, label, reason
        """
        return [Group(*row) for row in self._db.execute(statement, (start, seconds))]

    def sources(self) -> list[Source]:
        """All files that were ever followed."""
        columns = ", ".join(Source.__dataclass_fields__)
        return [Source(*row) for row in self._db.execute(f"SELECT {columns} FROM sources ORDER BY id")]

    def labels(self) -> list[str]:
        """What reads were called, each label once."""
        return [label for (label,) in self._db.execute("SELECT DISTINCT label FROM reads ORDER BY label")]

    def calls(self, source: int) -> dict[int, str]:
        """The labels of the reads that a source brought first, by the number of their record in it."""
        return dict(self._db.execute("SELECT record, label FROM reads WHERE source = ?", (source,)))

    def events(self, since: int = 0) -> list[tuple[int, float, str, str, str]]:
        """Number, time, kind, subject and text of what happened after event number ``since``."""
        return list(self._db.execute("SELECT * FROM events WHERE number > ? ORDER BY number", (since,)))

    def close(self) -> None:
        """Closes the file."""
        self._db.close()
