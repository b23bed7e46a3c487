"""A run without a sequencer, for tests: rows go to the journal and to those who listen, as the daemon does it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from edgeseq.scorer import load
from edgeseq.watch.alerts import Alerts, AlertSettings
from edgeseq.watch.answers import Questions
from edgeseq.watch.daemon import Daemon
from edgeseq.watch.journal import Entry, Journal, Row
from edgeseq.watch.live import Live

SILENT = AlertSettings(log=False)


@dataclass
class Run:
    """A journal, a daemon that does not run, and what is known of both."""

    journal: Journal
    daemon: Daemon
    live: Live
    _numbers: Iterator[int] = field(default_factory=count)

    def score(self, barcode: str, reason: str = "", **labels: int) -> None:
        """So many reads of a barcode are called so."""
        rows = []
        for label, reads in labels.items():
            rows += [row(next(self._numbers), barcode, label, reason) for _ in range(reads)]
        self.store(rows)

    def store(self, rows: list[Row]) -> None:
        """Keeps rows in the journal and tells whoever listens of the new ones."""
        source = self.journal.sources()[0]
        fresh, _ = self.journal.commit([Entry(source.id, 0, 0, rows, self.daemon.scorer.bundle.sha256)])
        for listener in self.daemon.listeners:
            listener(fresh)


def row(number: int, barcode: str, label: str, reason: str = "") -> Row:
    """A read of 1000 bases."""
    return Row("run", f"read{number}", "", number, 1000, label, 0.9, label, reason, 1, 0.0, ".", barcode)


@contextmanager
def living(
    out: Path,
    bundle: Path,
    questions: Questions | None = None,
    alerts: AlertSettings = SILENT,
    *,
    backoff: tuple[float, float] = (0.02, 0.1),
) -> Iterator[Run]:
    """A run that is started, and closed in good order."""
    with load(bundle, threads=1) as scorer:
        journal = Journal(out, {"bundle": scorer.bundle.sha256, "roots": "/data/run42"})
        if not journal.sources():
            journal.add_source("/data/run42", "a.fastq", 1, 1, 10, "x")
        daemon = Daemon(["/data/run42"], scorer, journal)
        sender = Alerts(alerts, journal, {"out": str(out)}, backoff=backoff)
        live = Live(daemon, journal, questions or Questions(), sender)
        live.start()
        try:
            yield Run(journal, daemon, live, count(sum(group.reads for group in journal.groups())))
        finally:
            live.close()
            journal.close()


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    """Waits for something that has to happen."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
