"""Checks that genome records belong to the class whose file they lie in, by alignment to everybody else's records.

Records of a class that are near-identical form a cluster; its longest record speaks for it and is aligned to the
speakers of all other clusters of all classes. A cluster is **kept** when more of its bases match its own class than any
other, **misfiled** when another class matches better over a good part of it, and **alone** when nothing aligns and
fewer than `ENOUGH_PEERS` records agree: it cannot be verified and is not used.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import mappy
import numpy as np
from numpy.typing import NDArray

from export.genomes import Genome
from export.sketches import clusters, sketch

Verdict = Literal["kept", "misfiled", "alone"]
CLUSTER_IDENTITY = 0.95
ENOUGH_MATCHES = 100
"""Matching bases that make an alignment count."""
FOREIGN_SHARE = 0.25
"""Share of a record that must match another class before it can be called misfiled: related viruses match here and
there."""
FOREIGN_IDENTITY = 0.85
"""Lowest identity of such a match: relatives of the same family are less alike, misfiled records more."""
ENOUGH_PEERS = 5
"""Records of one cluster that vouch for each other where nothing else aligns."""
_ALL_CHAINS = 0x800000
"""minimap2's -P: report every chain, however much weaker than the best."""
_LETTERS = np.frombuffer(b"ACGTN", np.uint8)


def text(codes: NDArray[np.uint8]) -> str:
    """The sequence of base codes as letters."""
    return str(_LETTERS[codes].tobytes().decode("ascii"))


@dataclass(frozen=True, slots=True)
class Checked:
    """Verdict for one record; ``found`` is the class that matched its cluster best (empty: none) with ``matches``
    bases."""

    genome: Genome
    verdict: Verdict
    found: str
    matches: int


def _speakers(genomes: list[Genome]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cluster of each record and, for each cluster, the index of its longest record."""
    cluster = clusters([sketch(genome.codes) for genome in genomes], CLUSTER_IDENTITY)
    speaker = np.full(cluster.max() + 1, -1, np.int64)
    for index in np.argsort([-len(genome) for genome in genomes], kind="stable"):
        if speaker[cluster[index]] < 0:
            speaker[cluster[index]] = index
    return cluster, speaker


def _verdict(label: str, matches: dict[str, int], length: int, peers: int) -> tuple[Verdict, str, int]:
    enough = {
        owner: count
        for owner, count in matches.items()
        if count >= (ENOUGH_MATCHES if owner == label else max(ENOUGH_MATCHES, FOREIGN_SHARE * length))
    }
    if enough:
        found = max(enough, key=lambda owner: enough[owner])
        return ("kept" if found == label else "misfiled"), found, enough[found]
    return ("kept" if peers >= ENOUGH_PEERS else "alone"), "", 0


def check(classes: dict[str, list[Genome]], progress: Callable[[int, int], None] | None = None) -> list[Checked]:
    """A verdict for every record of every class, in class order. ``progress`` is called with clusters done and in
    all."""
    grouped = {label: _speakers(genomes) for label, genomes in classes.items() if genomes}
    index = [(label, number) for label, (_, speaker) in grouped.items() for number in range(len(speaker))]
    speaking = [classes[label][grouped[label][1][number]] for label, number in index]
    aligner = _aligner(speaking)
    verdicts: dict[tuple[str, int], tuple[Verdict, str, int]] = {}
    for done, ((label, number), genome) in enumerate(zip(index, speaking, strict=True), start=1):
        matches: dict[str, int] = {}
        for hit in aligner.map(text(genome.codes)):
            owner = index[int(hit.ctg)]
            alike = owner[0] == label or hit.mlen >= FOREIGN_IDENTITY * hit.blen
            if owner != (label, number) and alike:
                matches[owner[0]] = max(matches.get(owner[0], 0), hit.mlen)
        peers = int(np.count_nonzero(grouped[label][0] == number))
        verdicts[label, number] = _verdict(label, matches, len(genome), peers)
        if progress is not None:
            progress(done, len(index))
    return [
        Checked(genome, *verdicts[label, int(number)])
        for label, (cluster, _) in grouped.items()
        for genome, number in zip(classes[label], cluster, strict=True)
    ]


def _aligner(genomes: list[Genome]) -> mappy.Aligner:
    """A sensitive aligner over the records; contig names are their indices."""
    with tempfile.NamedTemporaryFile("w", suffix=".fasta") as fasta:
        for number, genome in enumerate(genomes):
            fasta.write(f">{number}\n{text(genome.codes)}\n")
        fasta.flush()
        aligner = mappy.Aligner(fasta.name, k=13, w=5, min_cnt=2, min_chain_score=30, extra_flags=_ALL_CHAINS)
    if not aligner:
        raise RuntimeError("the alignment index was not built")
    return aligner
