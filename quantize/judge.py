"""The same reads through two bundles, with the device's own runtime: windows, strands, aggregation, decision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgeseq.bundle import Bundle
from edgeseq.decide import threshold
from edgeseq.manifest import Task
from edgeseq.normalise import reverse_complement
from edgeseq.prediction import UNCLASSIFIED
from edgeseq.predictions import Predictions
from edgeseq.read import Read
from edgeseq.scorer import Scorer
from edgeseq.session import Session
from quantize.pairs import AND, NONE, Calls, Pairs
from quantize.sample import Sample


def scorer_of(bundle: Bundle, graph: bytes | None = None, *, threads: int | None = None) -> Scorer:
    """A scorer for a bundle, or for the bundle with another graph in it. Raises EngineError."""
    if graph is not None:
        bundle = replace(bundle, graph=graph)
    return Scorer(bundle, Session(bundle.graph, threads=1), threads=threads)


def calls(scorer: Scorer, sample: Sample) -> Calls:
    """What a model says of each read of a sample, in order."""
    labels: list[str] = []
    values = []
    several = takes_several(scorer.manifest.task)
    for lot in scorer.score_batches(iter(sample.reads)):
        labels += _all_labels(lot, scorer.manifest.task) if several else lot.decisions.labels
        found = np.asarray(lot.scores.probabilities, np.float32).copy()
        found[lot.scores.counts == 0] = np.nan
        values.append(found)
    width = max(each.shape[1] for each in values)
    padded = [each if each.shape[1] == width else np.full((len(each), width), np.nan, np.float32) for each in values]
    return Calls(np.array(labels, np.str_), np.concatenate(padded))


def takes_several(task: Task) -> bool:
    """Whether several labels may hold for one read."""
    return task.kind == "sequence-classification" and task.activation == "sigmoid"


def _all_labels(lot: Predictions, task: Task) -> list[str]:
    """Every label that reaches its threshold (0.5 where it has none), for each read that may be called."""
    limits = [threshold(label, task) or 0.5 for label in task.labels]
    found = []
    for reason, row in zip(lot.decisions.reasons, lot.scores.probabilities.tolist(), strict=True):
        held = [label for label, value, limit in zip(task.labels, row, limits, strict=True) if value >= limit]
        found.append(UNCLASSIFIED if reason in ("empty", "short", "n") else AND.join(held) or NONE)
    return found


def pair(bundle: Bundle, sample: Sample, reference: Calls, candidate: Calls) -> Pairs:
    """Both models' calls of a sample, side by side. Where the sample has no truth, the float model's calls are it."""
    task = bundle.manifest.task
    return Pairs(
        labels=task.labels,
        background=task.background,
        truth=sample.truth if sample.has_truth else reference.label,
        source=sample.source,
        length=np.array([len(read) for read in sample.reads], np.int64),
        reference=reference,
        candidate=candidate,
        multiple=takes_several(task),
    )


def other_strand(sample: Sample) -> Sample:
    """The same reads as their reverse complements."""
    turned = tuple(
        Read(read.id, reverse_complement(read.sequence), source=read.source, record=read.record)
        for read in sample.reads
    )
    return replace(sample, reads=turned)
