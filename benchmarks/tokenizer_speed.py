"""Tokenizer speed: the device's tokenizers against one dictionary look-up per token in plain Python.

    python benchmarks/tokenizer_speed.py [--bases 2000000] [--window 2000]

Both sides encode the same windows (random bases, 0.1 % N) in turn, five times; the table has the median and the ratio
of medians. For learned pieces the other side is the bare ``tokenizers`` library. Megabases per second, one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from edgeseq.tokenizers import load_tokenizer

ROUNDS = 5
DNABERT2 = Path(__file__).resolve().parents[2] / "shared/fixtures/dnabert2/tokenizer.json"
LETTERS = {"A": 0, "C": 1, "G": 2, "T": 3, "N": 4}
SINGLE = {letter: 4100 + place for place, letter in enumerate("ATCGN")}


def words(first: int) -> dict[str, int]:
    """All 6-mers and their ids."""
    return {"".join(word): first + place for place, word in enumerate(product("ATCG", repeat=6))}


def by_letter(text: str) -> list[int]:
    """One id for each base."""
    return [LETTERS.get(letter, 4) for letter in text]


def by_byte(text: str) -> list[int]:
    """One id for each byte."""
    return list(text.encode())


OVERLAPPING = words(5)
TILED = words(4) | SINGLE


def by_kmer(text: str) -> list[int]:
    """One id for each overlapping 6-mer."""
    return [2, *(OVERLAPPING.get(text[at : at + 6], 1) for at in range(len(text) - 5)), 3]


def by_tile(text: str) -> list[int]:
    """The Nucleotide Transformer's 6-mers and single bases."""
    ids, at = [3], 0
    while at < len(text):
        step = 6 if text[at : at + 6] in TILED and len(text) - at >= 6 else 1
        ids.append(TILED[text[at : at + step]])
        at += step
    return ids


def speed(encode: Callable[[Any], Any], windows: list[Any], bases: int) -> float:
    """Megabases per second of one pass."""
    started = time.perf_counter()
    for window in windows:
        encode(window)
    return bases / (time.perf_counter() - started) / 1e6


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bases", type=int, default=2_000_000)
    parser.add_argument("--window", type=int, default=2000)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    drawn = rng.choice(np.frombuffer(b"ACGTN", np.uint8), options.bases, p=[0.24975] * 4 + [0.001]).tobytes()
    windows = [drawn[at : at + options.window] for at in range(0, len(drawn), options.window)]
    texts = [window.decode() for window in windows]

    kmers = {"type": "kmer", "k": 6, "letters": "ATCG"}
    tiled = {"overlap": False, "first": 4, "vocabulary": SINGLE, "unknown": 0, "pad": 1, "prefix": [3]}
    overlapping = {"overlap": True, "first": 5, "unknown": 1, "pad": 0, "prefix": [2], "suffix": [3]}
    cases: list[tuple[str, Callable[[bytes], Any], Callable[[str], Any]]] = [
        ("byte", load_tokenizer({"type": "byte", "pad": 1}).encode, by_byte),
        ("nucleotide", load_tokenizer({"type": "nucleotide", "vocabulary": LETTERS, "pad": 5}).encode, by_letter),
        ("6-mers, tiled", load_tokenizer(kmers | tiled).encode, by_tile),
        ("6-mers, overlapping", load_tokenizer(kmers | overlapping).encode, by_kmer),
    ]
    if DNABERT2.exists():
        from tokenizers import Tokenizer

        bare = Tokenizer.from_file(str(DNABERT2))
        cases.append(
            ("BPE (DNABERT-2)", load_tokenizer(DNABERT2.read_bytes()).encode, lambda text: bare.encode(text).ids)
        )

    print(f"{len(windows)} windows of {options.window} b, Mb/s")
    print("| tokenizer | edgeseq | reference | ratio |\n|---|--:|--:|--:|")
    for name, ours, reference in cases:
        assert np.array_equal(ours(windows[0]), reference(texts[0]))
        rounds = [(speed(ours, windows, len(drawn)), speed(reference, texts, len(drawn))) for _ in range(ROUNDS)]
        fast, slow = (statistics.median(each) for each in zip(*rounds, strict=True))
        print(f"| {name} | {fast:.1f} | {slow:.1f} | {fast / slow:.1f} |")


if __name__ == "__main__":
    main()
