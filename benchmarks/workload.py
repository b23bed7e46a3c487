"""The reads that benchmarks score: real ones where there are any, else made-up ones."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from edgeseq import open_reads
from edgeseq.read import Read
from edgeseq.simulate import simulated_reads

SHORTEST = 200
"""Bases of the shortest read that the panel is for."""


@dataclass(frozen=True, slots=True)
class Workload:
    """``reads`` is a FASTQ file of ``count`` reads and ``bases`` bases, ``single`` one of its first read alone."""

    reads: Path
    single: Path
    count: int
    bases: int
    kind: str


def workload(folder: Path, data: Path, bases: int) -> Workload:
    """Files of about that many bases in ``folder``: the reads below ``data/reads``, shuffled, as often as it takes."""
    real = list(open_reads(data / "reads")) if (data / "reads").is_dir() else []
    reads, total = [], 0
    for read in _again_and_again(real) if real else simulated_reads():
        reads.append(read)
        total += len(read)
        if total >= bases:
            break
    single = folder / "single.fastq"
    write_fastq(single, reads[:1])
    path = folder / "reads.fastq"
    write_fastq(path, reads)
    return Workload(path, single, len(reads), total, "real" if real else "simulated")


def _again_and_again(reads: list[Read]) -> Iterator[Read]:
    random = np.random.default_rng(1)
    while True:
        for place in random.permutation(len(reads)):
            yield reads[place]


def write_fastq(path: Path, reads: Iterable[Read]) -> None:
    """A FASTQ file; the id of each read is its number. Reads without qualities get the lowest printable one."""
    with path.open("wb") as file:
        for number, read in enumerate(reads):
            quality = read.quality or b"!" * len(read)
            file.write(b"@%d %b\n%b\n+\n%b\n" % (number, read.description, read.sequence, quality))


def verified_reads(data: Path) -> tuple[list[Read], list[str]]:
    """The real reads of `SHORTEST` or more whose origin is known, and the label of each."""
    truth = {}
    with (data / "reads/truth.tsv").open(newline="") as table:
        for row in csv.DictReader(table, delimiter="\t"):
            if row["truth"] != "unverified" and int(row["length"]) >= SHORTEST:
                truth[Path(row["file"]).name, row["read_id"]] = row["truth"]
    reads, labels = [], []
    for read in open_reads(data / "reads"):
        label = truth.get((Path(read.source).name, read.id))
        if label is not None:
            reads.append(read)
            labels.append(label)
    return reads, labels


def random_fastq(count: int, length: int, seed: int = 1) -> Iterator[bytes]:
    """Chunks of FASTQ text: ``count`` reads of ``length`` random bases, with headers as MinKNOW writes them."""
    random = np.random.default_rng(seed)
    letters = np.frombuffer(b"ACGT", np.uint8)
    numbers = iter(range(count))
    quality = b"5" * length
    while chunk := list(islice(numbers, 500)):
        bases = letters[random.integers(0, 4, (len(chunk), length), np.uint8)]
        records = []
        for number, row in zip(chunk, bases, strict=True):
            header = b"@read-%07d runid=%040x read=%d ch=%d barcode=barcode01" % (number, 1, number, number % 512)
            records.append(b"%b\n%b\n+\n%b\n" % (header, row.tobytes(), quality))
        yield b"".join(records)
