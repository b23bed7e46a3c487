"""Training genomes that are too close to the test reads, and their removal.

The reads of each test file are aligned to all genomes; the best-covered references get a consensus by majority vote,
and genomes that are at least `IDENTITY` identical to a consensus are dropped from training. Of a virus whose every
genome is that close (one clone world-wide), the threshold rises in steps until `KEEP` genomes are left; the report says
which step was needed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import mappy
import numpy as np
from numpy.typing import NDArray

from export.genomes import Genome
from export.labels import text
from export.sketches import canonical_kmers

IDENTITY = 0.99
STEPS = (0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 1.01)
KEEP = 25
MINIMUM_DEPTH = 3
_CODE = np.full(256, 4, np.uint8)
_CODE[[65, 67, 71, 84]] = [0, 1, 2, 3]


@dataclass(frozen=True, slots=True)
class Dropped:
    """What the removal did to one class: records before and after and the identity threshold that was used."""

    label: str
    before: int
    after: int
    identity: float


def consensus(reads: Iterable[str], genomes: list[Genome]) -> list[NDArray[np.uint8]]:
    """Stretches of at least 150 b that `MINIMUM_DEPTH` reads agree on, as base codes; deletions are left out,
    insertions ignored."""
    with tempfile.NamedTemporaryFile("w", suffix=".fasta") as fasta:
        for number, genome in enumerate(genomes):
            fasta.write(f">{number}\n{text(genome.codes)}\n")
        fasta.flush()
        aligner = mappy.Aligner(fasta.name, preset="map-ont", best_n=1)
    votes: dict[int, NDArray[np.int32]] = {}
    for sequence in reads:
        for hit in aligner.map(sequence):
            if not hit.is_primary or hit.mlen < 100:
                continue
            reference = int(hit.ctg)
            counts = votes.setdefault(reference, np.zeros((len(genomes[reference]), 5), np.int32))
            codes = _CODE[np.frombuffer(sequence.encode("ascii"), np.uint8)]
            if hit.strand < 0:
                codes = np.where(codes < 4, 3 - codes, codes)[::-1]
                query = len(codes) - hit.q_en
            else:
                query = hit.q_st
            place = hit.r_st
            for length, operation in hit.cigar:
                if operation in (0, 7, 8):
                    rows = np.arange(place, place + length)
                    np.add.at(counts, (rows, np.minimum(codes[query : query + length], 4)), 1)
                    query += length
                    place += length
                elif operation == 1:
                    query += length
                elif operation in (2, 3):
                    counts[place : place + length, 4] += 1
                    place += length
    stretches = []
    for counts in votes.values():
        deep = counts.sum(1) >= MINIMUM_DEPTH
        edges = np.flatnonzero(np.diff(np.concatenate([[0], deep.astype(np.int8), [0]])))
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            best = counts[start:stop].argmax(1).astype(np.uint8)
            called = best[best < 4]
            if len(called) >= 150:
                stretches.append(called)
    return stretches


def identity_to(stretches: list[NDArray[np.uint8]], genomes: list[Genome]) -> NDArray[np.float64]:
    """Highest identity of each genome with any stretch, from shared 15-mers of the shorter one, float64 (genomes,).

    Exact up to chance: the share of a stretch's 15-mers that the genome holds, to the power 1/15; stretches that share
    under half of their 15-mers count 0. Consensus errors lower the figure, so stretches are first cut to pieces of 400
    b and the best tenth counts.
    """
    pieces = [stretch[at : at + 400] for stretch in stretches for at in range(0, max(1, len(stretch) - 199), 400)]
    kmers = [np.unique(canonical_kmers(piece)) for piece in pieces]
    kmers = [piece for piece in kmers if len(piece) >= 100]
    if not kmers:
        return np.zeros(len(genomes))
    values = np.concatenate(kmers)
    owner = np.repeat(np.arange(len(kmers)), [len(piece) for piece in kmers])
    order = np.argsort(values, kind="stable")
    values, owner = values[order], owner[order]
    sizes = np.array([len(piece) for piece in kmers])
    best = np.zeros(len(genomes))
    for number, genome in enumerate(genomes):
        own = np.unique(canonical_kmers(genome.codes))
        held = np.isin(values, own, assume_unique=False)
        share = np.bincount(owner[held], minlength=len(kmers)) / sizes
        covered = share > 0.5
        if covered.any():
            best[number] = float(np.quantile(share[covered], 0.5)) ** (1 / 15)
    return best


def drop_close(label: str, genomes: list[Genome], stretches: list[NDArray[np.uint8]]) -> tuple[list[Genome], Dropped]:
    """The genomes of a class that are far enough from the test reads, and what was dropped."""
    closeness = identity_to(stretches, genomes)
    for identity in STEPS:
        kept = [genome for genome, close in zip(genomes, closeness, strict=True) if close < identity]
        if len(kept) >= min(KEEP, len(genomes)):
            break
    return kept, Dropped(label, len(genomes), len(kept), identity)


def test_reads(folder: Path) -> dict[str, list[str]]:
    """The sequences of every read file below a folder, by file."""
    from edgeseq import open_reads
    from edgeseq.normalise import normalise

    found: dict[str, list[str]] = {}
    for read in open_reads(folder):
        found.setdefault(read.source, []).append(normalise(read.sequence, "dna").decode("ascii"))
    return found
