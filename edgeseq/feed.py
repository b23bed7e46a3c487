"""From reads to parcels for the engine, and back to reads with all their rows.

A `Feed` runs on the reading side and a `Collector` on the other. They share nothing but the parcels, save for early
stopping, where the feed waits for the collector's word on which reads need more windows.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from edgeseq.aggregate import Rows, Windows, log_probabilities
from edgeseq.batches import TOKENS, Batch, Batcher
from edgeseq.encode import EncodedRead, Encoder
from edgeseq.errors import EdgeseqError
from edgeseq.manifest import Input, Task
from edgeseq.read import Read
from edgeseq.settling import next_goal, settled

ANNOUNCED = 4096
"""Reads without a single complete batch that are passed on together."""
BLOCK_BASES = 4 * TOKENS
"""Bases of reads that are scored in waves together when reads may stop early."""

Slot = tuple[EncodedRead, int]
"""A read and one of its rows."""


class Block:
    """Reads that are scored in waves; ``outstanding`` of them still miss rows of the current wave."""

    def __init__(self, reads: list[EncodedRead]) -> None:
        self.reads = reads
        self.outstanding = 0
        self.answered = threading.Event()


@dataclass(slots=True)
class Parcel:
    """A batch for the engine, with the reads that come next in order of output and, in waves, their block."""

    batch: Batch[Slot]
    announced: list[EncodedRead] = field(default_factory=list)
    block: Block | None = None


class Feed:
    """Turns reads into parcels. ``stopped`` ends a wait for answers that nobody will give any more."""

    def __init__(self, encoder: Encoder, spec: Input, stopped: threading.Event) -> None:
        self._encoder = encoder
        self._spec = spec
        self._stopped = stopped

    def all_windows(self, reads: Iterable[Read | None]) -> Iterator[Parcel]:
        """Parcels that hold every window of every read; ``None`` among the reads sends what waits for company.

        An error of the reads is raised after everything before it was sent.
        """
        batcher: Batcher[Slot] = Batcher(self._spec)
        announced: list[EncodedRead] = []
        error: Exception | None = None
        source = iter(reads)
        while True:
            try:
                read = next(source, _END)
            except (EdgeseqError, OSError) as problem:
                error, read = problem, _END
            if read is None or read is _END or len(announced) >= ANNOUNCED:
                for batch in batcher.flush() or ([Batch([], [], 0)] if announced else []):
                    yield Parcel(batch, announced)
                    announced = []
            if read is _END:
                break
            if read is None:
                continue
            encoded = self._encoder.plan(read)
            announced.append(encoded)
            for batch in self._rows(encoded, len(encoded.windows.starts), batcher):
                yield Parcel(batch, announced)
                announced = []
        if error is not None:
            raise error

    def in_waves(self, reads: Iterable[Read | None]) -> Iterator[Parcel]:
        """Parcels that hold windows of each read until its call is settled. Errors as in `all_windows`.

        Two blocks of reads are under way at a time, so that the engine has work while one of them is looked at.
        """
        source = iter(reads)
        active: deque[Block] = deque()
        error: Exception | None = None
        ended = paused = False
        while True:
            while not ended and not paused and len(active) < 2:
                block = Block([])
                try:
                    paused, ended = self._fill(block, source)
                except (EdgeseqError, OSError) as problem:
                    error, ended = problem, True
                if block.reads:
                    yield from self._wave(block, announced=block.reads)
                    active.append(block)
            if not active and ended:
                break
            paused = paused and bool(active)
            if not active:
                continue
            block = active.popleft()
            while not block.answered.wait(0.1):
                if self._stopped.is_set():
                    return
            block.reads = [encoded for encoded in block.reads if not encoded.finished]
            if block.reads:
                yield from self._wave(block, announced=[])
                active.append(block)
        if error is not None:
            raise error

    def _fill(self, block: Block, source: Iterator[Read | None]) -> tuple[bool, bool]:
        """Fills a block; whether the source paused, and whether it ended."""
        bases = 0
        for read in source:
            if read is None:
                return True, False
            block.reads.append(self._encoder.plan(read))
            bases += len(read.sequence)
            if bases >= BLOCK_BASES or len(block.reads) >= ANNOUNCED:
                return False, False
        return False, True

    def _wave(self, block: Block, announced: list[EncodedRead]) -> Iterator[Parcel]:
        """The next windows of every unfinished read of a block."""
        batcher: Batcher[Slot] = Batcher(self._spec)
        unfinished = [encoded for encoded in block.reads if not encoded.finished]
        block.outstanding = len(unfinished)
        block.answered.clear()
        if not unfinished:
            block.answered.set()
        announced = list(announced)
        for encoded in unfinished:
            scored = len(encoded.windows.rows) // encoded.windows.strands
            goal = next_goal(scored, len(encoded.windows.starts))
            for batch in self._rows(encoded, goal, batcher):
                yield Parcel(batch, announced, block)
                announced = []
        for batch in batcher.flush() or ([Batch([], [], 0)] if announced else []):
            yield Parcel(batch, announced, block)
            announced = []

    def _rows(self, encoded: EncodedRead, goal: int, batcher: Batcher[Slot]) -> Iterator[Batch[Slot]]:
        """Asks for the windows of a read before number ``goal``; yields the batches that this completes."""
        row = len(encoded.windows.rows)
        first = row // encoded.windows.strands
        encoded.expect(goal)
        for ids in self._encoder.rows(encoded, first, goal):
            yield from batcher.add(ids, (encoded, row))
            row += 1


class Collector:
    """Gives each read its rows and returns reads that are finished, in the order in which they were announced."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._waiting: deque[EncodedRead] = deque()

    def take(self, parcel: Parcel, outputs: Rows) -> list[EncodedRead]:
        """The reads that can be put out, now that a parcel came back with its rows of model output."""
        self._waiting.extend(parcel.announced)
        for (encoded, row), values in zip(parcel.batch.owners, outputs, strict=True):
            encoded.place(row, values)
            if not encoded.missing:
                self._complete(encoded, parcel.block)
        ready = []
        while self._waiting and self._waiting[0].finished:
            ready.append(self._waiting.popleft())
        return ready

    def _complete(self, encoded: EncodedRead, block: Block | None) -> None:
        if block is None:
            encoded.finished = True
            return
        encoded.finished = _stands(encoded.windows, self._task)
        block.outstanding -= 1
        if not block.outstanding:
            block.answered.set()


def _stands(windows: Windows, task: Task) -> bool:
    """Whether a read with all rows that were asked for needs no more."""
    if len(windows.rows) == len(windows.starts) * windows.strands:
        return True
    if task.kind != "sequence-classification":
        return False
    return settled(log_probabilities(windows.means(), task), windows.ends - windows.starts, task)


_END = Read("", b"")
"""Stands for the end of the reads."""
