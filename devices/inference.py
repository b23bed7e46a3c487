"""A bundle at work, as a program of its own: the same on this machine and under emulation.

``python -m devices.inference run BUNDLE …`` runs the graph so many times on made-up sequence and says how much it was;
``python -m devices.inference score BUNDLE READS… …`` keeps every number that scoring gives. Both print JSON or write an
archive of arrays for `devices.count` and `devices.compare`.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.batches import Batcher, Rows
from edgeseq.bundle import Bundle, read_bundle
from edgeseq.errors import EdgeseqError, UsageError
from edgeseq.read import Read
from edgeseq.reads import open_reads
from edgeseq.scorer import SCORED_KINDS, Scorer
from edgeseq.session import Session
from edgeseq.tokenizers import load_tokenizer

TOKENS = 8192
"""Made-up reads fill about so many tokens of a run: emulation is some hundred times slower than a processor."""
MOST_ROWS = 8
MULTIPLIES = 1e9
"""Multiply–accumulates of one inference that are enough; fewer reads run together where a model needs more for them."""
WARM_RUNS, WARM_SECONDS = 10, 20
"""What comes before the counted runs: so many, as long as they start within so many seconds of processor time, and one
in any case. The interpreter specialises its code within the first eight, by 5 % of what a small graph takes."""
MARK = 7077
"""As in ``count_plugin.c``."""
_LETTERS = {"dna": b"ACGT", "protein": b"ACDEFGHIKLMNPQRSTVWY"}


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(prog="python -m devices.inference")
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run")
    run.add_argument("bundle", type=Path)
    run.add_argument("--graph", type=Path)
    run.add_argument("--length", type=int)
    run.add_argument("--batch", type=int)
    run.add_argument("--times", type=int, default=1)
    run.set_defaults(function=_run)
    score = commands.add_parser("score")
    score.add_argument("bundle", type=Path)
    score.add_argument("reads", nargs="*")
    score.add_argument("--most", type=int, default=200)
    score.add_argument("--output", type=Path, required=True)
    score.set_defaults(function=_score)
    options = parser.parse_args(argv)
    try:
        options.function(options)
    except EdgeseqError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    """Runs the graph on the same rows: to warm up, then as often as asked, with a mark before and after each time."""
    bundle = read_bundle(options.bundle)
    if options.graph is not None:
        bundle = replace(bundle, graph=_bytes(options.graph))
    length, rows = planned(bundle, options.length, options.batch)
    with Scorer(bundle, Session(bundle.graph, threads=1), threads=1) as scorer:
        batches = list(made_up(bundle, scorer, length, rows))
        gc.disable()  # it would fall into one inference or another
        until = time.process_time() + WARM_SECONDS
        for number in range(WARM_RUNS):
            if not number or time.process_time() < until:
                _run_all(scorer, batches)
        mark()
        for _ in range(options.times):
            _run_all(scorer, batches)
            mark()
    print(json.dumps({"length": length, "rows": rows, "tokens": sum(ids.size for ids in batches)}))


def _run_all(scorer: Scorer, batches: Sequence[NDArray[Any]]) -> None:
    for ids in batches:
        scorer.run_ids(ids)


def mark() -> None:
    """Nothing; a counter that watches this process notes what was done so far."""
    with suppress(OSError):  # there is no such scheduling policy
        os.sched_get_priority_max(MARK)


def planned(bundle: Bundle, length: int | None, rows: int | None) -> tuple[int, int]:
    """The length of the made-up reads, in bases, and their number.

    That is a full window of each, as far as `TOKENS` allows, and as many as `MOST_ROWS` and `MULTIPLIES` allow.

    Raises UsageError for a model of raw signal, and for numbers that are not 1 or more.
    """
    spec = bundle.manifest.input
    if spec.alphabet not in _LETTERS:
        raise UsageError(f"{bundle.manifest.name} takes raw signal: there are no bases to count by")
    if min(length or 1, rows or 1) < 1:
        raise UsageError("length and batch have to be 1 or more")
    size = length or min(spec.window, TOKENS)
    cost = size * (bundle.manifest.graph.macs_per_base or 0)
    most = min(MOST_ROWS, TOKENS // size, int(MULTIPLIES // cost) if cost else MOST_ROWS)
    return size, rows or max(1, most)


def made_up(bundle: Bundle, scorer: Scorer, length: int, rows: int) -> Iterator[NDArray[Any]]:
    """Padded ids of batches as scoring makes them, for random reads; the same for the same arguments."""
    tokenizer = load_tokenizer(bundle.tokenizer)
    letters = np.frombuffer(_LETTERS[bundle.manifest.input.alphabet], np.uint8)
    random = np.random.default_rng(1)
    reads = [Read(f"made-up-{n}", letters[random.integers(0, len(letters), length)].tobytes()) for n in range(rows)]
    encoded = [ids for read in reads for ids in scorer.encode(read)]
    lengths = np.array([len(ids) for ids in encoded], np.int64)
    batcher = Batcher(bundle.manifest.input)
    together = Rows(np.concatenate(encoded), np.cumsum(lengths) - lengths, lengths, np.arange(len(encoded)))
    for batch in (*batcher.add(together), *batcher.flush()):
        yield batch.input_ids(tokenizer.pad_id, np.dtype(np.int64), tokenizer.pad_side)


def _score(options: argparse.Namespace) -> None:
    """Writes the golden outputs and, for each read, what the model and the decision say about it."""
    bundle = read_bundle(options.bundle)
    session = Session(bundle.graph, threads=1)
    found: dict[str, NDArray[Any]] = {}
    for number, case in enumerate(bundle.golden_cases().cases):
        for name, array in session.run(case.inputs).items():
            found[f"golden.{number}.{name}"] = array
    if options.reads:
        kind = bundle.manifest.task.kind
        if bundle.manifest.input.alphabet == "signal" or kind not in (*SCORED_KINDS, "token-classification"):
            raise UsageError(f"{bundle.manifest.name} scores no reads: leave them out, and golden cases are compared")
        with Scorer(bundle, session) as scorer:
            reads = _chosen(options.reads, options.most)
            found |= _tracks(scorer, reads) if kind == "token-classification" else _scores(scorer, reads)
    np.savez(options.output, **found)  # type: ignore[arg-type]  # keys never are those of its other arguments


def _chosen(sources: Sequence[str], most: int) -> Iterator[Read]:
    """At most ``most`` reads: of each source the same number, its first ones."""
    for number, source in enumerate(sources):
        share = most // len(sources) + (number < most % len(sources))
        yield from islice(open_reads(source), share)


def _scores(scorer: Scorer, reads: Iterator[Read]) -> dict[str, NDArray[Any]]:
    ids, labels, values, windows, lengths = [], [], [], [], []
    for prediction in scorer.score(reads):
        ids.append(prediction.read.id)
        lengths.append(len(prediction.read))
        labels.append(prediction.decision.label)
        values.append(prediction.scores.probabilities)
        windows.append(prediction.scores.windows.ravel())
    return {
        "ids": np.array(ids, np.str_),
        "lengths": np.array(lengths, np.int64),
        "labels": np.array(labels, np.str_),
        "values": np.concatenate([np.empty(0, np.float32), *values]),
        "windows": np.concatenate([np.empty(0, np.float32), *windows]),
    }


def _tracks(scorer: Scorer, reads: Iterator[Read]) -> dict[str, NDArray[Any]]:
    """As `_scores`; a base is called by its best label."""
    ids, lengths, values = [], [], []
    for stretch in scorer.tracks(reads):
        values.append(stretch.values)
        if stretch.last:
            ids.append(stretch.read_id)
            lengths.append(stretch.length)
    together = np.concatenate([np.empty((0, scorer.width), np.float32), *values])
    known = np.where(np.isnan(together), -np.inf, together)
    return {
        "ids": np.array(ids, np.str_),
        "lengths": np.array(lengths, np.int64),
        "labels": known.argmax(axis=1) if known.size else np.empty(0, np.int64),
        "values": together.ravel(),
        "windows": np.empty(0, np.float32),
    }


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())
