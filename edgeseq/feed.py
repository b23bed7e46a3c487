"""From reads to parcels for the engine, and back to reads with all their rows.

A `Feed` runs on the reading side and a `Collector` on the other. They share nothing but the parcels, save for early
stopping, where the feed waits for the collector's word on which reads need more windows.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from edgeseq.aggregate import Rows, log_probabilities, strand_means
from edgeseq.batches import TOKENS, Batch, Batcher
from edgeseq.encode import EncodedRead, Encoder
from edgeseq.errors import EdgeseqError
from edgeseq.manifest import Input, Task
from edgeseq.outputs import OutputRows
from edgeseq.read import Read
from edgeseq.settling import next_goal, settled

ANNOUNCED = 16_384
"""Reads without a single complete batch that are passed on together."""
BLOCK_BASES = 4 * TOKENS
"""Bases of reads that are scored in waves together when reads may stop early."""

RowNumber: TypeAlias = int
"""Rows are numbered through all reads, in order."""


class Block:
    """Reads that are scored in waves; ``outstanding`` rows of the current wave have no output yet."""

    def __init__(self, reads: list[EncodedRead]) -> None:
        self.reads = reads
        self.outstanding = 0
        self.answered = threading.Event()


@dataclass(slots=True)
class Parcel:
    """A batch for the engine, with the reads that come next in order of output and, in waves, their block."""

    batch: Batch[RowNumber]
    announced: list[EncodedRead] = field(default_factory=list)
    block: Block | None = None


class Feed:
    """Turns reads into parcels. ``stopped`` ends a wait for answers that nobody will give any more."""

    def __init__(self, encoder: Encoder, spec: Input, stopped: threading.Event) -> None:
        self._encoder = encoder
        self._spec = spec
        self._stopped = stopped
        self._numbered = 0

    def all_windows(self, reads: Iterable[Read | None]) -> Iterator[Parcel]:
        """Parcels that hold every window of every read; ``None`` among the reads sends what waits for company.

        An error of the reads is raised after everything before it was sent.
        """
        batcher: Batcher[RowNumber] = Batcher(self._spec)
        announced: list[EncodedRead] = []
        error: Exception | None = None
        try:
            for read in reads:
                if read is None or len(announced) >= ANNOUNCED:
                    yield from _rest(batcher, announced)
                    announced = []
                if read is None:
                    continue
                encoded = self._plan(read)
                announced.append(encoded)
                number = encoded.first
                for ids in self._encoder.rows(encoded, 0, encoded.scored):
                    for batch in batcher.add(ids, number):
                        yield Parcel(batch, announced)
                        announced = []
                    number += 1
        except (EdgeseqError, OSError) as problem:
            error = problem
        yield from _rest(batcher, announced)
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
            encoded = self._plan(read)
            encoded.scored = 0
            block.reads.append(encoded)
            bases += len(read.sequence)
            if bases >= BLOCK_BASES or len(block.reads) >= ANNOUNCED:
                return False, False
        return False, True

    def _wave(self, block: Block, announced: list[EncodedRead]) -> Iterator[Parcel]:
        """The next windows of every read of a block that is not settled yet."""
        batcher: Batcher[RowNumber] = Batcher(self._spec)
        strands = self._encoder.strands
        asked = []
        for encoded in block.reads:
            first, encoded.scored = encoded.scored, next_goal(encoded.scored, len(encoded.starts))
            asked.append((encoded, first))
            block.outstanding += (encoded.scored - first) * strands
        block.answered.clear()
        announced = list(announced)
        for encoded, first in asked:
            number = encoded.first + first * strands
            for ids in self._encoder.rows(encoded, first, encoded.scored):
                for batch in batcher.add(ids, number):
                    yield Parcel(batch, announced, block)
                    announced = []
                number += 1
        yield from _rest(batcher, announced, block)

    def _plan(self, read: Read) -> EncodedRead:
        """The read with its windows; its rows get their numbers."""
        encoded = self._encoder.plan(read)
        encoded.first = self._numbered
        self._numbered += len(encoded.starts) * self._encoder.strands
        encoded.end = self._numbered
        return encoded


def _rest(batcher: Batcher[RowNumber], announced: list[EncodedRead], block: Block | None = None) -> Iterator[Parcel]:
    """Parcels of all rows that wait for company, and one without rows if reads are left to announce."""
    for batch in batcher.flush() or ([Batch([], [], 0)] if announced else []):
        yield Parcel(batch, announced, block)
        announced = []


class Collector:
    """Gathers rows of output and returns reads that are finished, in the order in which they were announced."""

    def __init__(self, task: Task, strands: int) -> None:
        self._task = task
        self._strands = strands
        self._waiting: deque[EncodedRead] = deque()
        self._outputs = OutputRows()

    def take(self, parcel: Parcel, outputs: Rows) -> tuple[list[EncodedRead], Rows]:
        """The reads that can be put out, now that a parcel came back with its output, and their rows of output."""
        self._waiting.extend(parcel.announced)
        if parcel.batch.owners:
            self._outputs.put(parcel.batch.owners, outputs, close=parcel.block is None)
        if parcel.block is not None:
            self._answer(parcel.block, len(parcel.batch.owners))
        ready = []
        while self._waiting and self._waiting[0].end <= self._outputs.complete:
            ready.append(self._waiting.popleft())
        return ready, self._outputs.take(ready[-1].end) if ready else outputs[:0]

    def _answer(self, block: Block, rows: int) -> None:
        """Notes that so many rows of a block came; after the last of a wave, keeps the reads that need another."""
        block.outstanding -= rows
        if block.outstanding:
            return
        unsettled = []
        for encoded in block.reads:
            if self._stands(encoded):
                self._outputs.close(encoded.first, encoded.end)
            else:
                unsettled.append(encoded)
        block.reads = unsettled
        block.answered.set()

    def _stands(self, encoded: EncodedRead) -> bool:
        """Whether a read with output for all windows that were asked for needs no more."""
        if encoded.scored == len(encoded.starts):
            return True
        if self._task.kind != "sequence-classification":
            return False
        rows = self._outputs.between(encoded.first, encoded.first + encoded.scored * self._strands)
        logs = log_probabilities(strand_means(rows, self._strands), self._task)
        return settled(logs, encoded.ends - encoded.starts, self._task)
