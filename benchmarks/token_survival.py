"""How much of a row of tokens a sequencing error leaves.

    python benchmarks/token_survival.py [--sequences 300] [--length 1000] [--seed 1]

Random sequences are changed in known ways and tokenized before and after. Two shares are printed, each the mean over
the sequences with a 95 % interval of that mean (1.96 standard errors):

in place   a token of the original counts as kept if the changed row has the same token made of the same bases: every
           base of it descends from the base at the same place of the original token, with none missing and none
           between. For the other strand, bases descend in reverse order, so nothing can be kept.
as a bag   the multiset overlap, sum over ids of min(count before, count after), divided by the tokens before. This is
           what order-free models see. Two unrelated sequences share some tokens by chance: the row "unrelated".

Mixed errors hit each base with the given probability: a third each substitution, deletion, insertion after the base.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeseq.normalise import reverse_complement
from edgeseq.tokenizers import Tokenizer, load_tokenizer

DNABERT2 = Path(__file__).resolve().parents[2] / "shared/fixtures/dnabert2/tokenizer.json"
BASES = np.frombuffer(b"ACGT", np.uint8)
Rng = np.random.Generator


@dataclass(frozen=True, slots=True)
class Changed:
    """A changed sequence; ``origin`` has for each base its place in the original, or -1 for an inserted one."""

    sequence: bytes
    origin: NDArray[np.int64]


def mixed(rate: float) -> Callable[[bytes, Rng], Changed]:
    """Substitutions, deletions and insertions at ``rate`` in all."""

    def change(sequence: bytes, rng: Rng) -> Changed:
        letters, origin = [], []
        kinds = rng.choice(4, len(sequence), p=[1 - rate, rate / 3, rate / 3, rate / 3])
        for place, (base, kind) in enumerate(zip(sequence, kinds, strict=True)):
            if kind == 2:
                continue
            letters.append(int(rng.choice(BASES[base != BASES])) if kind == 1 else base)
            origin.append(place)
            if kind == 3:
                letters.append(int(rng.choice(BASES)))
                origin.append(-1)
        return Changed(bytes(letters), np.array(origin))

    return change


def one_deletion(sequence: bytes, rng: Rng) -> Changed:
    """One base missing, anywhere."""
    gap = int(rng.integers(len(sequence)))
    return Changed(sequence[:gap] + sequence[gap + 1 :], np.delete(np.arange(len(sequence)), gap))


def late_start(sequence: bytes, _: Rng) -> Changed:
    """The first base missing: the same molecule, read from one base later on."""
    return Changed(sequence[1:], np.arange(1, len(sequence)))


def other_strand(sequence: bytes, _: Rng) -> Changed:
    """The reverse complement."""
    return Changed(reverse_complement(sequence), np.arange(len(sequence))[::-1].copy())


def unrelated(sequence: bytes, rng: Rng) -> Changed:
    """Another random sequence: what chance gives."""
    return Changed(rng.choice(BASES, len(sequence)).tobytes(), np.full(len(sequence), -1))


CHANGES: dict[str, Callable[[bytes, Rng], Changed]] = {
    "one deletion": one_deletion,
    "1 % errors": mixed(0.01),
    "5 % errors": mixed(0.05),
    "first base missing": late_start,
    "other strand": other_strand,
    "unrelated": unrelated,
}


@dataclass(frozen=True, slots=True)
class Scheme:
    """A tokenizer without special tokens, and how many bases its tokens have."""

    name: str
    tokenizer: Tokenizer
    lengths: dict[int, int]
    overlap: bool

    def row(self, sequence: bytes) -> tuple[list[int], list[int], list[int]]:
        """Ids, starts and ends of the tokens."""
        ids = self.tokenizer.encode(sequence).tolist()
        lengths = [self.lengths.get(each, 1) for each in ids]
        starts = list(range(len(ids))) if self.overlap else [0, *np.cumsum(lengths)[:-1].tolist()]
        return ids, starts, [start + length for start, length in zip(starts, lengths, strict=True)]


def shares(scheme: Scheme, sequence: bytes, changed: Changed) -> tuple[float, float]:
    """Share of tokens kept in place, and as a bag."""
    ids, starts, _ = scheme.row(sequence)
    new_ids, new_starts, new_ends = scheme.row(changed.sequence)
    step = np.concatenate(([0], np.cumsum(np.diff(changed.origin) != 1)))
    kept = {
        (int(changed.origin[start]), number)
        for number, start, end in zip(new_ids, new_starts, new_ends, strict=True)
        if changed.origin[start] >= 0 and step[start] == step[end - 1]
    }
    in_place = sum(pair in kept for pair in zip(starts, ids, strict=True)) / len(ids)
    return in_place, (Counter(ids) & Counter(new_ids)).total() / len(ids)


def schemes() -> list[Scheme]:
    """Single bases, 6-mers both ways, and DNABERT-2's pieces where its tokenizer is at hand."""
    ids = range(4, 4 + 4**6)
    kmers = {"type": "kmer", "k": 6, "letters": "ATCG", "first": 4, "unknown": 0, "pad": 1}
    single = {"vocabulary": {letter: 4100 + place for place, letter in enumerate("ATCG")}}
    found = [
        Scheme("single bases", load_tokenizer({"type": "byte", "pad": 1}), {}, overlap=False),
        Scheme("6-mers, overlapping", load_tokenizer(kmers | {"overlap": True}), dict(product(ids, [6])), overlap=True),
        Scheme(
            "6-mers, tiled", load_tokenizer(kmers | single | {"overlap": False}), dict(product(ids, [6])), overlap=False
        ),
    ]
    if DNABERT2.exists():
        tokenizer = load_tokenizer(DNABERT2.read_bytes())
        pieces = load_tokenizer({**tokenizer.spec(), "post_processor": None})
        vocabulary: dict[str, int] = tokenizer.spec()["model"]["vocab"]
        found.append(
            Scheme("BPE (DNABERT-2)", pieces, {id_: len(piece) for piece, id_ in vocabulary.items()}, overlap=False)
        )
    return found


def percent(values: list[float]) -> str:
    """Mean and the half width of its 95 % interval, in percent."""
    half = 1.96 * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return f"{100 * float(np.mean(values)):.1f} ± {100 * half:.1f}"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sequences", type=int, default=300)
    parser.add_argument("--length", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    originals = [rng.choice(BASES, options.length).tobytes() for _ in range(options.sequences)]
    changed = {name: [change(each, rng) for each in originals] for name, change in CHANGES.items()}
    print(f"n = {options.sequences} random sequences of {options.length} b, seed {options.seed}; % of tokens kept\n")
    print("| tokens |  | " + " | ".join(CHANGES) + " |\n|---|---|" + "--:|" * len(CHANGES))
    for scheme in schemes():
        rows = {
            name: [shares(scheme, before, after) for before, after in zip(originals, afters, strict=True)]
            for name, afters in changed.items()
        }
        for which, title in enumerate(("in place", "as a bag")):
            cells = " | ".join(percent([each[which] for each in rows[name]]) for name in CHANGES)
            print(f"| {scheme.name} | {title} | {cells} |")


if __name__ == "__main__":
    main()
