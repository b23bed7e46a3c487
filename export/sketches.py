"""Similarity of genome records, and the clusters that it makes, without aligning all to all.

A sketch is the set of canonical 15-mers whose hash falls in the lowest 1/`SCALE` (FracMinHash; Irber et al. 2022). The
containment C of the smaller sketch in the larger estimates nucleotide identity as C^(1/15), also for partial records.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

K = 15
SCALE = 8
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def canonical_kmers(codes: NDArray[np.uint8], k: int = K) -> NDArray[np.uint64]:
    """The canonical code of each k-mer without N: min of the k-mer and its reverse complement, uint64 (k-mers,)."""
    if len(codes) < k:
        return np.empty(0, np.uint64)
    forward = np.zeros(len(codes) - k + 1, np.uint64)
    reverse = np.zeros_like(forward)
    known = np.ones(len(forward), bool)
    for offset in range(k):
        base = codes[offset : offset + len(forward)]
        known &= base < 4
        forward = (forward << np.uint64(2)) | base.astype(np.uint64)
        reverse |= (3 - base.astype(np.int64)).astype(np.uint64) << np.uint64(2 * offset)
    return np.minimum(forward, reverse)[known]


def sketch(codes: NDArray[np.uint8], scale: int = SCALE) -> NDArray[np.uint64]:
    """Sorted unique hashes of the record's sketch, uint64."""
    hashed = canonical_kmers(codes) * MULTIPLIER
    hashed ^= hashed >> np.uint64(31)
    hashed *= MULTIPLIER
    return np.unique(hashed[hashed < np.uint64(2**64 // scale)])


def incidence(sketches: list[NDArray[np.uint64]]) -> sparse.csr_matrix:
    """Records × hashes, ones where a record's sketch holds the hash."""
    values = np.concatenate(sketches) if sketches else np.empty(0, np.uint64)
    _, columns = np.unique(values, return_inverse=True)
    rows = np.repeat(np.arange(len(sketches)), [len(s) for s in sketches])
    shape = (len(sketches), int(columns.max()) + 1 if len(columns) else 1)
    return sparse.csr_matrix((np.ones(len(values), np.float32), (rows, columns)), shape=shape)


def identities(queries: list[NDArray[np.uint64]], targets: list[NDArray[np.uint64]]) -> sparse.csr_matrix:
    """Estimated identity of each query with each target, sparse (queries × targets); absent where nothing is shared."""
    both = incidence(queries + targets)
    shared = (both[: len(queries)] @ both[len(queries) :].T).tocoo()
    sizes = np.array([len(s) for s in queries + targets], np.float64)
    smaller = np.minimum(sizes[: len(queries)][shared.row], sizes[len(queries) :][shared.col])
    identity = (shared.data / np.maximum(smaller, 1)) ** (1 / K)
    return sparse.csr_matrix((identity, (shared.row, shared.col)), shape=shared.shape)


def clusters(sketches: list[NDArray[np.uint64]], identity: float) -> NDArray[np.int64]:
    """Cluster number of each record: single linkage at the given identity, int64 (records,)."""
    graph = identities(sketches, sketches)
    graph.data = (graph.data >= identity).astype(np.float64)
    graph.eliminate_zeros()
    return connected_components(graph, directed=False)[1].astype(np.int64)
