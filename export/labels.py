"""Checks that genome records belong to the class whose file they lie in, by alignment to everybody else's records.

Records of a class that are near-identical form a cluster; the record that shares most with the others speaks for it and
is aligned to the speakers of all other clusters of all classes. A cluster is **kept** when more of its bases match its
own class than any other and at least `OWN_SHARE` of it lies in such matches, **mixed** when less does (a vector that
carries one gene of the virus, say), **misfiled** when another class matches better over a good part of it, and
**alone** when nothing aligns and fewer than `ENOUGH_PEERS` records agree: it cannot be verified and is not used.
Records that are unlike their speaker have a verdict of their own.

Misfiled records must not vote: the vote is repeated without them until nobody else is misfiled.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

import mappy
import numpy as np
from numpy.typing import NDArray

from export.genomes import Genome
from export.sketches import clusters, incidence, sketch

Verdict = Literal["kept", "mixed", "misfiled", "alone"]
CLUSTER_IDENTITY = 0.95
ENOUGH_MATCHES = 100
"""Matching bases that make an alignment count."""
OWN_SHARE = 0.5
"""Share of a record that must lie in alignments to its own class."""
FOREIGN_SHARE = 0.25
"""Share of a record that must match another class before it can be called misfiled: related viruses match here and
there."""
FOREIGN_IDENTITY = 0.85
"""Lowest identity of such a match: relatives of the same family are less alike, misfiled records more."""
ENOUGH_PEERS = 5
"""Records of one cluster that vouch for each other where little else aligns."""
UNLIKE = 0.4
"""A record that shares less of its sketch with its speaker is aligned itself: at 95 % identity all of a record shares
0.46 of it, and a construct joins a cluster by any fragment that it contains."""
_ALL_CHAINS = 0x800000
"""minimap2's -P: report every chain, however much weaker than the best."""
_LETTERS = np.frombuffer(b"ACGTN", np.uint8)


def text(codes: NDArray[np.uint8]) -> str:
    """The sequence of base codes as letters."""
    return str(_LETTERS[codes].tobytes().decode("ascii"))


@dataclass(frozen=True, slots=True)
class Checked:
    """Verdict for one record; ``found`` is the class that matched its cluster best (empty: none) with ``matches``
    bases, ``share`` the part of the cluster's speaker that lies in alignments to its own class."""

    genome: Genome
    verdict: Verdict
    found: str
    matches: int
    share: float


@dataclass(frozen=True, slots=True)
class _Hit:
    """An alignment to the speaker of cluster ``owner``: matching bases, and where on the query it lies."""

    owner: int
    matches: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Clustered:
    """The clusters of a class: ``cluster`` int64 (records,), the index of each cluster's ``speaker`` int64
    (clusters,), and ``likeness``: the share of each record's sketch that its speaker has, float64 (records,)."""

    cluster: NDArray[np.int64]
    speaker: NDArray[np.int64]
    likeness: NDArray[np.float64]

    @classmethod
    def of(cls, genomes: list[Genome]) -> Clustered:
        sketches = [sketch(genome.codes) for genome in genomes]
        cluster = clusters(sketches, CLUSTER_IDENTITY)
        held = incidence(sketches)
        lengths = np.array([len(genome) for genome in genomes])
        speaker = np.zeros(cluster.max() + 1, np.int64)
        for number in range(len(speaker)):
            members = np.flatnonzero(cluster == number)
            rows = held[members]
            shared = rows @ np.asarray(rows.sum(axis=0)).ravel() - np.asarray(rows.sum(axis=1)).ravel()
            speaker[number] = members[np.lexsort((-lengths[members], -shared))[0]]
        common = np.asarray(held.multiply(held[speaker[cluster]]).sum(axis=1)).ravel()
        sizes = np.array([max(1, len(each)) for each in sketches])
        return cls(cluster, speaker, np.asarray(common / sizes, np.float64))


@dataclass(frozen=True, slots=True)
class _Ballot:
    """As in `Checked`; ``own`` are the bases that the best record of its own class matches."""

    verdict: Verdict
    found: str
    matches: int
    share: float
    own: int


@dataclass(frozen=True, slots=True)
class _Voter:
    """A record that is aligned: its class, its cluster's number among all, the size of that cluster, whether it speaks
    for it, and its alignments."""

    genome: Genome
    cluster: int
    peers: int
    speaks: bool
    hits: list[_Hit]

    def ballot(self, labels: list[str], misfiled: Collection[int]) -> _Ballot:
        """The vote of the speakers that are not themselves misfiled."""
        matches: dict[str, int] = {}
        own = np.zeros(len(self.genome), bool)
        for hit in self.hits:
            if hit.owner in misfiled:
                continue
            owner = labels[hit.owner]
            matches[owner] = max(matches.get(owner, 0), hit.matches)
            if owner == self.genome.label:
                own[hit.start : hit.stop] = True
        share = round(float(own.mean()), 4)
        enough = {
            owner: count
            for owner, count in matches.items()
            if count
            >= (ENOUGH_MATCHES if owner == self.genome.label else max(ENOUGH_MATCHES, FOREIGN_SHARE * len(self.genome)))
        }
        found = max(enough, key=lambda owner: enough[owner], default="")
        vouched = self.speaks and self.peers >= ENOUGH_PEERS
        if found not in ("", self.genome.label):
            return _Ballot("misfiled", found, enough[found], share, matches.get(self.genome.label, 0))
        if not found and self.speaks and not vouched:
            return _Ballot("alone", "", 0, share, 0)
        verdict: Verdict = "kept" if share >= OWN_SHARE or vouched else "mixed"
        return _Ballot(verdict, found, enough.get(found, 0), share, enough.get(found, 0))


def check(classes: dict[str, list[Genome]], progress: Callable[[int, int], None] | None = None) -> list[Checked]:
    """A verdict for every record of every class, in class order. ``progress`` is called with alignments done and in
    all.

    A speaker's verdict holds for its cluster, but for records that are unlike their speaker: those are aligned too.
    """
    grouped = {label: Clustered.of(genomes) for label, genomes in classes.items() if genomes}
    labels = [label for label, found in grouped.items() for _ in found.speaker]
    first = dict(zip(grouped, np.cumsum([0, *(len(found.speaker) for found in grouped.values())]), strict=False))
    aligner = _aligner([classes[label][index] for label, found in grouped.items() for index in found.speaker])
    voters: dict[tuple[str, int], _Voter] = {}
    for label, found in grouped.items():
        peers = np.bincount(found.cluster)
        for index in np.unique(np.concatenate([found.speaker, np.flatnonzero(found.likeness < UNLIKE)])):
            number = int(found.cluster[index])
            voters[label, int(index)] = _Voter(
                genome=classes[label][index],
                cluster=int(first[label]) + number,
                peers=int(peers[number]),
                speaks=bool(found.speaker[number] == index),
                hits=[],
            )
    for done, voter in enumerate(voters.values(), start=1):
        for hit in aligner.map(text(voter.genome.codes)):
            owner = int(hit.ctg)
            itself = voter.speaks and owner == voter.cluster
            if not itself and (labels[owner] == voter.genome.label or hit.mlen >= FOREIGN_IDENTITY * hit.blen):
                voter.hits.append(_Hit(owner, hit.mlen, hit.q_st, hit.q_en))
        if progress is not None:
            progress(done, len(voters))
    ballots = dict(zip(voters, _elect(list(voters.values()), labels), strict=True))
    checked = []
    for label, found in grouped.items():
        for index, genome in enumerate(classes[label]):
            ballot = ballots[label, int(found.speaker[found.cluster[index]])]
            if ballot.verdict == "kept":
                ballot = ballots.get((label, index), ballot)
            checked.append(Checked(genome, ballot.verdict, ballot.found, ballot.matches, ballot.share))
    return checked


def _elect(voters: list[_Voter], labels: list[str]) -> list[_Ballot]:
    """What all voters get.

    Of two records that look misfiled because of each other only one is: whoever's own class speaks least for it. It
    votes no more, and the others are asked again, until nobody else is misfiled.
    """
    misfiled: dict[int, _Ballot] = {}
    while True:
        ballots = [voter.ballot(labels, misfiled) for voter in voters]
        accused = [
            (ballot.own / ballot.matches, voter.cluster, ballot)
            for voter, ballot in zip(voters, ballots, strict=True)
            if voter.speaks and ballot.verdict == "misfiled" and voter.cluster not in misfiled
        ]
        if not accused:
            return [
                misfiled.get(voter.cluster, ballot) if voter.speaks else ballot
                for voter, ballot in zip(voters, ballots, strict=True)
            ]
        _, cluster, ballot = min(accused, key=lambda each: each[:2])
        misfiled[cluster] = ballot


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
