"""What was scored and how far each file was read, in one SQLite file, written in one transaction.

Whatever ends the daemon, results and offsets agree: a read is in the journal exactly once or not yet at all. A read is
known by its run, its id and the part of it (of a split read), so a copy of a file adds nothing.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path

from edgeseq.errors import EdgeseqError, UsageError

FORMAT = "1"
NAME = "journal.sqlite"
BUSY_SECONDS = 30.0
_NO_ROOM = ("disk is full", "disk I/O error", "readonly database", "unable to open database file")
"""What SQLite says while a disk is full or went away: it may come back."""

_TABLES = """
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE sources (
    id INTEGER PRIMARY KEY,
    root TEXT NOT NULL,
    relative TEXT NOT NULL,
    device INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    head INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    offset INTEGER NOT NULL DEFAULT 0,
    records INTEGER NOT NULL DEFAULT 0,
    duplicates INTEGER NOT NULL DEFAULT 0,
    problem TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE reads (
    number INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    read_id TEXT NOT NULL,
    part TEXT NOT NULL,
    source INTEGER NOT NULL REFERENCES sources (id),
    record INTEGER NOT NULL,
    length INTEGER NOT NULL,
    label TEXT NOT NULL,
    score REAL NOT NULL,
    candidate TEXT NOT NULL,
    reason TEXT NOT NULL,
    windows INTEGER NOT NULL,
    n_fraction REAL NOT NULL,
    segments TEXT NOT NULL,
    barcode TEXT NOT NULL,
    policy TEXT NOT NULL,
    bundle TEXT NOT NULL,
    scored REAL NOT NULL
) STRICT;
CREATE UNIQUE INDEX identity ON reads (run, read_id, part);
CREATE TABLE events (
    number INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, text TEXT NOT NULL
) STRICT;
"""
CHANGED = "settings"
"""The kind of an event that keeps a change of settings."""
DETECTED, SENT = "detected", "alert sent"
"""The kinds of events that keep what was detected, once for each barcode and class, and who was told of it."""
RATES = "background"
"""The kind of an event that keeps, for the bundle that is its subject, how often each class is called where it is
absent."""
LASTING = (CHANGED, DETECTED, SENT, RATES)
"""Kinds of events that are never forgotten; there is an end to how many they can be."""
_NOTE = "INSERT INTO events (time, kind, subject, text) VALUES (?, ?, ?, ?)"
_INSERT = """
INSERT OR IGNORE INTO reads (run, read_id, part, source, record, length, label, score, candidate, reason, windows,
    n_fraction, segments, barcode, policy, bundle, scored) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


class JournalError(EdgeseqError):
    """The journal cannot be used: ``path`` and ``problem``; ``full`` where there is no room, which may pass."""

    def __init__(self, path: object, problem: str, *, remedy: str = "", full: bool = False) -> None:
        super().__init__(str(path), problem, remedy)
        self.path, self.problem, self.remedy, self.full = str(path), problem, remedy, full

    def __str__(self) -> str:
        sentence = f"{self.path}: {self.problem}"
        return f"{sentence}; {self.remedy}" if self.remedy else sentence


class SettingsError(JournalError, UsageError):
    """The journal was begun with other settings; trying again does not help."""


@dataclass(slots=True)
class Source:
    """A file that reads came from. ``head`` bytes with ``fingerprint`` start it; the rest says how far it was read."""

    id: int
    root: str
    relative: str
    device: int
    inode: int
    head: int
    fingerprint: str
    offset: int = 0
    records: int = 0
    duplicates: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One scored read, as the journal keeps it."""

    run: str
    read_id: str
    part: str
    record: int
    length: int
    label: str
    score: float
    candidate: str
    reason: str
    windows: int
    n_fraction: float
    segments: str
    barcode: str
    policy: str = "all"
    """What of the read was scored: see `edgeseq.watch.load`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Rows of one source, how far the source is used up after them, and the sha256 of the bundle that scored them."""

    source: int
    offset: int
    records: int
    rows: Sequence[Row]
    bundle: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """How many reads of a barcode got a label for a reason, and their bases."""

    barcode: str
    label: str
    reason: str
    reads: int
    bases: int
    step: int = 0
    """Which stretch of time they were scored in, where that was asked."""
    first: int = 0
    """The number of the first of them, where stretches of time were asked."""


class Journal:
    """The journal in a folder. One process writes it, from any of its threads; any number may read at the same time."""

    def __init__(self, folder: Path, settings: Mapping[str, str], *, accept: bool = False) -> None:
        """Opens the journal, or begins it with ``settings``.

        Raises JournalError where the folder cannot be written, another process holds the journal, or it was begun with
        other settings: the error names them. With ``accept``, other settings are taken over instead, and the change is
        kept among the events.
        """
        self.path = folder / NAME
        self._accept = accept
        self._lock = threading.RLock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._begin(settings)
        except (OSError, sqlite3.Error) as error:
            raise journal_error(self.path, error) from error

    def sources(self) -> list[Source]:
        """All files that were ever followed."""
        columns = ", ".join(Source.__dataclass_fields__)
        with closing(self._db.execute(f"SELECT {columns} FROM sources ORDER BY id")) as rows:
            return [Source(*row) for row in rows]

    def groups(self) -> list[Group]:
        """Counts by barcode, label and reason, over all reads."""
        return counted(self._db)

    def add_source(self, root: str, relative: str, device: int, inode: int, head: int, fingerprint: str) -> Source:
        """A file that has not been followed before. Raises JournalError."""
        statement = "INSERT INTO sources (root, relative, device, inode, head, fingerprint) VALUES (?, ?, ?, ?, ?, ?)"
        values = (root, relative, device, inode, head, fingerprint)
        number = self._write(statement, values)
        return Source(number, *values)

    def update_source(self, source: Source) -> None:
        """Takes over a new name, head or problem of a file. Raises JournalError."""
        statement = "UPDATE sources SET root = ?, relative = ?, head = ?, fingerprint = ?, problem = ? WHERE id = ?"
        self._write(
            statement, (source.root, source.relative, source.head, source.fingerprint, source.problem, source.id)
        )

    def commit(self, entries: Sequence[Entry]) -> tuple[list[Row], int]:
        """Stores rows and offsets together; what is stored is on the disk.

        Gives the rows that were new, and the number of those that another file had brought before. Raises JournalError,
        after which nothing of this is stored.
        """
        now = time.time()
        fresh: list[Row] = []
        repeated = 0
        with self._transaction():
            for entry in entries:
                copies = 0
                for row in entry.rows:
                    place = (row.run, row.read_id, row.part, entry.source)
                    if self._db.execute(_INSERT, (*place, *astuple(row)[3:], entry.bundle, now)).rowcount:
                        fresh.append(row)
                    elif not self._same_place(row, entry.source):
                        copies += 1
                self._db.execute(
                    "UPDATE sources SET offset = ?, records = ?, duplicates = duplicates + ? WHERE id = ?",
                    (entry.offset, entry.records, copies, entry.source),
                )
                repeated += copies
        return fresh, repeated

    def change(self, settings: Mapping[str, str]) -> None:
        """Takes over other settings, and keeps among the events what they were. Raises JournalError."""
        with self._transaction():
            found = dict(self._db.execute("SELECT key, value FROM settings"))
            for key, value in sorted(settings.items()):
                before = found.get(key, "not set")
                if value == before:
                    continue
                self._db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, value))
                self._db.execute(_NOTE, (time.time(), CHANGED, key, f"was {before}, is {value}"))

    def prune(self, kept: int) -> int:
        """Forgets all but the latest ``kept`` events, and how many; results and `LASTING` events always stay."""
        with self._transaction():
            oldest = self._db.execute("SELECT max(number) - ? FROM events", (kept,)).fetchone()[0] or 0
            statement = f"DELETE FROM events WHERE number <= ? AND kind NOT IN ({', '.join('?' * len(LASTING))})"
            return self._db.execute(statement, (oldest, *LASTING)).rowcount

    def note(self, kind: str, subject: str, text: str) -> None:
        """Keeps something that happened. Raises JournalError."""
        self._write(_NOTE, (time.time(), kind, subject, text))

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            with suppress(sqlite3.Error):
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.close()

    def _begin(self, settings: Mapping[str, str]) -> None:
        wanted = {"format": FORMAT, **settings}
        self._db.execute("BEGIN IMMEDIATE")
        try:
            tables = self._db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'settings'").fetchone()[0]
            if not tables:
                for statement in filter(str.strip, _TABLES.split(";")):
                    self._db.execute(statement)
                self._db.executemany("INSERT INTO settings VALUES (?, ?)", sorted(wanted.items()))
            found = dict(self._db.execute("SELECT key, value FROM settings"))
            self._db.execute("COMMIT")
        except sqlite3.Error:
            self._roll_back()
            raise
        others = [key for key in sorted(wanted.keys() | found.keys()) if wanted.get(key) != found.get(key)]
        if others and self._accept and "format" not in others:
            self.change(wanted)
        elif others:
            self._db.close()
            changes = ", ".join(
                f"{key} was {found.get(key, 'not set')}, is {wanted.get(key, 'not set')}" for key in others
            )
            raise SettingsError(
                self.path,
                f"was begun with other settings: {changes}",
                remedy="go on with the same settings, choose another output folder, fork with --fork, or take the "
                "change over with --switch",
            )

    def _same_place(self, row: Row, source: int) -> bool:
        """Whether the stored read is this very record: of a file that is read again, not of a copy."""
        statement = """
            SELECT a.relative = b.relative AND a.root = b.root AND reads.record = ?
            FROM reads JOIN sources AS a ON a.id = reads.source JOIN sources AS b ON b.id = ?
            WHERE run = ? AND read_id = ? AND part = ?
        """
        found = self._db.execute(statement, (row.record, source, row.run, row.read_id, row.part)).fetchone()
        return bool(found and found[0])

    def _write(self, statement: str, values: tuple[object, ...]) -> int:
        with self._transaction():
            return int(self._db.execute(statement, values).lastrowid or 0)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, one thread at a time. Raises JournalError."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                self._roll_back()
                raise journal_error(self.path, error) from error
            except BaseException:
                self._roll_back()
                raise

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):
            self._db.execute("ROLLBACK")


def counted(db: sqlite3.Connection) -> list[Group]:
    """Counts by barcode, label and reason, over all reads of a journal."""
    statement = "SELECT barcode, label, reason, count(*), sum(length) FROM reads GROUP BY barcode, label, reason"
    return [Group(*row) for row in db.execute(statement)]


def journal_error(path: Path, error: Exception) -> JournalError:
    """What SQLite or the operating system said of a journal, as an error of ours."""
    text = str(error) or type(error).__name__
    full = isinstance(error, sqlite3.Error) and any(sign in text for sign in _NO_ROOM)
    remedy = "make room on the disk; scoring goes on by itself" if full else "check the folder and its permissions"
    return JournalError(path, f"cannot be written: {text}", remedy=remedy, full=full)
