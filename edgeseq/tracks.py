"""One score for each base and label: what a model for tokens says about a read.

    token logits ─▶ bases ─▶ both strands ─▶ windows ─▶ activation ─▶ stretches of a track

A token's logits count for every base that it spans; where several tokens span a base (overlapping k-mers) it gets their
mean. The reverse strand is turned round and averaged in, still as logits. Where windows overlap, a base gets its score
from the window in which it is further from an end; the ends of the read itself are no such ends. Temperature and
activation come last. A base that is N, or that no token spans, has no score.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeseq.aggregate import Values
from edgeseq.batches import Batch
from edgeseq.encode import EncodedChunk
from edgeseq.errors import EngineError
from edgeseq.feed import Parcel
from edgeseq.manifest import Manifest, Task
from edgeseq.normalise import UNKNOWN, normalise, reverse_complement
from edgeseq.pieces import PieceChunk, Place
from edgeseq.tokenizers import Tokenizer


class Stretch(NamedTuple):
    """The scores of the bases from ``start`` on of a read.

    ``values`` is float32 of (bases, labels), NaN where a base has no score. The stretches of a read follow each other
    from its first base to its last; a read of no bases has one of no bases. ``length`` is that of the read.
    """

    read_id: str
    source: str
    length: int
    start: int
    values: Values

    @property
    def last(self) -> bool:
        """Whether it ends its read."""
        return self.start + len(self.values) == self.length


def token_values(
    outputs: NDArray[np.floating[Any]], batch: Batch, side: Literal["left", "right"], manifest: Manifest
) -> list[Values]:
    """The values of the tokens of each row of a batch, without padding: (tokens × labels), NaN for tokens without any.

    ``outputs`` is (rows × tokens × labels). A graph that gives fewer tokens than it got, as convolutions without
    padding do, speaks for the middle ones. Raises EngineError where the shape means nothing and where a value is not
    finite.
    """
    labels, rows = len(manifest.task.labels), len(batch)
    missing = batch.length - (outputs.shape[1] if outputs.ndim == 3 else 0)
    if outputs.ndim != 3 or len(outputs) != rows or outputs.shape[2] != labels or missing < 0 or missing % 2:
        wanted = f"({rows}, {batch.length}, {labels}), or an even number less in the middle"
        raise EngineError(f"{manifest.name}: the graph gives {outputs.shape} for a batch; expected {wanted}")
    edge = missing // 2
    found = []
    for row, length in zip(outputs, np.concatenate([part.lengths for part in batch.parts]).tolist(), strict=True):
        first = 0 if side == "right" else batch.length - length
        begin, end = max(first, edge), max(min(first + length, batch.length - edge), edge)
        values = np.full((length, labels), np.nan, np.float32)
        if begin < end:
            values[begin - first : end - first] = row[begin - edge : end - edge]
            if not np.isfinite(values[begin - first : end - first]).all():
                raise EngineError(f"{manifest.name}: the model gave values that are not finite numbers")
        found.append(values)
    return found


def base_values(tokens: Values, spans: NDArray[np.int64], bases: int) -> Values:
    """The values of each base of a window (bases × labels): the mean over the tokens that span it, NaN without any."""
    speaks = ~np.isnan(tokens[:, 0])
    starts, widths = spans[speaks, 0], (spans[:, 1] - spans[:, 0])[speaks]
    places = np.repeat(starts - (np.cumsum(widths) - widths), widths) + np.arange(int(widths.sum()))
    counts = np.bincount(places, minlength=bases)
    spoken = np.repeat(tokens[speaks], widths, axis=0)
    values = np.full((bases, tokens.shape[1]), np.nan, np.float32)
    if counts.max(initial=0) <= 1:
        values[places] = spoken
        return values
    sums = np.zeros(values.shape)
    np.add.at(sums, places, spoken)
    np.divide(sums, counts[:, None], out=values, where=counts[:, None] > 0, casting="same_kind")
    return values


def activated(logits: Values, task: Task) -> Values:
    """What the labels of each base get, from its logits: as the task's activation has it, after its temperature."""
    if task.activation == "identity":
        return logits
    scaled = logits / np.float32(task.temperature)
    if task.activation == "sigmoid":
        sigmoid: Values = np.float32(0.5) + np.float32(0.5) * np.tanh(scaled * np.float32(0.5))
        return sigmoid
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    values: Values = powers / powers.sum(axis=1, keepdims=True)
    return values


class TrackCollector:
    """Gathers values of tokens, and gives the stretches of reads in the order of the reads."""

    def __init__(self, manifest: Manifest, tokenizer: Tokenizer, strands: int) -> None:
        self._task = manifest.task
        assert manifest.input.alphabet != "signal"  # reads are letters
        self._alphabet = manifest.input.alphabet
        self._tokenizer = tokenizer
        self._strands = strands
        self._waiting: deque[EncodedChunk] = deque()
        self._rows: dict[int, Values] = {}
        self._complete = 0

    def take(self, parcel: Parcel, rows: list[Values]) -> Iterator[Stretch]:
        """The stretches that are complete, now that a parcel came back with the values of its rows."""
        self._waiting.extend(parcel.announced)
        self._rows.update(zip(parcel.batch.numbers.tolist(), rows, strict=True))
        while True:
            while self._waiting and self._waiting[0].end_row <= self._complete:
                yield from self._stretches(self._waiting.popleft())
            if not self._waiting:
                return
            end = self._waiting[0].end_row
            while self._complete < end and self._complete in self._rows:
                self._complete += 1
            if self._complete < end:
                return

    def _stretches(self, encoded: EncodedChunk) -> Iterator[Stretch]:
        chunk = encoded.chunk
        assert isinstance(chunk, PieceChunk)  # nothing else is fed here
        for number, (read, place) in enumerate(zip(chunk, chunk.places, strict=True)):
            values = self._values(encoded, number, read.sequence, place)
            yield Stretch(read.id, read.source, place.length, place.begin, values)

    def _values(self, encoded: EncodedChunk, number: int, sequence: bytes, place: Place) -> Values:
        """The values of the bases that a piece speaks for."""
        begin, end = place.begin - place.offset, place.end - place.offset
        values = np.full((end - begin, len(self._task.labels)), np.nan, np.float32)
        letters = normalise(sequence, self._alphabet)
        first, count = int(encoded.first[number]), int(encoded.counts[number])
        starts = encoded.starts[first : first + count]
        ends = encoded.ends[first : first + count]
        borders = np.concatenate([[begin], (starts[1:] + ends[:-1]) // 2, [end]]).clip(begin, end)
        for window in range(count):
            row = encoded.first_row + (first + window) * self._strands
            start, stop = int(starts[window]), int(ends[window])
            logits = self._logits(
                letters[start:stop], [self._rows.pop(row + strand) for strand in range(self._strands)]
            )
            low, high = int(borders[window]), min(int(borders[window + 1]), stop)
            values[low - begin : high - begin] = logits[low - start : high - start]
        unknown = np.frombuffer(letters, np.uint8)[begin:end] == ord(UNKNOWN[self._alphabet])
        spoken = ~unknown & ~np.isnan(values[:, 0])
        if place.length < self._task.abstention.minimum_length:
            spoken[:] = False
        values[~spoken] = np.nan
        values[spoken] = activated(values[spoken], self._task)
        return values

    def _logits(self, letters: bytes, strands: list[Values]) -> Values:
        """The logits of each base of a window."""
        if self._tokenizer.byte_ids is not None:
            found = strands
        else:
            texts = [letters, reverse_complement(letters)][: self._strands]
            found = [
                base_values(tokens, self._tokenizer.spans(text), len(letters))
                for tokens, text in zip(strands, texts, strict=True)
            ]
        if self._strands == 1:
            return found[0]
        forward, reverse = found[0], found[1][::-1]
        both = (forward + reverse) * np.float32(0.5)
        return np.where(np.isnan(forward), reverse, np.where(np.isnan(reverse), forward, both))
