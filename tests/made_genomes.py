"""Made-up genomes and a small sampler over them, for the tests of training: skipped where its tools are absent."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("scipy", reason="training clusters genomes with scipy (extra `export`)")

from export.dataset import Sampler
from export.genomes import OTHER, Genome
from export.simulate import ErrorProfile, Sources

Codes = NDArray[np.uint8]

EXACT = ErrorProfile(rates=((1.0, 0.0, 0.0),), adapter=0.0, unknown=0.0)
"""Reads that are a stretch of their source, untouched."""


def random_codes(rng: np.random.Generator, length: int) -> Codes:
    """Bases 0–3, uint8 (length,)."""
    return rng.integers(0, 4, length, np.uint8)


def relative(rng: np.random.Generator, codes: Codes, difference: float) -> Codes:
    """The same sequence with exactly this share of its bases substituted."""
    shift = np.zeros(len(codes), np.uint8)
    places = rng.choice(len(codes), round(difference * len(codes)), replace=False)
    shift[places] = rng.integers(1, 4, len(places), np.uint8)
    return np.asarray((codes + shift) & 3, np.uint8)


def complement(codes: Codes) -> Codes:
    """The other strand; N and padding stay what they are."""
    return np.ascontiguousarray(np.where(codes < 4, 3 - codes, codes)[::-1], np.uint8)


def genome(name: str, codes: Codes, label: str = "zika", group: str = "file") -> Genome:
    return Genome(name, label, group, codes)


def letters(codes: Codes) -> str:
    return "".join("ACGTN"[code] for code in codes)


def family(
    rng: np.random.Generator, count: int, length: int, difference: float, label: str = "zika", group: str = "file"
) -> list[Genome]:
    """Relatives of one ancestor, named after their group and number."""
    ancestor = random_codes(rng, length)
    return [genome(f"{group}-{number}", relative(rng, ancestor, difference), label, group) for number in range(count)]


def write_fasta(path: Path, genomes: list[Genome]) -> None:
    with gzip.open(path, "wt") as fasta:
        fasta.writelines(f">{genome.name}\n{letters(genome.codes)}\n" for genome in genomes)


def toy_sampler(seed: int = 1, *, profile: ErrorProfile | None = None) -> Sampler:
    """Two classes, background and outside viruses, one record of 3 kb each."""
    rng = np.random.default_rng(seed)

    def source() -> tuple[Sources, NDArray[np.float64]]:
        return Sources.of([random_codes(rng, 3000)]), np.ones(1)

    return Sampler(
        labels=("zika", "measles", OTHER),
        classes={"zika": source(), "measles": source()},
        background=source(),
        outside=source(),
        class_weights=np.array([0.5, 0.5]),
        profile=profile or ErrorProfile(),
    )
