"""The scorer: a bundle ready to score reads.

    chunks ─▶ plan, tile, encode, batch ─▶ session ─▶ collect ─▶ aggregate ─▶ decide ─▶ predictions
    └─────────── reading thread ───────┘  └workers┘  └────────── the caller's thread ─────────────┘

The unit of work is a chunk of reads, from the parser to the sink; a single read is a chunk of one. All steps but the
session are plain code on arrays; `edgeseq.pipeline` lets them overlap.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.aggregate import Values, aggregate, strand_means
from edgeseq.answers import answer_for
from edgeseq.batches import TOKENS, Batch
from edgeseq.bundle import Bundle, read_bundle
from edgeseq.chunks import Chunk, Reads, gathered
from edgeseq.decide import decide
from edgeseq.encode import EncodedChunk, Encoder, Ids
from edgeseq.errors import EngineError, UsageError
from edgeseq.feed import Collector, Feed, Parcel
from edgeseq.manifest import Manifest, TaskKind, Tensor
from edgeseq.pieces import cut
from edgeseq.pipeline import overlap, with_pauses
from edgeseq.prediction import Prediction
from edgeseq.predictions import Predictions
from edgeseq.read import Read
from edgeseq.selftest import self_test
from edgeseq.session import Session
from edgeseq.tokenizers import load_tokenizer
from edgeseq.tracks import Stretch, TrackCollector, token_values

RUN_TOKENS = 131_072
"""What a processor runs at a time, padding included. Smaller runs suit its caches better, but each end of a run waits
for the interpreter: measured end to end, whole batches win (10.3 against 8.4 Mb/s on two cores)."""
HEAVY_GRAPH, HEAVY_TOKENS = 16 << 20, 512
"""Graphs of more bytes than the first get so many tokens at a time: the interpreter's share is nothing beside their
products, which the engine computes a quarter faster while the rows fit its caches (84 GFLOPS for 512 rows of 1,280
channels against 66 for 4,096, one thread)."""
LIVE_CHUNKS, LIVE_READS = 4, 4096
"""How far ahead a source that may pause is read."""
RUN_VALUES = 1 << 24
"""The most values that a processor gives at a time for models whose output is as wide as their vocabulary."""
SCORED_KINDS: tuple[TaskKind, ...] = ("sequence-classification", "regression", "embedding", "causal-lm")
"""What gives a prediction for a read; ``token-classification`` gives tracks."""
_INSTEAD: dict[TaskKind, str] = {
    "token-classification": "it has a score for each base: write tracks with -o FILE.bedgraph, or calls with "
    "-o FILE.bed (in Python: scorer.tracks)",
    "masked-lm": "it fills in masked tokens and says nothing about a read; export its checkpoint again with "
    "--task embedding for a vector of each read",
}


def load(
    bundle: str | os.PathLike[str] | None = None,
    *,
    threads: int | None = None,
    providers: Sequence[str] | None = None,
    minimum_length: int | None = None,
) -> Scorer:
    """A scorer for a bundle file, or for the embedded default.

    ``threads`` workers share the engine (default: as many as this process may use cores). Reads shorter than
    ``minimum_length`` are never called, instead of those shorter than the bundle's own limit. Raises BundleError for a
    bundle that is not whole or does not reproduce its golden outputs here, EngineError where no provider runs it.
    """
    verified = read_bundle(bundle)
    session = Session(verified.graph, threads=1, providers=providers)
    self_test(verified, session)
    return Scorer(verified, session, threads=threads, minimum_length=minimum_length)


class Scorer:
    """Scores reads with one model. A context manager; `close` frees the engine.

    ``threads`` is the number of workers, ``engine_seconds`` the time spent inside the engine so far, summed over them.
    """

    def __init__(
        self, bundle: Bundle, session: Session, *, threads: int | None = None, minimum_length: int | None = None
    ) -> None:
        self.bundle = bundle
        self.manifest: Manifest = bundle.manifest
        if minimum_length is not None:
            abstention = replace(bundle.manifest.task.abstention, minimum_length=minimum_length)
            self.manifest = replace(bundle.manifest, task=replace(bundle.manifest.task, abstention=abstention))
        self.threads = threads or len(os.sched_getaffinity(0))
        self.engine_seconds = 0.0
        self._session: Session | None = session
        self._output = _graph_output(self.manifest)
        self._clock = threading.Lock()
        if self.manifest.input.alphabet != "signal":
            self._prepare_reading()
        self._buffers = threading.local()

    def _prepare_reading(self) -> None:
        """Everything that turns reads into rows and rows into answers; a model of raw signal has none of it."""
        self._tokenizer = load_tokenizer(self.bundle.tokenizer)
        self._encoder = Encoder(self.manifest.input, self._tokenizer)
        self._ids, self._mask, self._further = _graph_inputs(self.manifest)
        self._answer = answer_for(self.manifest.task, self._tokenizer)

    def __enter__(self) -> Scorer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Frees the engine. A closed scorer scores no more."""
        self._session = None

    @property
    def width(self) -> int:
        """How many values the model gives for a read or token; 0 where the graph does not say."""
        last = self._output.shape[-1] if self._output.shape else 1
        return last if isinstance(last, int) else 0

    @property
    def provider(self) -> str:
        """The execution provider that runs the model."""
        return self._open_session().provider

    def score(self, reads: Iterable[Read], *, early_stop: bool = False, live: bool = False) -> Iterator[Prediction]:
        """One prediction for each read, in order, while later reads are still being read and scored.

        ``early_stop``: a read whose call can no longer change is not scored to its end; labels stay the same.
        ``live``: the reads may pause; those that came are scored after half a second without a new one.
        An error of ``reads`` is raised after the predictions of all reads before it. Raises UsageError for a bundle
        whose task gives no score for a read, EngineError when the engine fails.
        """
        for predictions in self.score_batches(reads, early_stop=early_stop, live=live):
            yield from predictions

    def score_batches(
        self, reads: Iterable[Read | Chunk | None], *, early_stop: bool = False, live: bool = False
    ) -> Generator[Predictions]:
        """As `score`, in lots of the predictions that became ready together.

        The reads of `open_reads` stay in chunks on their way through. Chunks may be given as well, each of which comes
        back as one lot, and ``None``: what came before is scored without waiting for company.
        """
        self._check_kind()
        return self._score_batches(reads, early_stop, live)

    def tracks(self, reads: Iterable[Read], *, live: bool = False) -> Generator[Stretch]:
        """What a model for token classification says about each base of each read, in order, a stretch at a time.

        Long reads never lie in memory with all their scores. ``live`` and errors as in `score`; raises UsageError for
        a bundle of another kind.
        """
        self._check_reads()
        kind = self.manifest.task.kind
        if kind != "token-classification":
            raise UsageError(f"{self.manifest.name} is a {kind} model: it has no scores for single bases")
        return self._tracks(reads, live)

    def score_one(self, read: Read) -> Prediction:
        """The prediction for one read, in the calling thread. Raises as `score`."""
        self._check_kind()
        collector = Collector(self.manifest.task, self._encoder.strands)
        feed = Feed(self._encoder, self.manifest.input, threading.Event())
        finished: list[Prediction] = []
        for parcel in feed.all_windows([Chunk([read])]):
            for chunk, rows in collector.take(parcel, self._work(parcel)):
                finished += self._finish(chunk, rows)
        return finished[0]

    def encode(self, read: Read) -> list[Ids]:
        """The token ids of all rows of a read: each strand (where the bundle scores both) of each window."""
        self._check_input()
        rows = self._encoder.rows(self._encoder.plan(Chunk([read])))
        return [
            rows.ids[start : start + length]
            for start, length in zip(rows.starts.tolist(), rows.lengths.tolist(), strict=True)
        ]

    def run_ids(self, input_ids: NDArray[Any], **others: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """All outputs of the graph for a batch of ids (rows × length), padded by the caller.

        ``others`` are further inputs by name. An attention mask that the graph wants and that is not given is derived
        from the tokenizer's pad id. Raises EngineError.
        """
        self._check_input()
        inputs: dict[str, NDArray[Any]] = {self._ids.name: np.asarray(input_ids, self._ids.dtype), **others}
        if self._mask is not None and self._mask.name not in inputs:
            inputs[self._mask.name] = (inputs[self._ids.name] != self._tokenizer.pad_id).astype(self._mask.dtype)
        return self._run(inputs)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """All outputs of the graph for its inputs by name, as they are: also for models of raw signal.

        The caller prepares the inputs as the model asks for. Raises EngineError.
        """
        return self._run(inputs)

    def _score_batches(
        self, reads: Iterable[Read | Chunk | None], early_stop: bool, live: bool
    ) -> Generator[Predictions]:
        stopped = threading.Event()
        feed = Feed(self._encoder, self.manifest.input, stopped)
        chunks = _chunks(reads, live)
        parcels = feed.in_waves(chunks) if early_stop else feed.all_windows(chunks)
        collector = Collector(self.manifest.task, self._encoder.strands)
        running = overlap(parcels, self._work, threads=self.threads)
        try:
            for parcel, outputs in running:
                for chunk, rows in collector.take(parcel, outputs):
                    yield self._finish(chunk, rows)
        finally:
            stopped.set()
            running.close()

    def _tracks(self, reads: Iterable[Read], live: bool) -> Generator[Stretch]:
        feed = Feed(self._encoder, self.manifest.input, threading.Event())
        collector = TrackCollector(self.manifest, self._tokenizer, self._encoder.strands)
        parcels = feed.all_windows(cut(_chunks(reads, live), self.manifest.input))
        running = overlap(parcels, self._work_on_tokens, threads=self.threads)
        try:
            for parcel, rows in running:
                yield from collector.take(parcel, rows)
        finally:
            running.close()

    def _finish(self, encoded: EncodedChunk, rows: Values) -> Predictions:
        task = self.manifest.task
        scores = aggregate(encoded, strand_means(rows, self._encoder.strands), task)
        return Predictions(encoded.chunk, scores, decide(scores, encoded.chunk.lengths, task))

    def _work(self, parcel: Parcel) -> Values:
        """The model's output for each row of a parcel: float32 of (rows, values)."""
        batch = parcel.batch
        if not len(batch):
            return np.empty((0, 0), np.float32)
        inputs = self._inputs(batch)
        ids = inputs[self._ids.name]
        kept = batch.attention_mask(np.dtype(np.bool_), self._tokenizer.pad_side)
        parts = [self._answer(output, ids[part], kept[part]) for part, output in self._run_in_parts(inputs)]
        rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if not np.isfinite(rows).all():
            raise EngineError(f"{self.manifest.name}: the model gave values that are not finite numbers")
        return rows

    def _work_on_tokens(self, parcel: Parcel) -> list[Values]:
        """The model's output for each token of each row of a parcel."""
        batch = parcel.batch
        if not len(batch):
            return []
        parts = [output for _, output in self._run_in_parts(self._inputs(batch))]
        return token_values(np.concatenate(parts), batch, self._tokenizer.pad_side, self.manifest)

    def _inputs(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """The graph's inputs for a batch."""
        side = self._tokenizer.pad_side
        ids = batch.input_ids(self._tokenizer.pad_id, np.dtype(self._ids.dtype), side, buffer=self._buffer())
        inputs = {self._ids.name: ids}
        if self._mask is not None:
            inputs[self._mask.name] = batch.attention_mask(np.dtype(self._mask.dtype), side)
        return inputs

    def _buffer(self) -> NDArray[Any]:
        """Room for the ids of a batch, of each thread its own and used again for its next batch.

        Fresh memory costs ten times what filling it does: 2.2 against 0.2 µs a read.
        """
        buffer: NDArray[Any] | None = getattr(self._buffers, "ids", None)
        if buffer is None:
            buffer = self._buffers.ids = np.empty(TOKENS, self._ids.dtype)
        return buffer

    def _run_in_parts(self, inputs: Mapping[str, NDArray[Any]]) -> Iterator[tuple[slice, NDArray[Any]]]:
        """The output for a batch, of which a processor gets some tokens at a time.

        Anything else gets it all at once, unless the graph computes far beyond its rows. Each row counts with that.
        """
        rows, length = inputs[self._ids.name].shape
        tokens = self._run_tokens() if self.provider == "cpu" else TOKENS
        step = max(1, tokens // (length + self.manifest.graph.reach))
        for start in range(0, rows, step):
            part = slice(start, min(start + step, rows))
            yield part, self._run({name: array[part] for name, array in inputs.items()})[self._output.name]

    def _run_tokens(self) -> int:
        most = HEAVY_TOKENS if len(self.bundle.graph) > HEAVY_GRAPH else RUN_TOKENS
        width = self._output.shape[-1]
        if self.manifest.task.kind != "causal-lm" or not isinstance(width, int):
            return most
        return min(most, RUN_VALUES // width)

    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        session = self._open_session()
        began = time.perf_counter()
        outputs = session.run(inputs)
        took = time.perf_counter() - began
        with self._clock:
            self.engine_seconds += took
        return outputs

    def _open_session(self) -> Session:
        if self._session is None:
            raise UsageError("the scorer is closed")
        return self._session

    def _check_input(self) -> None:
        if self.manifest.input.alphabet == "signal":
            name = self.manifest.name
            raise UsageError(f"{name} takes raw signal, not reads; run it from Python: Scorer.run({{'signal': rows}})")

    def _check_reads(self) -> None:
        self._check_input()
        if self._further:
            name, wants = self.manifest.name, ", ".join(self._further)
            given = ", ".join(f"{one}=…" for one in self._further)
            raise UsageError(
                f"{name} takes {wants} beside input_ids, which no read has; "
                f"run it from Python: Scorer.run_ids(ids, {given})"
            )

    def _check_kind(self) -> None:
        self._check_reads()
        kind = self.manifest.task.kind
        if kind not in SCORED_KINDS:
            raise UsageError(f"{self.manifest.name} is a {kind} model: {_INSTEAD[kind]}")


def _chunks(reads: Iterable[Read | Chunk | None], live: bool) -> Iterator[Chunk | None]:
    """The reads in chunks, with ``None`` for each pause of a live source."""
    source: Iterable[Read | Chunk | None] = reads.chunks() if isinstance(reads, Reads) else reads
    if live:
        source = with_pauses(source, ahead=LIVE_CHUNKS if isinstance(reads, Reads) else LIVE_READS)
    return gathered(source)


def _graph_inputs(manifest: Manifest) -> tuple[Tensor, Tensor | None, tuple[str, ...]]:
    """The graph's ids, its mask where it wants one, and the names of what else it wants. Raises EngineError for a graph
    without ids."""
    by_name = {tensor.name: tensor for tensor in manifest.graph.inputs}
    ids = by_name.pop("input_ids", None)
    mask = by_name.pop("attention_mask", None)
    if ids is None:
        raise EngineError(f"{manifest.name}: the graph takes no input_ids, but {', '.join(by_name) or 'nothing'}")
    return ids, mask, tuple(by_name)


def _graph_output(manifest: Manifest) -> Tensor:
    """``logits`` (of an embedding model ``last_hidden_state``) if the graph has them, else its first output."""
    outputs = manifest.graph.outputs
    wanted = ("last_hidden_state", "logits") if manifest.task.kind == "embedding" else ("logits",)
    return next((tensor for name in wanted for tensor in outputs if tensor.name == name), outputs[0])
