"""One contestant of `benchmarks/score.py`, alone in a process; prints what it took as one line of JSON.

    python -m benchmarks.parts library READS.fastq --threads 2 [--bundle FILE]
    python -m benchmarks.parts engine READS.fastq --threads 2 [--bundle FILE]
    python -m benchmarks.parts minimap2 READS.fastq --threads 2 --index FILE.mmi [--calls FILE.tsv]

`seconds` and `cpu_seconds` are those of the work itself: loading the model or the index and, for the engine, preparing
its batches come before.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import minimap
from edgeseq import load, open_reads, read_bundle
from edgeseq.normalise import normalise
from edgeseq.scorer import Scorer
from edgeseq.session import Session
from edgeseq.sinks.output import Output
from edgeseq.sinks.tsv import TsvSink

WARM_UP = 4
"""Batches that the engine runs before the clock starts."""

Inputs = Mapping[str, NDArray[Any]]


class Clock:
    """Wall and processor time since it was made, that of finished child processes included."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), self._used()

    def read(self) -> dict[str, float]:
        return {"seconds": time.perf_counter() - self._wall, "cpu_seconds": self._used() - self._cpu}

    @staticmethod
    def _used() -> float:
        return sum(os.times()[:4])


class RecordingSession(Session):
    """Keeps what it is given to run, and answers with zeros instead of running it."""

    def __init__(self, graph: bytes, output: str, values: int) -> None:
        super().__init__(graph)
        self.batches: list[Inputs] = []
        self._answer = output
        self._values = values

    def run(self, inputs: Inputs) -> dict[str, NDArray[Any]]:
        self.batches.append({name: array.copy() for name, array in inputs.items()})
        return {self._answer: np.zeros((len(inputs["input_ids"]), self._values), np.float32)}


def library(reads: Path, bundle: str | None, threads: int) -> dict[str, float]:
    """The whole pipeline inside one process, rows written to a file; and the seconds inside the engine."""
    with tempfile.TemporaryDirectory() as folder, load(bundle, threads=threads) as scorer:
        sink = TsvSink(Output(str(Path(folder, "calls.tsv"))), scorer.manifest.task)
        clock = Clock()
        for predictions in scorer.score_batches(open_reads(reads)):
            sink.write(predictions)
            sink.flush()
        sink.commit()
        return {**clock.read(), "engine_seconds": scorer.engine_seconds}


def engine(reads: Path, bundle: str | None, threads: int) -> dict[str, float]:
    """The bare engine on the very arrays that the pipeline gives it, from as many threads as the pipeline has."""
    batches = recorded(reads, bundle)
    session = Session(read_bundle(bundle).graph)
    for inputs in batches[:WARM_UP]:
        session.run(inputs)
    todo: queue.SimpleQueue[Inputs] = queue.SimpleQueue()
    for inputs in batches:
        todo.put(inputs)
    workers = [threading.Thread(target=_drain, args=(todo, session)) for _ in range(threads)]
    clock = Clock()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return clock.read()


def recorded(reads: Path, bundle: str | None) -> list[Inputs]:
    """The inputs that the pipeline makes of a file, in its order."""
    whole = read_bundle(bundle)
    outputs = whole.manifest.graph.outputs
    name = next((tensor.name for tensor in outputs if tensor.name == "logits"), outputs[0].name)
    session = RecordingSession(whole.graph, name, len(whole.manifest.task.labels))
    with Scorer(whole, session, threads=1) as scorer:
        for _ in scorer.score_batches(open_reads(reads)):
            pass
    return session.batches


def _drain(todo: queue.SimpleQueue[Inputs], session: Session) -> None:
    while True:
        try:
            inputs = todo.get_nowait()
        except queue.Empty:
            return
        session.run(inputs)


def minimap2(reads: Path, index: Path, threads: int, calls: Path | None) -> dict[str, float]:
    """minimap2, nanopore preset, in processes that share the index; writes id, class of the best hit, its matches."""
    aligner = minimap.aligner(index)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        parts = [Path(folder, str(number)) for number in range(threads)]
        children = []
        for number, part in enumerate(parts):
            child = os.fork()
            if child == 0:
                _align(aligner, reads, part, number, threads)
                os._exit(0)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        if any(codes):
            raise SystemExit(f"an aligning process ended with {max(codes, key=abs)}")
        took = clock.read()
        if calls is not None:
            calls.write_text("".join(part.read_text() for part in parts))
    return took


def _align(aligner: Any, reads: Path, rows: Path, number: int, of: int) -> None:
    """Every ``of``-th read of the file, from ``number`` on."""
    with rows.open("w") as file:
        for place, read in enumerate(open_reads(reads)):
            if place % of == number:
                label, matches = minimap.best_hit(aligner, normalise(read.sequence, "dna").decode())
                file.write(f"{read.id}\t{label}\t{matches}\n")


def main() -> None:
    """Runs one contestant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("library", "engine", "minimap2"))
    parser.add_argument("reads", type=Path)
    parser.add_argument("--bundle")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--calls", type=Path)
    options = parser.parse_args()
    if options.part == "minimap2":
        took = minimap2(options.reads, options.index, options.threads, options.calls)
    else:
        took = {"library": library, "engine": engine}[options.part](options.reads, options.bundle, options.threads)
    print(json.dumps(took))


if __name__ == "__main__":
    main()
