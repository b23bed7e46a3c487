"""Nanopore-like reads of known origin, simulated in whole batches.

A read is a stretch of a source record on either strand, with substitutions, insertions and deletions at a rate drawn
for each read, deletions and duplications more frequent inside homopolymers, sometimes adapter-like ends. All draws come
from one `numpy.random.Generator`; no step loops over bases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PAD = 5
UNKNOWN = 4

ADAPTERS = (
    "AATGTACTTCGTTCAGTTACGTATTGCT",
    "GCAATACGTAACTGAACGAAGT",
    "CCTGTACTTCGTTCAGTTACGTATTGCTAAGGTTAA",
    "TTAACCTTAGCAATACGTAACTGAACGAAGTACAGG",
    "AAAAAAAAAAAAAAAAAAAA",
    "TTTCTGTTGGTGCTGATATTGC",
    "ACTTGCCTGTCGCTCTATCTTC",
)
"""Published sequencing adapters, a barcode flank, a poly-A tail and the PCR tails of the vendor's kits."""
FLANKS = (
    *ADAPTERS,
    "GCTTGGGTGTTTAACC",
    "GTTTTCGCATTTATCGTGAAACGCTTTCGCGTTTTTCGTGCGCCGCTTCA",
    "TGAAGCGGCGCACGAAAAACGCGAAAGCGTTTCACGATAAATGCGAAAAC",
    "GGTTAAACACCCAAGC",
    "ATTGCTAAGGTTAA",
    "CAGCACCT",
    "AGGTGCTG",
)
"""The same, and what stands beside the barcodes of the rapid and native kits."""


@dataclass(frozen=True, slots=True)
class ErrorProfile:
    """How reads differ from their source."""

    rates: tuple[tuple[float, float, float], ...] = ((0.4, 0.01, 0.05), (0.35, 0.05, 0.10), (0.25, 0.10, 0.16))
    """(weight, lowest, highest) total error rate per read; uniform inside a band."""
    substitution: float = 0.34
    insertion: float = 0.24
    deletion: float = 0.42
    """Shares of the total."""
    homopolymer: float = 0.6
    """Each further base of a homopolymer run multiplies its indel rate by 1 + this, up to a run of six."""
    adapter: float = 0.45
    """Share of read ends that carry adapter or barcode sequence of 12 to 70 b."""
    adapters: tuple[str, ...] = ADAPTERS
    """Known sequence that an end may begin with."""
    longest_end: int = 40
    """Longest random part (barcode, primer) of an end, in bases."""
    terminal: float = 0.0
    """Share of reads that begin or end where their record does, as full-length amplicons and segments do. A uniform
    start hardly ever reaches the ends of short records."""
    unknown: float = 0.01
    """Share of reads with a few N."""
    diverged: float = 0.0
    """Share of reads from a made-up relative of the source: substituted before sequencing, every third base most."""
    divergence: float = 0.2
    """Highest share of bases that such a relative differs in."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Records laid end to end: ``codes`` uint8 (bases,), ``starts`` and ``lengths`` int64 (records,)."""

    codes: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, records: list[NDArray[np.uint8]]) -> Sources:
        lengths = np.array([len(record) for record in records], np.int64)
        return cls(np.concatenate(records), np.cumsum(lengths) - lengths, lengths)


def error_rates(rng: np.random.Generator, reads: int, profile: ErrorProfile) -> NDArray[np.float32]:
    """A total error rate for each read, float32 (reads,)."""
    weights = np.array([band[0] for band in profile.rates])
    bands = rng.choice(len(weights), reads, p=weights / weights.sum())
    low, high = (np.array([band[i] for band in profile.rates])[bands] for i in (1, 2))
    return (low + (high - low) * rng.random(reads)).astype(np.float32)


def _homopolymer_factor(codes: NDArray[np.uint8], owner: NDArray[np.int32], step: float) -> NDArray[np.float32]:
    """Indel multiplier of each base from its place in a homopolymer run."""
    boundary = np.ones(len(codes), bool)
    boundary[1:] = (codes[1:] != codes[:-1]) | (owner[1:] != owner[:-1])
    start = np.maximum.accumulate(np.where(boundary, np.arange(len(codes)), 0))
    return (1.0 + step * np.minimum(np.arange(len(codes)) - start, 5)).astype(np.float32)


def mutate(
    rng: np.random.Generator,
    codes: NDArray[np.uint8],
    owner: NDArray[np.int32],
    rates: NDArray[np.float32],
    profile: ErrorProfile,
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Codes and owners after sequencing errors.

    ``codes`` holds the bases of all reads end to end, ``owner`` the read of each base, ``rates`` the error rate of each
    read.
    """
    rate = rates[owner]
    factor = _homopolymer_factor(codes, owner, profile.homopolymer)
    draw = rng.random(len(codes), np.float32)
    indel = rate * factor / (1 + 0.25 * profile.homopolymer)
    deleted = draw < indel * profile.deletion
    inserted = (draw >= 0.5) & (draw < 0.5 + indel * profile.insertion)
    substituted = draw > 1.0 - rate * profile.substitution
    out = codes.copy()
    shift = rng.integers(1, 4, int(substituted.sum()), np.uint8)
    changed = out[substituted]
    out[substituted] = np.where(changed < 4, (changed + shift) & 3, changed)
    copies = 1 - deleted.astype(np.int64) + inserted
    mutated = np.repeat(out, copies)
    # the second copy of an inserted base stays (homopolymer growth) or becomes a random base
    second = np.cumsum(copies)[inserted] - 1
    random_base = rng.random(len(second), np.float32) < 0.5
    mutated[second[random_base]] = rng.integers(0, 4, int(random_base.sum()), np.uint8)
    return mutated, np.repeat(owner, copies)


def _ends(rng: np.random.Generator, reads: int, share: float, profile: ErrorProfile) -> list[NDArray[np.uint8]]:
    """Adapter-like sequence for one end of each read; empty where the read has none."""
    table = np.full(256, UNKNOWN, np.uint8)
    table[[65, 67, 71, 84]] = [0, 1, 2, 3]
    known = [table[np.frombuffer(adapter.encode(), np.uint8)] for adapter in profile.adapters]
    empty = np.empty(0, np.uint8)
    ends = []
    for carries, which, extra in zip(
        rng.random(reads) < share,
        rng.integers(0, len(known) + 2, reads),
        rng.integers(8, profile.longest_end + 1, reads),
        strict=True,
    ):
        if not carries:
            ends.append(empty)
        else:
            barcode = rng.integers(0, 4, extra, np.uint8)
            ends.append(np.concatenate([known[which], barcode]) if which < len(known) else barcode)
    return ends


def reads(
    rng: np.random.Generator,
    sources: Sources,
    records: NDArray[np.int64],
    lengths: NDArray[np.int64],
    width: int,
    profile: ErrorProfile,
    *,
    rates: NDArray[np.float32] | None = None,
) -> NDArray[np.uint8]:
    """One simulated read per row, uint8 (reads × width), padded with `PAD`.

    ``records`` names the source record of each read and ``lengths`` the bases that it spans there (cut to the record).
    """
    count = len(records)
    available = sources.lengths[records]
    span = np.minimum(lengths, available)
    offset = (rng.random(count) * (available - span + 1)).astype(np.int64)
    if profile.terminal > 0:
        at_end = rng.random(count) < profile.terminal
        offset = np.where(at_end, np.where(rng.random(count) < 0.5, 0, available - span), offset)
    first = sources.starts[records] + offset
    owner = np.repeat(np.arange(count, dtype=np.int32), span)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(span) - span, span)
    reverse = (rng.random(count) < 0.5)[owner]
    position = first[owner] + np.where(reverse, span[owner] - 1 - within, within)
    codes = sources.codes[position]
    codes = np.where(reverse & (codes < 4), 3 - codes, codes).astype(np.uint8)
    if profile.diverged > 0:
        codes = _diverge(rng, codes, position + rng.integers(0, 3, count)[owner], owner, count, profile)
    if rates is None:
        rates = error_rates(rng, count, profile)
    codes, owner = mutate(rng, codes, owner, rates, profile)
    return _lay_out(rng, codes, owner, count, width, profile)


def _diverge(
    rng: np.random.Generator,
    codes: NDArray[np.uint8],
    frame: NDArray[np.int64],
    owner: NDArray[np.int32],
    count: int,
    profile: ErrorProfile,
) -> NDArray[np.uint8]:
    """Bases after substitutions as between relatives: one codon position takes two thirds of them."""
    rate = np.where(rng.random(count) < profile.diverged, profile.divergence * rng.random(count), 0.0)
    chance = rate[owner] * np.where(frame % 3 == 0, 2.0, 0.5)
    hit = rng.random(len(codes)) < chance
    shift = rng.integers(1, 4, int(hit.sum()), np.uint8)
    changed = codes[hit]
    codes[hit] = np.where(changed < 4, (changed + shift) & 3, changed)
    return codes


def _lay_out(
    rng: np.random.Generator,
    codes: NDArray[np.uint8],
    owner: NDArray[np.int32],
    count: int,
    width: int,
    profile: ErrorProfile,
) -> NDArray[np.uint8]:
    """Rows of ``width`` with adapter-like ends around the reads, cut on the right."""
    heads = _ends(rng, count, profile.adapter, profile)
    tails = _ends(rng, count, profile.adapter * 0.7, profile)
    rows = np.full((count, width), PAD, np.uint8)
    body = np.bincount(owner, minlength=count)
    begin = np.array([len(head) for head in heads])
    within = np.arange(len(owner)) - np.repeat(np.cumsum(body) - body, body) + begin[owner]
    fits = within < width
    rows[owner[fits], within[fits]] = codes[fits]
    for row, (head, tail) in enumerate(zip(heads, tails, strict=True)):
        if len(head):
            rows[row, : min(len(head), width)] = head[:width]
        stop = int(begin[row] + body[row])
        if len(tail) and stop < width:
            rows[row, stop : stop + len(tail)] = tail[: width - stop]
    for holed in np.flatnonzero(rng.random(count) < profile.unknown):
        holes = rng.integers(0, width, rng.integers(1, 12))
        holes = holes[rows[holed, holes] < 4]
        rows[holed, holes] = UNKNOWN
    return rows
