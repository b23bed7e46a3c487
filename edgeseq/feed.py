"""From chunks of reads to parcels for the engine, and back to chunks with all their rows.

A `Feed` runs on the reading side and a `Collector` on the other. They share nothing but the parcels, save for early
stopping, where the feed waits for the collector's word on which reads need more windows.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeseq.aggregate import Values, log_probabilities, strand_means
from edgeseq.batches import TOKENS, Batch, Batcher
from edgeseq.chunks import Chunk
from edgeseq.encode import EncodedChunk, Encoder
from edgeseq.errors import EdgeseqError
from edgeseq.manifest import Input, Task
from edgeseq.outputs import OutputRows
from edgeseq.settling import next_goals, settled

ANNOUNCED = 16_384
"""Reads without a single complete batch that are passed on together."""
BLOCK_BASES = 4 * TOKENS
"""Bases of reads that are scored in waves together when reads may stop early."""


class Block:
    """Chunks that are scored in waves; ``outstanding`` rows of the current wave have no output yet.

    ``open`` tells for each read of each chunk whether it may need more windows.
    """

    def __init__(self) -> None:
        self.chunks: list[EncodedChunk] = []
        self.open: list[NDArray[np.bool_]] = []
        self.outstanding = 0
        self.answered = threading.Event()

    def add(self, encoded: EncodedChunk) -> None:
        """Takes a chunk of which nothing has been scored."""
        encoded.scored = np.zeros(len(encoded.counts), np.int64)
        self.chunks.append(encoded)
        self.open.append(np.ones(len(encoded.counts), np.bool_))


@dataclass(slots=True)
class Parcel:
    """A batch for the engine, with the chunks that come next in order of output and, in waves, their block."""

    batch: Batch
    announced: list[EncodedChunk] = field(default_factory=list)
    block: Block | None = None


class Feed:
    """Turns chunks into parcels. ``stopped`` ends a wait for answers that nobody will give any more."""

    def __init__(self, encoder: Encoder, spec: Input, stopped: threading.Event) -> None:
        self._encoder = encoder
        self._spec = spec
        self._stopped = stopped
        self._numbered = 0

    def all_windows(self, chunks: Iterable[Chunk | None]) -> Iterator[Parcel]:
        """Parcels that hold every window of every read; ``None`` among the chunks sends what waits for company.

        An error of the chunks is raised after everything before it was sent.
        """
        batcher = Batcher(self._spec)
        announced: list[EncodedChunk] = []
        reads = 0
        error: Exception | None = None
        try:
            for chunk in chunks:
                if chunk is None or reads >= ANNOUNCED:
                    yield from _rest(batcher, announced)
                    announced, reads = [], 0
                if chunk is None:
                    continue
                encoded = self._plan(chunk)
                announced.append(encoded)
                reads += len(chunk)
                for batch in batcher.add(self._encoder.rows(encoded)):
                    yield Parcel(batch, announced)
                    announced, reads = [], 0
        except (EdgeseqError, OSError) as problem:
            error = problem
        yield from _rest(batcher, announced)
        if error is not None:
            raise error

    def in_waves(self, chunks: Iterable[Chunk | None]) -> Iterator[Parcel]:
        """Parcels that hold windows of each read until its call is settled. Errors as in `all_windows`.

        Two blocks of chunks are under way at a time, so that the engine has work while one of them is looked at.
        """
        source = iter(chunks)
        active: deque[Block] = deque()
        error: Exception | None = None
        ended = paused = False
        while True:
            while not ended and not paused and len(active) < 2:
                block = Block()
                try:
                    paused, ended = self._fill(block, source)
                except (EdgeseqError, OSError) as problem:
                    error, ended = problem, True
                if block.chunks:
                    yield from self._wave(block, announced=block.chunks)
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
            if any(reads.any() for reads in block.open):
                yield from self._wave(block, announced=[])
                active.append(block)
        if error is not None:
            raise error

    def _fill(self, block: Block, source: Iterator[Chunk | None]) -> tuple[bool, bool]:
        """Fills a block; whether the source paused, and whether it ended."""
        reads = bases = 0
        for chunk in source:
            if chunk is None:
                return True, False
            block.add(self._plan(chunk))
            reads += len(chunk)
            bases += len(chunk.letters)
            if bases >= BLOCK_BASES or reads >= ANNOUNCED:
                return False, False
        return False, True

    def _wave(self, block: Block, announced: list[EncodedChunk]) -> Iterator[Parcel]:
        """The next windows of every read of a block that is not settled yet."""
        batcher = Batcher(self._spec)
        asked = []
        for encoded, unsettled in zip(block.chunks, block.open, strict=True):
            before = encoded.scored
            encoded.scored = np.where(unsettled, next_goals(before, encoded.counts), before)
            asked.append((encoded, encoded.between(before, encoded.scored)))
        block.outstanding = sum(len(windows) for _, windows in asked) * self._encoder.strands
        block.answered.clear()
        announced = list(announced)
        for encoded, windows in asked:
            for batch in batcher.add(self._encoder.rows(encoded, windows)):
                yield Parcel(batch, announced, block)
                announced = []
        yield from _rest(batcher, announced, block)

    def _plan(self, chunk: Chunk) -> EncodedChunk:
        """The chunk with its windows; its rows get their numbers."""
        encoded = self._encoder.plan(chunk)
        encoded.first_row = self._numbered
        self._numbered += len(encoded.starts) * self._encoder.strands
        encoded.end_row = self._numbered
        return encoded


def _rest(batcher: Batcher, announced: list[EncodedChunk], block: Block | None = None) -> Iterator[Parcel]:
    """Parcels of all rows that wait for company, and one without rows if chunks are left to announce."""
    for batch in batcher.flush() or ([Batch([], 0)] if announced else []):
        yield Parcel(batch, announced, block)
        announced = []


class Collector:
    """Gathers rows of output and returns chunks that are finished, in the order in which they were announced."""

    def __init__(self, task: Task, strands: int) -> None:
        self._task = task
        self._strands = strands
        self._waiting: deque[EncodedChunk] = deque()
        self._outputs = OutputRows()

    def take(self, parcel: Parcel, outputs: Values) -> list[tuple[EncodedChunk, Values]]:
        """The chunks that can be put out, now that a parcel came back with its output, each with its rows of output."""
        self._waiting.extend(parcel.announced)
        numbers = parcel.batch.numbers
        if len(numbers):
            self._outputs.put(numbers, outputs, close=parcel.block is None)
        if parcel.block is not None:
            self._answer(parcel.block, len(numbers))
        ready = []
        while self._waiting and self._waiting[0].end_row <= self._outputs.complete:
            encoded = self._waiting.popleft()
            ready.append((encoded, self._outputs.take(encoded.end_row)))
        return ready

    def _answer(self, block: Block, rows: int) -> None:
        """Notes that so many rows of a block came; after the last of a wave, keeps the reads that need another."""
        block.outstanding -= rows
        if block.outstanding:
            return
        for number, encoded in enumerate(block.chunks):
            unsettled = block.open[number]
            stands = unsettled & (encoded.scored == encoded.counts)
            for read in np.flatnonzero(unsettled & ~stands).tolist():
                stands[read] = self._stands(encoded, read)
            closed = np.repeat(stands, encoded.counts * self._strands)
            self._outputs.close(encoded.first_row + np.flatnonzero(closed))
            block.open[number] = unsettled & ~stands
        block.answered.set()

    def _stands(self, encoded: EncodedChunk, read: int) -> bool:
        """Whether a read that was scored in part needs no more."""
        if self._task.kind != "sequence-classification":
            return False
        first, end = int(encoded.first[read]), int(encoded.first[read] + encoded.counts[read])
        row = encoded.first_row + first * self._strands
        rows = self._outputs.between(row, row + int(encoded.scored[read]) * self._strands)
        logs = log_probabilities(strand_means(rows, self._strands), self._task)
        return settled(logs, encoded.ends[first:end] - encoded.starts[first:end], self._task)
