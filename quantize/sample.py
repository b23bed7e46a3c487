"""Labelled and unlabelled reads, as measurements need them: reads, true labels, the file each came from, one digest.

Reads come from a file or folder that `edgeseq.open_reads` takes, with a truth table beside them (``file``, ``read_id``,
``truth``, tab-separated), or from a table of sequences (``sequence`` or ``seq``, ``label`` where it is known, and
``alternative`` for variants; tabs or commas, gzip or not).
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeseq import open_reads
from edgeseq.errors import EdgeseqError, UsageError
from edgeseq.manifest import Task
from edgeseq.normalise import normalise
from edgeseq.read import Read
from quantize.pairs import AND, NONE

TRUTH = "truth.tsv"
UNKNOWN_TRUTH = ("", "unverified", "unknown")
"""What a truth table says of reads that take no part."""
_SEQUENCES = ("sequence", "seq")
VARIANTS = "alternative"
"""The column with the sequence as a variant makes it."""


class SampleError(EdgeseqError):
    """Reads or their labels cannot be used; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Sample:
    """``truth`` and ``source`` run parallel to ``reads``; ``truth`` is empty strings where nothing is known.

    ``sha256`` is over ids, sequences and labels in order; ``left_out`` counts reads that the truth table does not know.
    """

    path: str
    reads: tuple[Read, ...]
    truth: NDArray[np.str_]
    source: NDArray[np.str_]
    sha256: str
    left_out: int = 0
    variants: tuple[Read, ...] = ()
    """Parallel to ``reads``, where the table has a column `VARIANTS`: what a language model compares each read with."""

    def __len__(self) -> int:
        return len(self.reads)

    @property
    def has_truth(self) -> bool:
        """Whether any truth is known."""
        return bool((self.truth != "").any())

    @property
    def bases(self) -> int:
        return sum(len(read) for read in self.reads)

    @property
    def files(self) -> int:
        return len(np.unique(self.source))

    def part(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Sample:
        """The chosen reads."""
        places = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
        reads = tuple(self.reads[place] for place in places.tolist())
        variants = tuple(self.variants[place] for place in places.tolist()) if self.variants else ()
        return _sample(self.path, reads, self.truth[places].tolist(), self.left_out, variants)


def unlabelled(path: Path, *, most: int | None = None, seed: int = 1, shortest: int = 0) -> Sample:
    """The reads of a file, folder or table that have ``shortest`` bases or more; of more than ``most``, so many drawn
    at random, in their order."""
    variants: list[Read] = []
    if _is_table(path):
        reads, _, variants = _table(path)
    else:
        reads = list(open_reads(path))
    kept = [place for place, read in enumerate(reads) if len(read) >= shortest]
    left_out = len(reads) - len(kept)
    if not kept:
        raise SampleError(f"{path}: there are no reads" + (f" of {shortest} bases or more" if left_out else ""))
    if most is not None and len(kept) > most:
        chosen = np.sort(np.random.default_rng(seed).choice(len(kept), most, replace=False))
        kept = [kept[place] for place in chosen.tolist()]
    others = [variants[place] for place in kept] if variants else []
    return _sample(str(path), [reads[place] for place in kept], [""] * len(kept), left_out, others)


def has_labels(path: Path, truth: Path | None = None) -> bool:
    """Whether labels come with the reads: a column of the table, or a truth table in the usual place."""
    if truth is not None:
        return True
    header = _header(path) if _is_table(path) else None
    if header is not None:
        return "label" in header[0]
    return any((folder / TRUTH).is_file() for folder in _truth_folders(path))


def labelled(
    path: Path, task: Task, *, truth: Path | None = None, renamed: Mapping[str, str] | None = None, shortest: int = 0
) -> Sample:
    """The reads whose truth is known, that have ``shortest`` bases or more.

    ``truth`` is the truth table of a file or folder of reads (default: `TRUTH` in the folder, beside the file, or one
    above). ``renamed`` maps what the table says to the model's labels; numbers stand for labels in their order. Raises
    SampleError for a label that the model does not have, with its count.
    """
    left_out = 0
    if _is_table(path):
        reads, found, _ = _table(path)
        if found is None:
            raise SampleError(f"{path}: the table has no column called label")
    else:
        known = _truth_table(truth or _find_truth(path))
        reads, found = [], []
        for read in open_reads(path):
            label = known(read.source, read.id)
            if label is None or label in UNKNOWN_TRUTH:
                left_out += 1
                continue
            reads.append(read)
            found.append(label)
    found = _as_labels(path, found, task, renamed or {})
    kept = [place for place, read in enumerate(reads) if len(read) >= shortest]
    left_out += len(reads) - len(kept)
    if not kept:
        raise SampleError(f"{path}: no read has a known truth; {left_out} were left out")
    return _sample(str(path), [reads[place] for place in kept], [found[place] for place in kept], left_out)


def _sample(
    path: str, reads: Sequence[Read], truth: Sequence[str], left_out: int, variants: Sequence[Read] = ()
) -> Sample:
    digest = hashlib.sha256()
    for read, label in zip(reads, truth, strict=True):
        digest.update(b"\x1f".join((read.id.encode(), read.sequence, label.encode())) + b"\n")
    for read in variants:
        digest.update(read.sequence + b"\n")
    sources = np.array([read.source for read in reads], np.str_)
    return Sample(path, tuple(reads), np.array(truth, np.str_), sources, digest.hexdigest(), left_out, tuple(variants))


def _is_table(path: Path) -> bool:
    names = path.name.lower().removesuffix(".gz")
    return path.is_file() and names.endswith((".tsv", ".csv", ".txt")) and _header(path) is not None


def _open(path: Path) -> io.TextIOBase:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    raw = gzip.open(path, "rb") if packed else path.open("rb")  # noqa: SIM115 - closed with the text above it
    return io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")


def _header(path: Path) -> tuple[list[str], str] | None:
    """Column names and separator of a table of sequences; None for anything else."""
    try:
        with _open(path) as text:
            first = text.readline(1 << 16)
    except (OSError, EOFError, UnicodeDecodeError):
        return None
    separator = "\t" if "\t" in first else ","
    names = [name.strip().lower() for name in first.strip().split(separator)]
    return (names, separator) if any(name in names for name in _SEQUENCES) else None


def _table(path: Path) -> tuple[list[Read], list[str] | None, list[Read]]:
    """Reads, labels where there is such a column, and variants where there is."""
    header = _header(path)
    assert header is not None
    names, separator = header
    column = next(names.index(name) for name in _SEQUENCES if name in names)
    label = names.index("label") if "label" in names else None
    other = names.index(VARIANTS) if VARIANTS in names else None
    reads, labels, variants = [], [], []
    with _open(path) as text:
        rows = csv.reader(text, delimiter=separator)
        next(rows)
        for number, row in enumerate(rows):
            if not row:
                continue
            if len(row) != len(names):
                raise SampleError(f"{path}: row {number + 2} has {len(row)} columns; the first row has {len(names)}")
            reads.append(_row_read(path, number, row[column]))
            labels.append("" if label is None else row[label].strip())
            if other is not None:
                variants.append(_row_read(path, number, row[other]))
    return reads, None if label is None else labels, variants


def _row_read(path: Path, number: int, text: str) -> Read:
    return Read(f"row_{number + 2}", _joined(text.strip()).encode("ascii", "replace"), source=str(path))


def _joined(sequence: str) -> str:
    """A sequence written as overlapping k-mers with spaces as one; any other as it is."""
    words = sequence.split()
    if len(words) < 2:
        return sequence
    if any(a[1:] != b[:-1] for a, b in pairwise(words)):
        return "".join(words)
    return words[0] + "".join(word[-1] for word in words[1:])


def _truth_folders(path: Path) -> list[Path]:
    folder = path if path.is_dir() else path.parent
    return [folder, *list(folder.resolve().parents)[:2]]


def _find_truth(path: Path) -> Path:
    for folder in _truth_folders(path):
        if (folder / TRUTH).is_file():
            return folder / TRUTH
    raise UsageError(f"{path}: there is no {TRUTH} in this folder or above it; name a truth table with --truth")


def _truth_table(path: Path) -> Callable[[str, str], str | None]:
    """A function of (source, read id): the truth, None where the table does not know the read."""
    by_file: dict[str, list[str]] = {}
    known: dict[tuple[str, str], str] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as table:
            rows = csv.DictReader(table, delimiter="\t")
            absent = [name for name in ("file", "read_id", "truth") if name not in (rows.fieldnames or ())]
            if absent:
                raise SampleError(f"{path}: the truth table lacks the columns {', '.join(absent)}")
            for row in rows:
                known[row["file"], row["read_id"]] = row["truth"]
                by_file.setdefault(Path(row["file"]).name, [])
                if row["file"] not in by_file[Path(row["file"]).name]:
                    by_file[Path(row["file"]).name].append(row["file"])
    except OSError as error:
        raise SampleError(f"{path}: cannot be read: {error.strerror}") from error
    matched: dict[str, str | None] = {}

    def file_of(source: str) -> str | None:
        if source not in matched:
            places = Path(source).parts
            candidates = by_file.get(Path(source).name, [])
            same = [max(n for n in range(1, len(places) + 1) if Path(c).parts[-n:] == places[-n:]) for c in candidates]
            best = [c for c, n in zip(candidates, same, strict=True) if n == max(same)]
            if len(best) > 1:
                raise SampleError(f"{path}: {source} could be {' or '.join(best)}; name the folder above it")
            matched[source] = best[0] if best else None
        return matched[source]

    def truth_of(source: str, read_id: str) -> str | None:
        file = file_of(source)
        return None if file is None else known.get((file, read_id))

    return truth_of


def _as_labels(path: Path, found: list[str], task: Task, renamed: Mapping[str, str]) -> list[str]:
    if task.kind == "regression":
        for label in found:
            if not _is_number(label):
                raise SampleError(f"{path}: the truth {label!r} is not a number, which a regression model is judged by")
        return found
    if task.activation == "sigmoid":
        return [_as_set(path, label, task.labels, renamed) for label in found]
    labels = set(task.labels)
    found = [renamed.get(label, label) for label in found]
    if all(label.isdecimal() and int(label) < len(task.labels) for label in found if label not in labels):
        found = [label if label in labels else task.labels[int(label)] for label in found]
    strange = {label: found.count(label) for label in sorted(set(found) - labels)}
    if strange:
        counts = ", ".join(f"{label!r} ({count} reads)" for label, count in strange.items())
        raise SampleError(
            f"{path}: the model has no label {counts}; its labels are {', '.join(task.labels)}; "
            "map them with --rename TRUTH=LABEL"
        )
    return found


def _as_set(path: Path, text: str, labels: Sequence[str], renamed: Mapping[str, str]) -> str:
    """All labels of a read, in the model's order. Of a model of one label, 1 and 0 say whether it holds."""
    if len(labels) == 1 and text in ("0", "1"):
        return labels[0] if text == "1" else NONE
    held = set()
    for part in text.split(AND):
        label = renamed.get(part.strip(), part.strip())
        if label not in labels and label.isdecimal() and int(label) < len(labels):
            label = labels[int(label)]
        if label not in (*labels, NONE):
            raise SampleError(
                f"{path}: the model has no label {label!r}; its labels are {', '.join(labels)}, several joined by "
                f"{AND!r}, or {NONE!r} where none holds; map them with --rename TRUTH=LABEL"
            )
        held.add(label)
    return AND.join(label for label in labels if label in held) or NONE


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def letters(read: Read, alphabet: str) -> bytes:
    """The read's sequence as the model sees it."""
    return normalise(read.sequence, "protein" if alphabet == "protein" else "dna")
