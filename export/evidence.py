"""What a calibrated panel bundle does on held-out simulated reads and on real reads with known truth, through the
runtime itself."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq import Scorer, open_reads
from edgeseq.normalise import reverse_complement
from edgeseq.prediction import Prediction
from edgeseq.read import Read
from export.calibrate import KINDS, MINIMUM_LENGTH, held_reads
from export.dataset import Sampler
from export.genomes import OTHER
from export.measure import Calls, by, calls_of, confusion, length_bins, per_class, predictive_value, summary

PREVALENCES = (0.5, 0.1, 0.01, 0.001)


def figures(calls: Calls) -> dict[str, Any]:
    """Every table of the card for one set of calls."""
    overall = summary(calls)
    sensitivity, false = overall["virus_right"][0], overall["background_called_virus"]
    return {
        "summary": overall,
        "classes": per_class(calls),
        "lengths": by(calls, length_bins(calls)),
        "sources": by(calls, calls.source),
        "predictive_value": [
            {
                "prevalence": share,
                "at_rate": predictive_value(sensitivity, false[0], share),
                "at_upper_bound": predictive_value(sensitivity, false[2], share),
            }
            for share in PREVALENCES
        ],
    }


def held_evidence(scorer: Scorer, held: Sampler, seed: int, reads: int = 12_000) -> dict[str, Any]:
    """Tables for fresh simulated reads of held-out clusters, background, outside viruses and decoys."""
    rng = np.random.default_rng((seed, 7))
    rows = []
    for kind in KINDS:
        for p in scorer.score(held_reads(held, rng, kind, reads if kind in ("virus", "background") else reads // 3)):
            truth, source = p.read.source.split("|")
            rows.append((truth, p.decision.label, p.decision.score, len(p.read), source))
    calls = calls_of(rows)
    return figures(calls) | {"confusion": confusion(calls, scorer.manifest.task.labels)}


def true_labels(data: Path, folder: Path) -> dict[tuple[str, str], str]:
    """(file name, read id) → true label, of the reads that truth is known for."""
    truth = {}
    with (data / "reads" / "truth.tsv").open(newline="") as table:
        for row in csv.DictReader(table, delimiter="\t"):
            if row["truth"] != "unverified" and row["file"].split("/")[0] == folder.name:
                truth[Path(row["file"]).name, row["read_id"]] = row["truth"]
    return truth


def strand_agreement(forward: list[Prediction], backward: list[Prediction]) -> float:
    """Share of reads with the same label on both strands."""
    same: NDArray[np.bool_] = np.array(
        [f.decision.label == b.decision.label for f, b in zip(forward, backward, strict=True)]
    )
    return float(same.mean())


def real_evidence(scorer: Scorer, data: Path, folder: Path) -> dict[str, Any]:
    """Tables for the real reads below a folder that have a verified truth and 200 b or more, and the agreement of
    strands."""
    truth = true_labels(data, folder)
    reads = [
        read
        for read in open_reads(folder)
        if len(read) >= MINIMUM_LENGTH and (Path(read.source).name, read.id) in truth
    ]
    predictions = list(scorer.score(iter(reads)))
    flipped = [Read(r.id, reverse_complement(r.sequence), source=r.source) for r in reads]
    rows = [
        (
            truth[Path(p.read.source).name, p.read.id],
            p.decision.label,
            p.decision.score,
            len(p.read),
            Path(p.read.source).name,
        )
        for p in predictions
    ]
    evidence = figures(calls_of(rows))
    evidence["strand_agreement"] = strand_agreement(predictions, list(scorer.score(iter(flipped))))
    evidence["classes_tested"] = sorted({row[0] for row in rows} - {OTHER})
    return evidence
