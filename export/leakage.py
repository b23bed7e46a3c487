"""Training genomes that are too close to the test reads, and their removal.

The reads of each test file are aligned to one representative of each cluster of similar genomes, so that the votes of a
virus with many nearly identical genomes stay together; each representative with enough reads gives a consensus by
majority vote. Genomes that are at least `IDENTITY` identical to the consensus of any file are dropped from training. Of
a virus that would have too few genomes left (one clone world-wide), the threshold rises in steps until enough are; the
report says which step was needed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import mappy
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from export.genomes import Genome
from export.labels import Clustered, text
from export.sketches import canonical_kmers

IDENTITY = 0.99
STEPS = (*(round(0.99 + 0.001 * n, 3) for n in range(10)), *(round(0.9991 + 0.0001 * n, 4) for n in range(9)), 1.01)
KEEP = 25
MINIMUM_DEPTH = 5
SUPPORT = 0.6
"""Share of the reads over a position that must agree on its base. Old chemistries miss many bases of a homopolymer, and
a consensus of such errors is close to nobody."""
MISSING = 0.75
"""Share of the reads that must miss a position for it to be missing."""
_CODE = np.full(256, 4, np.uint8)
_CODE[[65, 67, 71, 84]] = [0, 1, 2, 3]


@dataclass(frozen=True, slots=True)
class Dropped:
    """What the removal did to one class: records before and after, the identity threshold that was used, and how many
    of the records before reach `IDENTITY`."""

    label: str
    before: int
    after: int
    identity: float
    close: int


Consensus = list[NDArray[np.uint8]]
"""Stretches of base codes that the reads of one file agree on, of one virus or segment."""


def representatives(genomes: list[Genome]) -> list[Genome]:
    """The record of each cluster of similar records that shares most with the others."""
    return [genomes[index] for index in Clustered.of(genomes).speaker]


@dataclass(frozen=True, slots=True)
class References:
    """What test reads are aligned to: representatives, and minimap2's index over them."""

    genomes: list[Genome]
    aligner: mappy.Aligner

    @classmethod
    def of(cls, genomes: list[Genome]) -> References:
        with tempfile.NamedTemporaryFile("w", suffix=".fasta") as fasta:
            for number, genome in enumerate(genomes):
                fasta.write(f">{number}\n{text(genome.codes)}\n")
            fasta.flush()
            return cls(genomes, mappy.Aligner(fasta.name, preset="map-ont", best_n=1))


def consensus(reads: Iterable[str], references: References) -> list[Consensus]:
    """A consensus for each reference that the reads of one file align to; none where fewer than `MINIMUM_DEPTH` reads
    agree on 150 b."""
    votes: dict[int, NDArray[np.int32]] = {}
    for sequence in reads:
        codes = _CODE[np.frombuffer(sequence.encode("ascii"), np.uint8)]
        for hit in references.aligner.map(sequence):
            if hit.is_primary and hit.mlen >= 100:
                number = int(hit.ctg)
                counts = votes.setdefault(number, np.zeros((len(references.genomes[number]), 5), np.int32))
                _vote(counts, codes, hit)
    found = [_stretches(counts) for counts in votes.values()]
    return [stretches for stretches in found if stretches]


def _vote(counts: NDArray[np.int32], codes: NDArray[np.uint8], hit: mappy.Alignment) -> None:
    """Adds a read's aligned bases to the votes (reference bases × A C G T deletion); insertions do not vote."""
    if hit.strand < 0:
        codes = np.where(codes < 4, 3 - codes, codes)[::-1]
        query = len(codes) - hit.q_en
    else:
        query = hit.q_st
    place = hit.r_st
    for length, operation in hit.cigar:
        if operation in (0, 7, 8):
            np.add.at(counts, (np.arange(place, place + length), codes[query : query + length]), 1)
            query += length
            place += length
        elif operation == 1:
            query += length
        elif operation in (2, 3):
            counts[place : place + length, 4] += 1
            place += length


def _stretches(counts: NDArray[np.int32]) -> Consensus:
    """What the votes agree on, wherever they are deep enough over 150 b or more.

    A position without a clear majority is unknown (4) and takes no part in comparisons; one that most reads miss is
    left out.
    """
    depth = counts.sum(1)
    best = counts[:, :4].argmax(1).astype(np.uint8)
    best[counts[np.arange(len(best)), best] < SUPPORT * depth] = 4
    present = counts[:, 4] < MISSING * depth
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (depth >= MINIMUM_DEPTH).astype(np.int8), [0]])))
    stretches = []
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        called = best[start:stop][present[start:stop]]
        if np.count_nonzero(called < 4) >= 150:
            stretches.append(called)
    return stretches


def identity_to(found: list[Consensus], genomes: list[Genome]) -> NDArray[np.float64]:
    """Highest identity of each genome with any consensus, float64 (genomes,).

    A consensus is cut to pieces of 400 b. The share of a piece's 15-mers that the genome holds, to the power 1/15, is
    their identity (exact up to chance); pieces that share under half of their 15-mers are not this genome's. The mean
    over the better nine tenths of a consensus's pieces counts: a few badly covered pieces do not hide a genome that is
    the same elsewhere.
    """
    pieces = [
        (number, np.unique(canonical_kmers(stretch[at : at + 400])))
        for number, stretches in enumerate(found)
        for stretch in stretches
        for at in range(0, max(1, len(stretch) - 199), 400)
    ]
    pieces = [(number, kmers) for number, kmers in pieces if len(kmers) >= 100]
    if not pieces:
        return np.zeros(len(genomes))
    sizes = np.array([len(kmers) for _, kmers in pieces])
    values, row = np.unique(np.concatenate([kmers for _, kmers in pieces]), return_inverse=True)
    piece = np.repeat(np.arange(len(pieces)), sizes)
    holders = sparse.csr_matrix((np.ones(len(row), np.float32), (row, piece)), shape=(len(values), len(pieces)))
    owner = np.array([number for number, _ in pieces])
    best = np.zeros(len(genomes))
    for index, genome in enumerate(genomes):
        own = np.unique(canonical_kmers(genome.codes))
        place = np.minimum(np.searchsorted(values, own), len(values) - 1)
        share = np.asarray(holders[place[values[place] == own]].sum(axis=0)).ravel() / sizes
        for number in np.unique(owner[share > 0.5]):
            shares = np.sort(share[(owner == number) & (share > 0.5)])
            best[index] = max(best[index], float(shares[len(shares) // 10 :].mean()) ** (1 / 15))
    return best


def drop_close(
    label: str, genomes: list[Genome], found: list[Consensus], count: Callable[[list[Genome]], int] = len
) -> tuple[list[Genome], Dropped]:
    """The genomes of a class that are far enough from the test reads, and what was dropped.

    ``count`` says how many genomes a list of records makes, for segmented viruses and partial records.
    """
    closeness = identity_to(found, genomes)
    wanted = min(KEEP, count(genomes))
    for identity in STEPS:
        kept = [genome for genome, close in zip(genomes, closeness, strict=True) if close < identity]
        if count(kept) >= wanted:
            break
    return kept, Dropped(label, len(genomes), len(kept), identity, int(np.count_nonzero(closeness >= IDENTITY)))


def test_reads(folder: Path) -> dict[str, list[str]]:
    """The sequences of every read file below a folder, by file."""
    from edgeseq import open_reads
    from edgeseq.normalise import normalise

    found: dict[str, list[str]] = {}
    for read in open_reads(folder):
        found.setdefault(read.source, []).append(normalise(read.sequence, "dna").decode("ascii"))
    return found
