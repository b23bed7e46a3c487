"""Where calls change: by length of read, by class, between strands."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeseq.scorer import Scorer
from quantize.judge import calls, other_strand
from quantize.pairs import Pairs
from quantize.sample import Sample

EDGES = (0, 200, 300, 500, 1000, 2000, 5000)
STRAND_READS = 1000


def by_length(pairs: Pairs) -> list[dict[str, Any]]:
    """Share of right calls of both models, and of changed calls, for each length bin that has reads."""
    before, after = pairs.right()
    place = np.searchsorted(EDGES, pairs.length, side="right") - 1
    rows = []
    for number, low in enumerate(EDGES):
        chosen = place == number
        if chosen.any():
            name = f"{low}–{EDGES[number + 1] - 1}" if number + 1 < len(EDGES) else f"{low} and more"
            rows.append(
                {
                    "length": name,
                    "reads": int(chosen.sum()),
                    "before": float(before[chosen].mean()),
                    "after": float(after[chosen].mean()),
                    "flips": float(pairs.flipped[chosen].mean()),
                }
            )
    return rows


def by_class(pairs: Pairs) -> list[dict[str, Any]]:
    """Reads, right calls of both models and changed calls of each true class."""
    rows = []
    for number, label in enumerate(pairs.labels):
        chosen, before, after = pairs.having(number)
        if chosen.any():
            rows.append(
                {
                    "class": label,
                    "reads": int(chosen.sum()),
                    "right before": int(before[chosen].sum()),
                    "right after": int(after[chosen].sum()),
                    "changed": int(pairs.flipped[chosen].sum()),
                }
            )
    return rows


def between_strands(reference: Scorer, candidate: Scorer, sample: Sample, alphabet: str, seed: int) -> dict[str, Any]:
    """Share of reads whose call depends on the strand, for both models; empty for what has one strand."""
    if alphabet != "dna":
        return {}
    if len(sample) > STRAND_READS:
        chosen = np.sort(np.random.default_rng((seed, 5)).choice(len(sample), STRAND_READS, replace=False))
        sample = sample.part(chosen)
    turned = other_strand(sample)
    shares = [
        float((calls(scorer, sample).label != calls(scorer, turned).label).mean()) for scorer in (reference, candidate)
    ]
    return {"reads": len(sample), "before": shares[0], "after": shares[1]}
