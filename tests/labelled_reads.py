"""Reads for the tiny bundle with known truth: mostly A is ``a``, mostly C is ``b``, even composition is ``other``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

LETTERS = np.frombuffer(b"ACGT", np.uint8)
MIX = {
    "a": (0.55, 0.15, 0.15, 0.15),
    "b": (0.15, 0.55, 0.15, 0.15),
    "other": (0.25, 0.25, 0.25, 0.25),
}


def sequences(label: str, count: int, rng: np.random.Generator) -> list[str]:
    """``count`` random sequences of 40 to 200 b."""
    lengths = rng.integers(40, 201, count)
    return [LETTERS[rng.choice(4, length, p=MIX[label])].tobytes().decode() for length in lengths.tolist()]


def labelled_folder(folder: Path, per_class: int, *, seed: int, files: int = 3) -> Path:
    """``folder`` with FASTA files of all classes and their truth table."""
    rng = np.random.default_rng(seed)
    (folder / "reads").mkdir(parents=True)
    rows = ["file\tread_id\tlength\ttruth"]
    records: list[list[str]] = [[] for _ in range(files)]
    number = 0
    for label in MIX:
        for sequence in sequences(label, per_class, rng):
            file = number % files
            records[file].append(f">r{number}\n{sequence}\n")
            rows.append(f"reads/part{file}.fasta\tr{number}\t{len(sequence)}\t{label}")
            number += 1
    for file, texts in enumerate(records):
        (folder / "reads" / f"part{file}.fasta").write_text("".join(texts))
    (folder / "truth.tsv").write_text("\n".join(rows) + "\n")
    return folder


def unlabelled_file(path: Path, per_class: int, *, seed: int) -> Path:
    """``path``, a FASTA file of reads of all classes."""
    rng = np.random.default_rng(seed)
    found = [sequence for label in MIX for sequence in sequences(label, per_class, rng)]
    path.write_text("".join(f">c{number}\n{sequence}\n" for number, sequence in enumerate(found)))
    return path
