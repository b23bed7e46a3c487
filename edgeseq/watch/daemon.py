"""The daemon: files in, rows in the journal, answers out.

    intake (reading thread) ─▶ scorer (its own threads) ─▶ lots ─▶ this thread: journal ─▶ tallies ─▶ whoever listens

Only this thread writes. What it holds is bounded: while the journal cannot be written, lots wait, then the scorer
waits, then nothing more is read from the files.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edgeseq.prediction import UNCLASSIFIED
from edgeseq.predictions import Predictions
from edgeseq.read import Read
from edgeseq.scorer import Scorer
from edgeseq.sinks.tsv import segment_text
from edgeseq.watch.files import Files
from edgeseq.watch.intake import Intake, Ticket
from edgeseq.watch.journal import Entry, Journal, JournalError, Row
from edgeseq.watch.load import SKIPPED, Limits, Load
from edgeseq.watch.tallies import Tallies

LOTS = 8
"""Lots that wait for the journal; the scorer waits while there are so many."""
COMMIT = 0.5
"""Seconds between transactions at most: each costs a board's card a few writes, so not one for every lot."""
RETRY = 2.0
"""Seconds between attempts to write where there is no room."""


@dataclass(slots=True)
class Progress:
    """What the daemon has done since it started, and how it is."""

    started: float = field(default_factory=time.time)
    reads: int = 0
    bases: int = 0
    duplicates: int = 0
    commits: int = 0
    advanced: float = field(default_factory=time.monotonic)
    """When rows were last stored, or files were looked through while there was nothing to score or to store, or an
    attempt to store failed for want of room alone. It stands still where a thread or the engine hangs."""
    latency: deque[float] = field(default_factory=lambda: deque(maxlen=10_000))
    """Seconds from the moment a chunk was read to the moment its rows were on the disk, of the latest chunks."""
    trouble: str = ""
    """Why nothing can be stored right now, or nothing."""


class Daemon:
    """Follows folders until it is told to stop, or until they have been idle for ``until_idle`` seconds.

    ``listeners`` are called in this thread after each transaction, with the rows that were new.
    """

    def __init__(
        self,
        roots: Sequence[str],
        scorer: Scorer,
        journal: Journal,
        *,
        limits: Limits | None = None,
        until_idle: float | None = None,
        interval: float = 0.25,
        commit: float = COMMIT,
        wait: Callable[[float], None] | None = None,
        room: Callable[[int], str] | None = None,
    ) -> None:
        """``room`` is asked before each transaction with the number of its rows: why there is no room, or nothing."""
        self.roots = tuple(roots)
        self.tallies = Tallies()
        self.progress = Progress()
        self.load = Load(limits or Limits())
        self.files = Files(roots, journal)
        self.listeners: list[Callable[[Sequence[Row]], None]] = []
        self._scorer = scorer
        self._next: Scorer | None = None
        self._handover = threading.Lock()
        self._bundle = scorer.bundle.sha256
        self._journal = journal
        self._room = room or (lambda _: "")
        self._commit_every = commit
        self._stopping = threading.Event()
        self._intake = Intake(self.files, self.load, wait or self._pause, interval=interval, until_idle=until_idle)
        self._lots: queue.Queue[_Lot | BaseException | None] = queue.Queue(LOTS)

    def stop(self) -> None:
        """Asks for an orderly end: what was read is scored and stored, nothing more is read."""
        self._stopping.set()
        self._intake.stop.set()

    @property
    def scorer(self) -> Scorer:
        """What scores now."""
        return self._scorer

    def follow(self, roots: Sequence[str]) -> None:
        """Follows these folders from now on, which the journal has to know before. May be called from any thread."""
        self.roots = self.files.roots = tuple(roots)

    def switch(self, scorer: Scorer) -> None:
        """Has ``scorer`` score from the next chunk on. May be called from any thread; the old scorer is closed once its
        last chunk is scored. The change has to be in the journal before.
        """
        with self._handover:
            self._next = scorer
            self._intake.pause()

    def run(self) -> None:
        """Follows and scores. Raises what ended the scoring, if it was an error; rows so far are stored.

        After `stop`, what cannot be stored for want of room is given up with a JournalError: those reads are scored
        when the daemon runs again.
        """
        for group in self._journal.groups():
            self.tallies.add(group.barcode, group.label, group.reason, group.reads, group.bases)
        worker = threading.Thread(target=self._score, name="edgeseq-scoring", daemon=True)
        worker.start()
        waiting: list[tuple[Ticket, Entry]] = []
        last = time.monotonic()
        ended = False
        while not ended or waiting:
            if not ended:
                ended = self._gather(waiting, last + self._commit_every - time.monotonic())
            if waiting and (ended or time.monotonic() - last >= self._commit_every):
                if not self._store(waiting):
                    continue
                waiting.clear()
                last = time.monotonic()
            if not waiting and not self._intake.tickets:
                self.progress.advanced = max(self.progress.advanced, self._intake.alive)
        worker.join()

    def _pause(self, seconds: float) -> None:
        self._stopping.wait(seconds)

    def _score(self) -> None:
        """Runs in a thread of its own: everything between the intake and the lots."""
        try:
            while not self._intake.drained.is_set():
                self._take_over()
                bundle = self._scorer.bundle.sha256
                for predictions in self._scorer.score_batches(self._intake):
                    self._lots.put(_Lot(predictions, bundle))
        except BaseException as error:  # noqa: BLE001  # raised again by run()
            self._lots.put(error)
        else:
            self._lots.put(None)

    def _take_over(self) -> None:
        """Puts the next scorer in the place of the present one, if there is one."""
        with self._handover:
            scorer, self._next = self._next, None
            self._intake.resume()
        if scorer is not None:
            self._scorer.close()
            self._scorer = scorer

    def _gather(self, waiting: list[tuple[Ticket, Entry]], seconds: float) -> bool:
        """Moves lots to ``waiting`` for so many seconds; whether there are no more to come."""
        until = time.monotonic() + max(0.01, seconds)
        while (left := until - time.monotonic()) > 0:
            try:
                lot = self._lots.get(timeout=left)
            except queue.Empty:
                self._without_scores(waiting)
                return False
            if isinstance(lot, BaseException):
                self._store_or_wait(waiting)
                raise lot
            if lot is None:
                self._without_scores(waiting)
                return True
            while True:
                ticket = self._intake.tickets.popleft()
                mine = ticket.chunk is lot.predictions.chunk
                self._bundle = lot.bundle if mine else self._bundle
                waiting.append((ticket, _entry(ticket, lot.predictions if mine else None, self._bundle)))
                if mine:
                    break
        return False

    def _without_scores(self, waiting: list[tuple[Ticket, Entry]]) -> None:
        """Moves the next tickets of which nothing is scored."""
        tickets = self._intake.tickets
        while tickets and tickets[0].chunk is None:
            ticket = tickets.popleft()
            waiting.append((ticket, _entry(ticket, None, self._bundle)))

    def _store(self, waiting: Sequence[tuple[Ticket, Entry]]) -> bool:
        """Whether everything that waits is on the disk now. Where there is no room, it is not, for the time being."""
        try:
            if problem := self._room(sum(len(entry.rows) for _, entry in waiting)):
                raise JournalError(self._journal.path.parent, problem, full=True)
            fresh, repeated = self._journal.commit([entry for _, entry in waiting])
        except JournalError as error:
            if not error.full or self._stopping.is_set():
                raise
            self.progress.trouble = str(error)
            self.progress.advanced = time.monotonic()
            self._stopping.wait(RETRY)
            return False
        now = self.progress.advanced = time.monotonic()
        progress = self.progress
        progress.trouble = ""
        progress.commits += 1
        progress.reads += len(fresh)
        progress.bases += sum(row.length for row in fresh)
        progress.duplicates += repeated
        progress.latency.extend(now - ticket.arrived for ticket, _ in waiting)
        self._count(fresh)
        for listener in self.listeners:
            listener(fresh)
        return True

    def _store_or_wait(self, waiting: Sequence[tuple[Ticket, Entry]]) -> None:
        while waiting and not self._store(waiting):
            pass

    def _count(self, rows: Sequence[Row]) -> None:
        reads: Counter[tuple[str, str, str]] = Counter()
        bases: Counter[tuple[str, str, str]] = Counter()
        for row in rows:
            key = row.barcode, row.label, row.reason
            reads[key] += 1
            bases[key] += row.length
        for key, count in reads.items():
            self.tallies.add(*key, count, bases[key])


@dataclass(frozen=True, slots=True)
class _Lot:
    predictions: Predictions
    bundle: str
    """The sha256 of the bundle that made them."""


def _entry(ticket: Ticket, predictions: Predictions | None, bundle: str) -> Entry:
    """The rows of a ticket: scored ones from ``predictions``, in order, and skipped ones between them."""
    scored = iter(_columns(predictions) if predictions is not None else [])
    rows = []
    for at, read in enumerate(ticket.gained.chunk):
        called = (UNCLASSIFIED, 0.0, "", SKIPPED, 0, 0.0, ".", read.barcode) if at in ticket.skipped else next(scored)
        label, score, candidate, reason, windows, n_fraction, segments, barcode = called
        name = _text(barcode)
        place = (*_identity(read), read.record, len(read.sequence))
        rows.append(Row(*place, label, score, candidate, reason, windows, n_fraction, segments, name, ticket.policy))
    return Entry(ticket.followed.source.id, ticket.gained.offset, ticket.gained.records, rows, bundle)


def _columns(predictions: Predictions) -> list[tuple[str, float, str, str, int, float, str, str]]:
    """Label, score, candidate, reason, windows, share of N, segments and barcode of each read."""
    chunk, scores, decisions = predictions.chunk, predictions.scores, predictions.decisions
    segments = ["."] * len(chunk)
    for place, parts in decisions.segments.items():
        segments[place] = ";".join(map(segment_text, parts))
    return list(
        zip(
            decisions.labels,
            decisions.scores,
            decisions.candidates,
            decisions.reasons,
            scores.counts.tolist(),
            scores.n_fractions.tolist(),
            segments,
            chunk.barcodes(),
            strict=True,
        )
    )


def _identity(read: Read) -> tuple[str, str, str]:
    """Run, read id and part: what makes a read the same wherever it turns up.

    The part is that of a read which a basecaller split and named alike: where in its parent it starts.
    """
    header = read.header
    part = ":".join(filter(None, (header.parent, header.tags.get("sp", ""))))
    return _text(header.run), _text(read.id), _text(part)


def _text(name: str) -> str:
    """Bytes that are no UTF-8 as escapes: a journal holds text alone."""
    return name if name.isascii() else name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
