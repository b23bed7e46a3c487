"""From growing files to chunks for the scorer, with a ticket for each chunk that says where its reads belong."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from edgeseq.chunks import Chunk
from edgeseq.errors import ReadError
from edgeseq.read import Read
from edgeseq.watch.files import QUIET, Files, Followed, new_reads
from edgeseq.watch.follow import Gained
from edgeseq.watch.load import Load, Policy

FLUSH = 0.4
"""Seconds after which reads that wait for company in a batch go to the engine without it."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """Reads of one file on their way: ``chunk`` is what is scored of ``gained``; ``skipped`` are places in it that are
    not."""

    followed: Followed
    gained: Gained
    chunk: Chunk | None
    skipped: frozenset[int] = frozenset()
    policy: Policy = "all"
    arrived: float = field(default_factory=time.monotonic)


class Intake:
    """Yields chunks as files grow, and ``None`` where what was yielded should be scored without waiting for more.

    Runs in the reading thread. ``tickets`` has one for each chunk, in the same order, before the chunk is yielded;
    chunks of which nothing is scored have a ticket only. ``idle_since`` is when there was last anything new, ``alive``
    when the reading thread last showed that it goes on.

    An iteration ends after ``stop``, when all is done, or early after `pause`; after a pause, the next one goes on
    with the chunk after the last one.
    """

    def __init__(
        self,
        files: Files,
        load: Load,
        wait: Callable[[float], None],
        *,
        interval: float = 0.25,
        until_idle: float | None,
    ) -> None:
        self.tickets: deque[Ticket] = deque()
        self.stop = threading.Event()
        self.drained = threading.Event()
        """Nothing new for as long as ``until_idle`` said, and all files were finished."""
        self.idle_since = self.alive = time.monotonic()
        self._files = files
        self._load = load
        self._wait = wait
        self._interval = interval
        self._until_idle = until_idle
        self._flushed = time.monotonic()
        self._paused = threading.Event()
        self._chunks = self._follow()

    def __iter__(self) -> Iterator[Chunk | None]:
        while not self._paused.is_set():
            try:
                yield next(self._chunks)
            except StopIteration:
                return

    def pause(self) -> None:
        """Ends the present iteration between two chunks, and the next ones, until `resume`."""
        self._paused.set()

    def resume(self) -> None:
        """Lets the next iteration go on."""
        self._paused.clear()

    def _follow(self) -> Iterator[Chunk | None]:
        while not self.stop.is_set():
            self.alive = time.monotonic()
            self._files.look()
            self._load.update(self._files.age())
            before = self.idle_since
            for followed in self._files:
                yield from self._read(followed)
                if self.stop.is_set():
                    break
            yield None
            now = time.monotonic()
            if self.idle_since == before:
                if self._until_idle is not None and now - before >= self._until_idle:
                    yield from self._finish_all()
                    break
                self._wait(self._interval)
        self.drained.set()

    def _read(self, followed: Followed) -> Iterator[Chunk | None]:
        """What one file has gained; a problem with it ends that file alone."""
        waits = followed.follower.kind == "fasta" and followed.follower.held_back > 0
        finish = waits and time.monotonic() - followed.grown >= QUIET
        if not followed.backlog and not finish:
            return
        read_at = followed.follower.read_at
        try:
            for gained in new_reads(followed, finish=finish):
                self.idle_since = time.monotonic()
                yield from self._send(followed, gained)
                if self.stop.is_set():
                    return
        except ReadError as error:
            self._files.damaged(followed, error)
        if followed.follower.read_at != read_at:
            self.idle_since = time.monotonic()
        followed.clock(self.idle_since)

    def _finish_all(self) -> Iterator[Chunk | None]:
        """The last reads of files that end without saying so."""
        for followed in self._files:
            try:
                for gained in new_reads(followed, finish=True):
                    yield from self._send(followed, gained)
            except ReadError as error:
                self._files.damaged(followed, error)
        yield None

    def _send(self, followed: Followed, gained: Gained) -> Iterator[Chunk | None]:
        now = self.alive = time.monotonic()
        self._load.update(
            max(self._load.waited, followed.age(now)) if followed.waiting_since else self._load.waited, now
        )
        ticket = self._ticket(followed, gained)
        self.tickets.append(ticket)
        if ticket.chunk is not None:
            yield ticket.chunk
        if time.monotonic() - self._flushed >= FLUSH:
            self._flushed = time.monotonic()
            yield None

    def _ticket(self, followed: Followed, gained: Gained) -> Ticket:
        """Which reads of a chunk are scored, and how much of each, under the policy that holds."""
        chunk, load = gained.chunk, self._load
        if load.policy == "all":
            return Ticket(followed, gained, chunk)
        skipped = frozenset(at for at in range(len(chunk)) if load.policy == "sample" and not load.scored())
        bases = load.limits.prefix_bases
        load.skipped += len(skipped)
        load.shortened += sum(len(read) > bases for at, read in enumerate(chunk) if at not in skipped)
        kept = [_prefix(read, bases) for at, read in enumerate(chunk) if at not in skipped]
        return Ticket(followed, gained, Chunk(kept) if kept else None, skipped, load.policy)


def _prefix(read: Read, bases: int) -> Read:
    if len(read) <= bases:
        return read
    return Read(
        read.id,
        read.sequence[:bases],
        read.quality[:bases],
        read.description,
        read.source,
        read.record,
        read.offset,
    )
