"""Telling people what was detected, once for each crossing, whatever the network does.

A detection is in the journal before anybody is told, and each delivery is noted there after it succeeded: what a crash
interrupted is told again, with the same id. Each channel has a thread of its own, so that one that hangs holds up
neither the others nor the scoring.
"""

from __future__ import annotations

import hashlib
import platform
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from edgeseq.watch.channels import Channel, ChannelError, ChannelSettings
from edgeseq.watch.channels.command import Command
from edgeseq.watch.channels.log import Log
from edgeseq.watch.channels.mqtt import Mqtt
from edgeseq.watch.channels.webhook import Webhook
from edgeseq.watch.detection import Detection
from edgeseq.watch.journal import DETECTED, SENT, Journal, JournalError
from edgeseq.watch.journal_reader import JournalReader

__all__ = ["AlertSettings", "Alerts", "ChannelState", "Command", "Mqtt", "Webhook"]

FAILED = "alert failed"
"""The kind of an event whose subject is the channel; of `SENT` it is barcode, label and channel, with tabs between."""
QUEUE = 10_000
"""Detections that may wait for a channel. Further ones stay in the journal, and are told after the next start."""
BACKOFF = (2.0, 300.0)
"""Seconds after the first failed attempt, and the most between two; the pause doubles from the one to the other."""


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Who is told, and how often."""

    cooldown: float = 900.0
    """Seconds after an alert for a class in which further ones for that class are gathered, to be sent together."""
    log: bool = True
    """Whether the log of the daemon has a warning line for each."""
    webhooks: tuple[Webhook, ...] = ()
    commands: tuple[Command, ...] = ()
    mqtt: tuple[Mqtt, ...] = ()

    def channels(self) -> Mapping[str, ChannelSettings]:
        """All channels by names of their own, in the order in which they were given."""
        found: dict[str, ChannelSettings] = {}
        for one in (*((Log(),) if self.log else ()), *self.webhooks, *self.commands, *self.mqtt):
            name, number = one.label, 1
            while name in found:
                number += 1
                name = f"{one.label} #{number}"
            found[name] = one
        return found


@dataclass(slots=True)
class ChannelState:
    """How one channel is doing, since the daemon started."""

    name: str
    delivered: int = 0
    """Messages."""
    failed: int = 0
    """Attempts."""
    waiting: int = 0
    """Detections that were not told yet."""
    dropped: int = 0
    """Detections that did not fit into the queue: they are told after the next start."""
    problem: str = ""
    """Why the last attempt failed, or nothing if it did not."""


class Alerts:
    """Tells all channels of detections. `offer` never waits.

    Opening raises MissingExtraError where a channel needs a package that is not installed.
    """

    def __init__(
        self,
        settings: AlertSettings,
        journal: Journal,
        about: Mapping[str, Any] | None = None,
        *,
        backoff: tuple[float, float] = BACKOFF,
    ) -> None:
        """``about`` goes into every message beside the host's name: which run, which bundle."""
        self.settings = settings
        self._workers = [
            _Worker(name, one.open(), journal, settings.cooldown, {"host": platform.node(), **(about or {})}, backoff)
            for name, one in settings.channels().items()
        ]
        self._journal = journal

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of the channels."""
        return tuple(worker.state.name for worker in self._workers)

    def start(self) -> None:
        """Begins, with what an earlier run of the daemon had not delivered. Raises JournalError."""
        told: dict[tuple[str, str], float] = {}
        detections = []
        reader = JournalReader(self._journal.path.parent)
        for _, when, kind, subject, text in reader.events():
            if kind == DETECTED:
                detection = Detection.stored(subject, text)
                detections += [detection] if detection is not None else []
            elif kind == SENT:
                barcode_label, channel = subject.rsplit("\t", 1)
                told[barcode_label, channel] = when
        reader.close()
        for worker in self._workers:
            worker.restore(detections, told)
            worker.start()

    def offer(self, detections: Sequence[Detection]) -> None:
        """Has these told, soon. They are in the journal already."""
        for worker in self._workers:
            worker.offer(detections)

    def states(self) -> list[ChannelState]:
        """How each channel is doing."""
        return [worker.state for worker in self._workers]

    def told(self) -> list[dict[str, Any]]:
        """The same for JSON."""
        return [asdict(state) for state in self.states()]

    def close(self, seconds: float = 5.0, *, tell: bool = True) -> None:
        """Tells what was gathered, and ends; what cannot be told in so many seconds is told after the next start.

        Without ``tell``, all that was gathered waits until then.
        """
        for worker in self._workers:
            worker.stop(tell=tell)
        until = time.monotonic() + seconds
        for worker in self._workers:
            worker.finish(max(0.0, until - time.monotonic()))


class _Worker:
    """One channel: gathers, waits for the end of a cool-down, tries until it succeeds."""

    def __init__(
        self,
        name: str,
        channel: Channel,
        journal: Journal,
        cooldown: float,
        about: Mapping[str, Any],
        backoff: tuple[float, float],
    ) -> None:
        self.state = ChannelState(name)
        self._channel = channel
        self._journal = journal
        self._cooldown = cooldown
        self._about = about
        self._backoff = backoff
        self._gathered: dict[str, list[Detection]] = {}
        """Label → what is to be told."""
        self._offered: set[str] = set()
        self._quiet_until: dict[str, float] = {}
        self._unmarked: list[tuple[str, str]] = []
        """Subject and id of what was told but could not be noted yet."""
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"edgeseq-alerts-{name}", daemon=True)

    def restore(self, detections: Iterable[Detection], told: Mapping[tuple[str, str], float]) -> None:
        """Takes over what an earlier run had to tell and did not, and the cool-downs that go on."""
        name = self.state.name
        self.offer([one for one in detections if name in one.channels and (one.subject, name) not in told])
        for (subject, channel), when in told.items():
            if channel == name:
                left = min(self._cooldown, self._cooldown - (time.time() - when))
                label = subject.rsplit("\t", 1)[-1]
                until = time.monotonic() + left
                self._quiet_until[label] = max(until, self._quiet_until.get(label, until))

    def start(self) -> None:
        self._thread.start()

    def offer(self, detections: Sequence[Detection]) -> None:
        with self._changed:
            for detection in detections:
                if detection.id in self._offered:
                    continue
                if self.state.waiting >= QUEUE:
                    self.state.dropped += 1
                    continue
                self._offered.add(detection.id)
                self._gathered.setdefault(detection.label, []).append(detection)
                self.state.waiting += 1
            self._changed.notify()

    def stop(self, *, tell: bool) -> None:
        with self._changed:
            if not tell:
                self._gathered.clear()
            self._stopping = True
            self._changed.notify()

    def finish(self, seconds: float) -> None:
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while (due := self._next()) is not None:
            if not self._tell(*due):
                break
        self._mark()
        self._channel.close()

    def _next(self) -> tuple[str, list[Detection]] | None:
        """What is to be told now, once there is something; None at the end."""
        with self._changed:
            while True:
                now = time.monotonic()
                due = {label: 0.0 if self._stopping else self._quiet_until.get(label, 0.0) for label in self._gathered}
                label = min(due, key=lambda one: due[one], default="")
                if due and due[label] <= now:
                    return label, self._gathered.pop(label)
                if self._stopping:
                    return None
                self._changed.wait(due[label] - now if due else None)

    def _tell(self, label: str, detections: Sequence[Detection]) -> bool:
        """Tries until it succeeds; False where the end came first."""
        message = self._message(label, detections)
        pause, longest = self._backoff
        first = True
        while True:
            try:
                self._channel.deliver(message)
            except ChannelError as error:
                self.state.failed += 1
                self.state.problem = str(error)
                if first:
                    with suppress(JournalError):
                        self._journal.note(FAILED, self.state.name, f"{error}; {message['text']}")
                first = False
            else:
                break
            with self._changed:
                self._changed.wait_for(lambda: self._stopping, pause)
                if self._stopping:
                    return False
            pause = min(longest, 2 * pause)
        with self._changed:
            self._quiet_until[label] = time.monotonic() + self._cooldown
            self.state.waiting -= len(detections)
        self.state.delivered += 1
        self.state.problem = ""
        self._unmarked += [(f"{one.subject}\t{self.state.name}", str(message["id"])) for one in detections]
        self._mark()
        return True

    def _mark(self) -> None:
        """Notes what was told. Where there is no room, it is noted with the next ones, or told again."""
        with suppress(JournalError):
            while self._unmarked:
                self._journal.note(SENT, *self._unmarked[0])
                del self._unmarked[0]

    def _message(self, label: str, detections: Sequence[Detection]) -> Mapping[str, Any]:
        ids = [one.id for one in detections]
        return {
            "format": 1,
            "id": hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16],
            "kind": DETECTED,
            "time": time.time(),
            "class": label,
            "text": "; ".join(one.sentence for one in detections),
            **self._about,
            "crossings": [one.told() for one in detections],
        }
