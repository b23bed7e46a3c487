"""Kraken2 on a panel's own genomes: a database with one taxon for each label, and reads classified with it.

The taxonomy is flat: every label hangs from the root. A read whose k-mers fit several labels alike goes to the root,
which counts as unclassified.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.process import ProgramError
from benchmarks.reference import Genomes, digest, write_fasta
from edgeseq.prediction import UNCLASSIFIED

FIRST_TAXON = 10


def available() -> bool:
    """Whether Kraken2 and its builder are installed."""
    return shutil.which("kraken2") is not None and shutil.which("kraken2-build") is not None


def version() -> str:
    """What Kraken2 calls itself."""
    said = subprocess.run(["kraken2", "--version"], capture_output=True, text=True, check=True).stdout
    return said.splitlines()[0].strip()


@dataclass(frozen=True, slots=True)
class Database:
    """A built database and the labels of its taxa, in order."""

    folder: Path
    labels: tuple[str, ...]

    @property
    def bytes_on_disk(self) -> int:
        return sum(path.stat().st_size for path in self.folder.glob("*.k2d"))

    def command(
        self, reads: Path, output: Path, *, threads: int = 1, confidence: float = 0.0, hit_groups: int = 2
    ) -> list[str | Path]:
        """The command line that classifies a file of reads."""
        return [
            *("kraken2", "--db", self.folder, "--threads", str(threads), "--output", output),
            *("--confidence", str(confidence), "--minimum-hit-groups", str(hit_groups), reads),
        ]

    def labels_of(self, output: Path) -> dict[str, str]:
        """Read id → label, from a file that `command` wrote."""
        names = {str(FIRST_TAXON + place): label for place, label in enumerate(self.labels)}
        found = {}
        with output.open() as rows:
            for row in rows:
                _, read, taxon, _ = row.split("\t", 3)
                found[read] = names.get(taxon, UNCLASSIFIED)
        return found

    def classify(
        self, reads: Path, count: int, output: Path, *, threads: int, confidence: float = 0.0, hit_groups: int = 2
    ) -> NDArray[np.str_]:
        """The label of each of ``count`` reads whose ids are their numbers. Raises ProgramError."""
        command = self.command(reads, output, threads=threads, confidence=confidence, hit_groups=hit_groups)
        _run(command)
        found = self.labels_of(output)
        return np.array([found[str(number)] for number in range(count)])


def build(work: Path, genomes: Genomes, *, kmer: int = 35, threads: int = 2) -> Database:
    """A database of the genomes of each label, built in a folder of ``work`` or found there from an earlier run.

    Settings but ``kmer`` are Kraken2's own; a shorter k-mer takes a shorter minimizer in proportion (31 of 35).
    Low-complexity stretches are masked where NCBI's dustmasker is installed. Raises ProgramError.
    """
    labels = tuple(genomes)
    masked = shutil.which("dustmasker") is not None
    folder = work / f"kraken2-k{kmer}-{digest(genomes, version(), kmer, masked)}"
    if (folder / "hash.k2d").exists():
        return Database(folder, labels)
    draft = folder.with_suffix(".tmp")
    shutil.rmtree(draft, ignore_errors=True)
    _write_taxonomy(draft / "taxonomy", labels)
    taxa = {label: FIRST_TAXON + place for place, label in enumerate(labels)}
    fasta = draft / "genomes.fna"
    write_fasta(fasta, genomes, lambda label, number: f"{label}.{number}|kraken:taxid|{taxa[label]}")
    _run(["kraken2-build", "--db", draft, "--add-to-library", fasta, *([] if masked else ["--no-masking"])])
    fasta.unlink()
    lengths = ["--kmer-len", str(kmer), "--minimizer-len", str(min(31, kmer * 31 // 35))]
    if kmer != 35:
        lengths += ["--minimizer-spaces", str(kmer * 7 // 35)]
    _run(["kraken2-build", "--db", draft, "--build", "--threads", str(threads), *lengths])
    _run(["kraken2-build", "--db", draft, "--clean"])
    draft.rename(folder)
    return Database(folder, labels)


def _write_taxonomy(folder: Path, labels: Sequence[str]) -> None:
    """The two files of an NCBI taxonomy that Kraken2 reads."""
    folder.mkdir(parents=True)
    taxa = [(1, 1, "no rank", "root")]
    taxa += [(FIRST_TAXON + place, 1, "species", label) for place, label in enumerate(labels)]
    nodes = "".join(f"{taxon}\t|\t{parent}\t|\t{rank}\t|\t-\t|\n" for taxon, parent, rank, _ in taxa)
    names = "".join(f"{taxon}\t|\t{name}\t|\t\t|\tscientific name\t|\n" for taxon, _, _, name in taxa)
    (folder / "nodes.dmp").write_text(nodes)
    (folder / "names.dmp").write_text(names)


def _run(argv: Sequence[str | Path]) -> None:
    command, locale = list(map(str, argv)), {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, env=locale, check=False)
    if done.returncode:
        raise ProgramError(" ".join(map(str, argv[:4])), done.returncode, done.stderr)
