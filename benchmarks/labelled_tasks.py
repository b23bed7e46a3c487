"""Two tasks of labelled human sequences, split anew so that nothing in the test part resembles the other parts.

Sequences that share sequence on either strand make a component: an edge is drawn between two whose 15-mers (canonical)
overlap by `SHARED` of the smaller set or more, and components are connected. Promoters have no coordinates: their
components are dealt out whole. Enhancers have them in their headers: whole chromosomes are dealt out, sequences
without a chromosome are left out, and what resembles a sequence of another part leaves the part that matters less
(training, then validation). Components are what a bootstrap draws (`benchmarks.paired`): their members are no
independent witnesses.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeseq.normalise import normalise, reverse_complement
from export.simulate import PAD, ErrorProfile, mutate
from export.sketches import K, canonical_kmers, clusters

SHARED = 0.2
"""Share of the smaller sequence's 15-mers from which on two sequences are of one component: 48 of 237, in sequences of
251 bases that are a common stretch of 62 bases."""
LARGE = 10
"""Components of more sequences than this, which are families of repeats, train: a part for measuring should have many
witnesses."""
PARTS = ("test", "validation", "train")
"""The part that matters most first."""
SHARES = (0.3, 0.1, 0.6)
NEAREST = 5_000_000
"""Bases that a region in a header spans at most."""
_CODE = np.full(256, 4, np.uint8)
_CODE[[65, 67, 71, 84]] = range(4)
_LETTERS = np.frombuffer(b"ACGTN", np.uint8)
_PLAIN = re.compile(r"chr(X|Y|M|\d{1,2})_\d+_\d+$", re.IGNORECASE)
_RANGE = re.compile(r"range=chr(X|Y|M|\d{1,2}):\d+-\d+", re.IGNORECASE)
_RUN_TOGETHER = re.compile(r"rangechr(X|Y|M|\d)(\d+)-(\d+)5pad\d", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Labelled:
    """One sequence; ``chromosome`` is empty where nothing says it, ``component`` is known after a split."""

    sequence: bytes
    label: int
    chromosome: str = ""
    component: int = -1


@dataclass(frozen=True, slots=True)
class Task:
    """Where the sequences come from, what classes 0 and 1 are called, and whether the strand means nothing, so that
    training takes both."""

    name: str
    title: str
    labels: tuple[str, str]
    load: Callable[[Path], list[Labelled]]
    by_chromosome: bool
    both_strands: bool


@dataclass(frozen=True, slots=True)
class Split:
    """The parts, and what making them removed."""

    parts: Mapping[str, list[Labelled]]
    facts: Mapping[str, int]


def promoters(folder: Path) -> list[Labelled]:
    """Promoters without a TATA box, and other sequence, of 251 bases (Genomic Benchmarks)."""
    with gzip.open(folder / "human_nontata_promoters_test.csv.gz", "rt", encoding="ascii", newline="") as table:
        return [Labelled(_letters(row["seq"]), int(row["label"])) for row in csv.DictReader(table)]


def enhancers(folder: Path) -> list[Labelled]:
    """Enhancers and other sequence of 200 bases, with their chromosomes (iEnhancer-2L, layer 1; both its files)."""
    found = []
    for name, label in (("enhancer", 1), ("non", 0)):
        for part in ("cv", "ind"):
            with gzip.open(folder / f"iEnhancer_{name}.{part}.txt.gz", "rt", encoding="ascii") as text:
                found += [
                    Labelled(_letters(sequence), label, chromosome_of(header)) for header, sequence in _records(text)
                ]
    return found


TASKS = {
    task.name: task
    for task in (
        Task(
            "promoters",
            "human promoters without TATA box",
            ("other", "promoter"),
            promoters,
            by_chromosome=False,
            both_strands=False,
        ),
        Task(
            "enhancers",
            "enhancers (iEnhancer, layer 1)",
            ("other", "enhancer"),
            enhancers,
            by_chromosome=True,
            both_strands=True,
        ),
    )
}


def chromosome_of(header: str) -> str:
    """The chromosome in a header, in capitals; empty where there is none.

    Some headers have lost their punctuation, ``rangechr1278319870-783938695pad0`` for ``range=chr12:78319870-78393869
    5'pad=0``: of the two ways to read it the one counts whose region is possible and shorter.
    """
    for pattern in (_PLAIN, _RANGE):
        if match := pattern.search(header):
            return match.group(1).upper()
    match = _RUN_TOGETHER.search(header)
    if match is None:
        return ""
    first, digits, end = match.group(1).upper(), match.group(2), int(match.group(3))
    ways = [(first, int(digits))]
    if first.isdigit() and len(digits) > 1 and int(first + digits[0]) <= 22:
        ways.append((first + digits[0], int(digits[1:])))
    possible = [(end - start, name) for name, start in ways if 0 <= end - start <= NEAREST]
    return min(possible)[1] if possible else ""


def components(sequences: Sequence[bytes]) -> NDArray[np.int64]:
    """The number of each sequence's component."""
    kmers = [np.unique(canonical_kmers(_CODE[np.frombuffer(each, np.uint8)])) for each in sequences]
    return clusters(kmers, SHARED ** (1 / K) - 1e-9)


def split(found: Sequence[Labelled], *, by_chromosome: bool, seed: int) -> Split:
    """The parts of `SHARES`, as the module's docstring says."""
    unique = _without_copies(found)
    placed = [each for each in unique if each.chromosome] if by_chromosome else unique
    component = components([each.sequence for each in placed])
    if by_chromosome:
        part = deal(np.array([each.chromosome for each in placed]), seed)
    else:
        part = deal(component, seed)
        part[np.bincount(component)[component] > LARGE] = PARTS.index("train")
    best = np.full(int(component.max()) + 1, len(PARTS))
    np.minimum.at(best, component, part)
    kept = part == best[component]
    sizes = np.bincount(component)
    alike = np.array([each.label for each in placed])[sizes[component] > 1]
    facts = {
        "sequences": len(found),
        "left out: exact copies": len(found) - len(unique),
        "left out: without a chromosome": len(unique) - len(placed),
        "left out: resemble a sequence of a part that matters more": int((~kept).sum()),
        "components": len(sizes),
        "components of two or more": int((sizes > 1).sum()),
        "sequences of class 0 in them": int((alike == 0).sum()),
        "sequences of class 1 in them": int((alike == 1).sum()),
        "largest component": int(sizes.max()),
        "test sequences in a hundred that an ordinary split would leave a relative of in training": round(
            100 * relatives(component, seed)
        ),
    }
    known = [replace(each, component=int(number)) for each, number in zip(placed, component, strict=True)]
    return Split(
        {name: [known[at] for at in np.flatnonzero(kept & (part == n))] for n, name in enumerate(PARTS)}, facts
    )


def relatives(component: NDArray[np.int64], seed: int) -> float:
    """The share of test sequences with a member of their component in training, were single sequences dealt out."""
    order = np.random.default_rng(seed).permutation(component)
    test, training = round(SHARES[0] * len(order)), round((1 - SHARES[2]) * len(order))
    return float(np.isin(order[:test], order[training:]).mean())


def deal(unit: NDArray[np.generic], seed: int) -> NDArray[np.int64]:
    """A part for each member of each unit, whole units at a time: the larger ones first, each to the part that lacks
    most of its share."""
    names, which, sizes = np.unique(unit, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled, given = np.zeros(len(PARTS)), np.zeros(len(names), np.int64)
    wanted = np.array(SHARES) * len(unit)
    for number in order.tolist():
        lacks = (wanted - filled) / wanted
        given[number] = int(lacks.argmax())
        filled[given[number]] += sizes[number]
    return given[which]


def with_errors(sequences: Sequence[bytes], rate: float, seed: int) -> list[bytes]:
    """The sequences with nanopore-like errors of `export.simulate`, at one total rate for all; the same each time."""
    rng = np.random.default_rng((seed, round(1e6 * rate)))
    lengths = np.array([len(each) for each in sequences])
    owner = np.repeat(np.arange(len(sequences), dtype=np.int32), lengths)
    codes = _CODE[np.frombuffer(b"".join(sequences), np.uint8)]
    rates = np.full(len(sequences), rate, np.float32)
    changed, whose = mutate(rng, codes, owner, rates, ErrorProfile())
    ends = np.cumsum(np.bincount(whose, minlength=len(sequences)))
    text = _LETTERS[changed].tobytes()
    return [text[begin:end] for begin, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)]


def one_base_late(sequences: Sequence[bytes]) -> list[bytes]:
    """The same molecules, read from their second base on."""
    return [each[1:] for each in sequences]


def strands(found: Sequence[Labelled]) -> list[Labelled]:
    """Each sequence, then each as the other strand has it."""
    return [*found, *(replace(each, sequence=reverse_complement(each.sequence)) for each in found)]


def padded(sequences: Sequence[bytes]) -> NDArray[np.uint8]:
    """Codes of bases (ACGT 0 to 3, N 4), 5 behind the end of a sequence: uint8 (sequences, longest)."""
    rows = np.full((len(sequences), max(map(len, sequences))), PAD, np.uint8)
    for row, each in zip(rows, sequences, strict=True):
        row[: len(each)] = _CODE[np.frombuffer(each, np.uint8)]
    return rows


def write_table(path: Path, found: Sequence[Labelled]) -> None:
    """``sequence`` and ``label``, as the commands take them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["sequence,label", *(f"{each.sequence.decode('ascii')},{each.label}" for each in found)]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def _without_copies(found: Sequence[Labelled]) -> list[Labelled]:
    """The first of each sequence, on either strand; none of those that have both labels."""
    labels: dict[bytes, set[int]] = {}
    first: dict[bytes, Labelled] = {}
    for each in found:
        key = min(each.sequence, reverse_complement(each.sequence))
        labels.setdefault(key, set()).add(each.label)
        first.setdefault(key, each)
    return [each for key, each in first.items() if len(labels[key]) == 1]


def _letters(sequence: str) -> bytes:
    return normalise(sequence.strip().encode("ascii"), "dna")


def _records(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    header, parts = "", list[str]()
    for line in lines:
        if line.startswith(">"):
            if header:
                yield header, "".join(parts)
            header, parts = line[1:].strip(), []
        else:
            parts.append(line.strip())
    if header:
        yield header, "".join(parts)


def balance(found: Sequence[Labelled]) -> str:
    """``sequences (of class 1; components)``."""
    own = sum(each.label for each in found)
    return f"{len(found):,} ({own:,}; {len({each.component for each in found}):,})"
