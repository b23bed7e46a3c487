"""What the daemon knows right now, for everybody who wants to see it.

The daemon's thread only counts and asks whether something was detected; a thread of this module makes the rest, at most
once a second and only as far as somebody looks, and writes OUT/status.json.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from edgeseq import __version__
from edgeseq.watch import snapshot as facts
from edgeseq.watch.alerts import Alerts
from edgeseq.watch.answers import Answers, Questions
from edgeseq.watch.composition import Confusion
from edgeseq.watch.daemon import Daemon
from edgeseq.watch.detection import Detection
from edgeseq.watch.evidence import Evidence
from edgeseq.watch.history import restored
from edgeseq.watch.journal import DETECTED, RATES, SENT, Journal, JournalError, Row
from edgeseq.watch.journal_reader import JournalReader
from edgeseq.watch.shares import BUDGET, Shares
from edgeseq.watch.tallies import Sample, merged

STATUS = "status.json"
WRITE, WEAR = 5.0, 20_000
"""Seconds between two states of the status file at least, and bytes a second that they may be on average: each costs a
board's card some writes. Of 96 barcodes and 22 classes it takes half a megabyte."""
HEARTBEAT = 30.0
"""Seconds after which it is written where nothing has changed."""
FRESH = 1.0
"""Seconds for which a snapshot is good enough."""
MINUTE = 60.0
EVENTS = 30
"""The latest events that a snapshot holds."""
RUN = ""
"""The name of all barcodes as one, among the compositions."""


class Live:
    """Listens to a daemon. Made and started before the daemon runs, closed when it has ended, before the journal is.

    Detections go to the journal first and then to ``alerts``, which this starts and closes.
    """

    def __init__(
        self,
        daemon: Daemon,
        journal: Journal,
        questions: Questions,
        alerts: Alerts,
        names: Mapping[str, str] | None = None,
    ) -> None:
        """Takes over what the journal holds; ``names`` are of samples, by barcode. Raises JournalError."""
        self.alerts = alerts
        self.names: Mapping[str, str] = names or {}
        """Names of samples by barcode; may be set anew at any time. They are shown, and never part of an alert."""
        self.out = journal.path.parent
        self._daemon = daemon
        self._journal = journal
        self._questions = questions
        self._lock = threading.Lock()
        self._unsaid: list[Detection] = []
        self._saying = threading.Lock()
        self._rates: deque[tuple[float, int, int]] = deque()
        self._began = time.monotonic()
        self._ended = False
        self._restore()
        self._build = threading.Lock()
        self._latest: dict[str, Any] = {}
        self._made = -1e9
        self._closing = threading.Event()
        self._written, self._rest, self._told = -1e9, WRITE, ""
        self._thread = threading.Thread(target=self._run, name="edgeseq-live", daemon=True)
        daemon.listeners.append(self.listen)

    def start(self) -> None:
        """Begins to alert and to write the status file. Raises JournalError."""
        self.alerts.start()
        self._thread.start()

    def use(self, alerts: Alerts) -> None:
        """Alerts others from now on. What the earlier ones had not told is taken over where a channel is the same."""
        with self._saying:
            before, self.alerts = self.alerts, alerts
        before.close(tell=False)
        alerts.start()

    def close(self) -> None:
        """Tells what was gathered, and writes the status file for the last time: the daemon has ended."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        self._say()
        self.alerts.close()
        self._ended = True
        self._write(self.snapshot(0.0))

    def listen(self, rows: Sequence[Row]) -> None:
        """Counts new rows; runs in the daemon's thread after each transaction."""
        now, clock = time.monotonic(), time.time()
        counts: Counter[tuple[str, str, str]] = Counter()
        bases: Counter[tuple[str, str, str]] = Counter()
        for row in rows:
            key = row.barcode, row.label, row.reason
            counts[key] += 1
            bases[key] += row.length
        with self._lock:
            for key, reads in counts.items():
                self._tallies.add(*key, reads, bases[key])
                self._history.add(key[0], key[1], reads, clock)
            self._rates.append((now, len(rows), bases.total()))
            while self._rates and self._rates[0][0] < now - MINUTE:
                self._rates.popleft()
        self._ask({key[0] for key in counts})

    def questions(self, questions: Questions) -> None:
        """Asks other questions from now on; what was detected stays detected."""
        with self._lock:
            self._questions = questions
            self._ask_anew()
        self._ask(None)

    def snapshot(self, age: float = FRESH) -> dict[str, Any]:
        """The present as plain data, no older than ``age`` seconds; not to be changed. See `edgeseq.watch.snapshot`."""
        with self._build:
            if time.monotonic() - self._made > age:
                self._latest = self._make()
                self._made = time.monotonic()
            return self._latest

    def _restore(self) -> None:
        reader = JournalReader(self.out)
        try:
            self._history, self._tallies, order = restored(reader, time.time())
            self._events: deque[tuple[int, float, str, str, str]] = deque(maxlen=EVENTS)
            self._detections: list[Detection] = []
            self._rated: set[str] = set()
            self._floors: dict[str, float] = {}
            self._last_event = 0
            for event in reader.events():
                self._take(event)
                if event[2] == RATES:
                    self._rated.add(event[3])
                    for label, rate in json.loads(event[4]).items():
                        self._floors[label] = max(rate, self._floors.get(label, 0.0))
                if event[2] == DETECTED and (found := Detection.stored(*event[3:])) is not None:
                    self._detections.append(found)
        finally:
            reader.close()
        self._answers = self._asked()
        for barcode in order:
            self._answers.expected(barcode)
        self._ask(None)

    def _asked(self) -> Answers:
        """The questions for the bundle that scores now, and what was detected before."""
        bundle = self._daemon.scorer.bundle
        self._bundle = bundle.sha256
        self._facts = {"bundle": facts.bundle_facts(bundle), "device": facts.device_facts(self._daemon)}
        task = bundle.manifest.task
        confusion = confusion_of(bundle.report)
        self._shares = Shares(confusion, task.labels)
        answers = Answers(task, self._questions, confusion, floors=self._floors)
        self._keep_rates(answers)
        answers.restore((one.barcode, one.label) for one in self._detections)
        return answers

    def _ask_anew(self) -> None:
        """Other questions, or another bundle; barcodes stay in the order in which they turned up."""
        met = self._answers.met()
        self._answers = self._asked()
        for barcode in met:
            self._answers.expected(barcode)

    def _keep_rates(self, answers: Answers) -> None:
        """Has the journal know how often this bundle is wrong, for the time after another one took over."""
        rates = {label: answers.own_background(label) for label in answers.task.labels}
        if self._bundle not in self._rated:
            with suppress(JournalError):
                self._journal.note(RATES, self._bundle, json.dumps(rates))
                self._rated.add(self._bundle)
        self._floors = {
            **self._floors,
            **{label: max(rate, self._floors.get(label, 0.0)) for label, rate in rates.items()},
        }

    def _ask(self, barcodes: set[str] | None) -> None:
        """Whether something is detected in these barcodes now, or in any; says so to the journal and then to others."""
        with self._lock:
            if self._daemon.scorer.bundle.sha256 != self._bundle:
                self._ask_anew()
                barcodes = None
            if barcodes is not None:
                barcodes = {barcode or "unclassified" for barcode in barcodes}
            crossings = self._answers.update(self._tallies, barcodes)
            for one in crossings:
                alpha = self._answers.bounds(one.label).alpha
                found = Detection.of(one, time.time(), alpha, self._bundle, self.alerts.channels)
                self._detections.append(found)
                self._unsaid.append(found)
        if self._unsaid:
            self._say()

    def _say(self) -> None:
        """Keeps detections and passes them on; where the journal has no room, it is tried again soon."""
        with self._saying, suppress(JournalError):
            while self._unsaid:
                detection = self._unsaid[0]
                self._journal.note(DETECTED, detection.subject, detection.text())
                del self._unsaid[0]
                self.alerts.offer([detection])

    def _run(self) -> None:
        while not self._closing.wait(FRESH):
            self._say()
            if time.monotonic() - self._written >= self._rest:
                self._write(self.snapshot())

    def _write(self, told: dict[str, Any]) -> None:
        """The status file, but for the history, which the journal has; only where there is news or it grows old."""
        news = json.dumps(
            [
                told["state"],
                told["totals"],
                told["alerts"],
                told["health"]["policy"],
                told["bundle"],
                [one["composition"] and one["composition"]["reads"] for one in told["samples"].values()],
                told["events"][:1],
            ]
        )
        if news == self._told and time.monotonic() - self._written < HEARTBEAT:
            return
        text = json.dumps({key: value for key, value in told.items() if key != "history"}, separators=(",", ":"))
        path = self.out / STATUS
        partial = path.with_name(f".{STATUS}.partial")
        try:
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)
        except OSError:  # a full disk: the daemon says so itself, and this is tried again
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        else:
            self._told = news
            self._rest = min(HEARTBEAT, max(WRITE, len(text) / WEAR))
        self._written = time.monotonic()

    def _make(self) -> dict[str, Any]:
        daemon = self._daemon
        with self._lock:
            answers, shares = self._answers, self._shares
            samples = {name: Sample() for name in self.names} | {name: _copied(one) for name, one in self._tallies}
            history = self._history.told()
            rates = self._recent()
            detections = list(self._detections)
        self._news()
        evidence: dict[str, list[tuple[str, Evidence]]] = {}
        for barcode, label, found in answers:
            evidence.setdefault(barcode, []).append((label, found))
        told = {
            name: {"name": self.names.get(name, ""), **facts.sample_facts(name, one, answers, evidence.get(name, []))}
            for name, one in sorted(samples.items())
        }
        whole = merged(samples.values())
        budget = math.inf if self._ended else BUDGET
        compositions = shares.update([(RUN, whole), *samples.items()], budget=budget)
        facts.with_compositions(told, compositions)
        health = facts.health_facts(daemon, self.out, time.monotonic() - daemon.progress.advanced)
        state, why = ("ended", "") if self._ended else facts.state_of(health, whole.reads)
        return {
            "format": facts.FORMAT,
            "version": __version__,
            "time": time.time(),
            "started": daemon.progress.started,
            "uptime": time.monotonic() - self._began,
            "pid": os.getpid(),
            "state": state,
            "why": why,
            "roots": list(daemon.roots),
            "out": str(self.out),
            **self._facts,
            "totals": {
                "reads": whole.reads,
                "bases": whole.bases,
                "tested": whole.tested,
                "unclassified": whole.labels["unclassified"],
                "since_start": {"reads": daemon.progress.reads, "bases": daemon.progress.bases},
            },
            "rates": rates,
            "health": health,
            "questions": {**facts.question_facts(answers), "untested": list(answers.untested())},
            "run": facts.run_facts(whole, told, answers, compositions.get(RUN)),
            "samples": told,
            "history": history,
            "detections": facts.detection_facts(detections),
            "detections_total": len(detections),
            "alerts": self.alerts.told(),
            "events": facts.event_facts(self._events),
        }

    def _recent(self) -> dict[str, float]:
        """Reads and bases a second, over the last minute or since the start."""
        now = time.monotonic()
        seconds = max(1.0, min(MINUTE, now - self._began))
        recent = [(reads, bases) for when, reads, bases in self._rates if when >= now - MINUTE]
        return {
            "reads": sum(reads for reads, _ in recent) / seconds,
            "bases": sum(bases for _, bases in recent) / seconds,
            "seconds": seconds,
        }

    def _news(self) -> None:
        """Takes events from the journal, as long as it can be read."""
        with suppress(JournalError, sqlite3.Error):
            reader = JournalReader(self.out)
            try:
                for event in reader.events(self._last_event):
                    self._take(event)
            finally:
                reader.close()

    def _take(self, event: tuple[int, float, str, str, str]) -> None:
        self._last_event = event[0]
        if event[2] not in (DETECTED, SENT, RATES):
            self._events.append(event)


def confusion_of(report: Any) -> Confusion | None:
    """The matrix in a bundle's report, of its reads that were held out; None where it has none."""
    for part in (report, report.get("held_out")):
        if isinstance(part, dict) and (found := Confusion.of(part.get("confusion", {}))) is not None:
            return found
    return None


def _copied(sample: Sample) -> Sample:
    return Sample(sample.reads, sample.bases, Counter(sample.labels), Counter(sample.reasons))
