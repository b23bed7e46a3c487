"""Whether two samples share sequence: exact copies and near-duplicates, on either strand.

A read's sketch holds the hashes of its canonical 15-mers that are the smallest of any 8 neighbours (minimizers;
Roberts et al. 2004). Reads whose sketches share so much of the smaller one that their identity, estimated as
containment^(1/15), reaches a limit are near-duplicates. Protein is compared in words of 5 residues, one strand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from edgeseq.normalise import reverse_complement
from quantize.sample import Sample, SampleError, letters

K, PROTEIN_K, WINDOW = 15, 5, 8
IDENTITY = 0.95
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_LOT = 64


@dataclass(frozen=True, slots=True)
class Overlap:
    """Calibration reads that are in the evaluation too: ``exact`` and ``near``, and the ids of both, at most ten."""

    exact: int
    near: int
    reads: tuple[str, ...]
    places: tuple[int, ...]
    """Where in the calibration sample they are."""


def overlap(calibration: Sample, evaluation: Sample, alphabet: str, identity: float = IDENTITY) -> Overlap:
    """Which calibration reads have a copy, or near-duplicate, among the evaluation reads."""
    protein = alphabet == "protein"
    ours = [letters(read, alphabet) for read in calibration.reads]
    theirs = [letters(read, alphabet) for read in evaluation.reads]
    held = {each if protein else min(each, reverse_complement(each)) for each in theirs}
    exact = np.array([(each if protein else min(each, reverse_complement(each))) in held for each in ours])
    near = _near(_sketches(ours, protein), _sketches(theirs, protein), identity, PROTEIN_K if protein else K) & ~exact
    places = np.flatnonzero(exact | near)
    ids = tuple(calibration.reads[place].id for place in places[:10].tolist())
    return Overlap(int(exact.sum()), int(near.sum()), ids, tuple(places.tolist()))


def demand_disjoint(calibration: Sample, evaluation: Sample, alphabet: str, identity: float = IDENTITY) -> None:
    """Raises SampleError, with counts, where the two samples share sequence."""
    found = overlap(calibration, evaluation, alphabet, identity)
    if found.places:
        raise SampleError(
            f"{calibration.path}: {found.exact} reads are in the evaluation data as well, and {found.near} more are "
            f"nearly the same as a read there (identity {identity:g} or more, either strand), of {len(calibration)}: "
            f"{', '.join(found.reads)}{' …' if len(found.places) > len(found.reads) else ''}; "
            "a figure measured on data that the calibration saw proves nothing. Take these reads out of one of the "
            "two, or let --drop-leaks leave them out of the calibration"
        )


def _sketches(sequences: Sequence[bytes], protein: bool) -> sparse.csr_matrix:
    """Sequences × hashes (the columns are hashes modulo 2^31): ones where a sketch holds one."""
    rows, columns = [], []
    size = 1 << 22
    at = 0
    while at < len(sequences):
        stop, bases = at, 0
        while stop < len(sequences) and (stop == at or bases + len(sequences[stop]) <= size):
            bases += len(sequences[stop])
            stop += 1
        owner, hashes = _minimizers(sequences[at:stop], protein)
        rows.append(owner + at)
        columns.append(hashes)
        at = stop
    owner, hashes = np.concatenate(rows), np.concatenate(columns)
    unique = np.unique(np.stack([owner, hashes]), axis=1)
    shape = (len(sequences), 1 << 31)
    return sparse.csr_matrix((np.ones(unique.shape[1], np.float32), (unique[0], unique[1])), shape=shape)


def _minimizers(sequences: Sequence[bytes], protein: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sequence number and hash of each minimizer."""
    codes, k = _codes(sequences, protein)
    owner = np.repeat(np.arange(len(sequences)), [len(each) + 1 for each in sequences])
    words = len(codes) - k + 1
    if words < 1:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    hashed, known = _hashes(codes, k, words, protein)
    smallest = np.where(known, hashed, np.uint64(2**64 - 1))
    window = min(WINDOW, words)
    lowest = np.lib.stride_tricks.sliding_window_view(smallest, window)
    place = lowest.argmin(axis=1) + np.arange(words - window + 1)
    place = np.unique(place[known[place]])
    return owner[place], (hashed[place] & np.uint64((1 << 31) - 1)).astype(np.int64)


def _codes(sequences: Sequence[bytes], protein: bool) -> tuple[NDArray[np.uint8], int]:
    """All sequences with an unknown letter (255) behind each, as numbers; and the length of a word."""
    table = np.full(256, 255, np.uint8)
    alphabet = b"ACDEFGHIKLMNPQRSTVWY" if protein else b"ACGT"
    table[list(alphabet)] = np.arange(len(alphabet))
    joined = b"\n".join(sequences) + b"\n"
    return table[np.frombuffer(joined, np.uint8)], PROTEIN_K if protein else K


def _hashes(
    codes: NDArray[np.uint8], k: int, words: int, protein: bool
) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    bits = np.uint64(5 if protein else 2)
    forward, reverse = np.zeros(words, np.uint64), np.zeros(words, np.uint64)
    known = np.ones(words, np.bool_)
    for offset in range(k):
        letter = codes[offset : offset + words]
        known &= letter != 255
        wide = letter.astype(np.uint64)
        forward = (forward << bits) | (wide & np.uint64(31 if protein else 3))
        if not protein:
            reverse |= (np.uint64(3) - (wide & np.uint64(3))) << np.uint64(2 * offset)
    word = forward if protein else np.minimum(forward, reverse)
    word = (word + np.uint64(1)) * _MULTIPLIER
    word ^= word >> np.uint64(31)
    return word * _MULTIPLIER, known


def _near(ours: sparse.csr_matrix, theirs: sparse.csr_matrix, identity: float, k: int) -> NDArray[np.bool_]:
    """Whether each of ours has a near-duplicate among theirs."""
    used = np.unique(ours.indices)
    place = np.searchsorted(used, theirs.indices)
    place[place == len(used)] = 0
    shared = used[place] == theirs.indices if len(used) else np.zeros(len(theirs.indices), np.bool_)
    owner = np.repeat(np.arange(theirs.shape[0]), np.diff(theirs.indptr))
    small = sparse.csr_matrix(
        (np.ones(int(shared.sum()), np.float32), (owner[shared], place[shared])), shape=(theirs.shape[0], len(used))
    )
    rows = np.repeat(np.arange(ours.shape[0]), np.diff(ours.indptr))
    mine = sparse.csr_matrix(
        (np.ones(len(ours.indices), np.float32), (rows, np.searchsorted(used, ours.indices))),
        shape=(ours.shape[0], len(used)),
    )
    sizes = np.diff(ours.indptr), np.diff(theirs.indptr)
    found = np.zeros(ours.shape[0], np.bool_)
    turned = small.T.tocsc()
    for start in range(0, ours.shape[0], _LOT):
        common = (mine[start : start + _LOT] @ turned).tocoo()
        smaller = np.minimum(sizes[0][start + common.row], sizes[1][common.col])
        alike = (common.data / np.maximum(smaller, 1)) >= identity**k
        enough = smaller >= 4
        found[start + np.unique(common.row[alike & enough])] = True
    return found
