"""True sites of single bases, from a BED file: sequence, start, end, label."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quantize.sample import Sample, SampleError

_HEADERS = ("#", "track", "browser")


@dataclass(frozen=True, slots=True)
class Sites:
    """The intervals of a file, in its order: ``(line, sequence, start, end, label)``, half open, from 0 on."""

    path: str
    intervals: tuple[tuple[int, str, int, int, str], ...]

    def positions(self, sample: Sample, labels: Sequence[str]) -> tuple[NDArray[np.int64], ...]:
        """For each label the places of its bases among those of all reads of a sample, ascending.

        Raises SampleError for a label that the model does not have, an interval that ends beyond its sequence, a name
        that two sequences have, and where no interval is on a sequence of the sample.
        """
        offsets: dict[str, tuple[int, int]] = {}
        total = 0
        for read in sample.reads:
            if read.id in offsets:
                raise SampleError(
                    f"{sample.path}: two sequences are called {read.id}, so that {self.path} is ambiguous"
                )
            offsets[read.id] = (total, len(read))
            total += len(read)
        found: dict[str, list[NDArray[np.int64]]] = {label: [] for label in labels}
        for line, name, start, end, label in self.intervals:
            if label not in found:
                raise SampleError(
                    f"{self.path}: line {line}: the model has no label {label!r}; its labels are {', '.join(labels)}"
                )
            if name not in offsets:
                continue
            offset, length = offsets[name]
            if end > length:
                raise SampleError(f"{self.path}: line {line}: {name} has {length} bases; the interval ends at {end}")
            found[label].append(np.arange(offset + start, offset + end))
        if not any(found.values()):
            raise SampleError(f"{self.path}: no site is on a sequence of {sample.path}; the first column names it")
        return tuple(np.unique(np.concatenate(parts)) if parts else np.empty(0, np.int64) for parts in found.values())


def read_sites(path: Path) -> Sites:
    """The sites in a BED file, gzip or not; the fourth column is the label. Raises SampleError, with the line."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise SampleError(f"{path}: cannot be read: {error}") from error
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith(_HEADERS):
            continue
        columns = line.split("\t")
        if len(columns) < 4:
            raise SampleError(
                f"{path}: line {number} has {len(columns)} columns; sites have four: sequence, start, end, label"
            )
        name, start, end, label = columns[:4]
        if not (start.isdecimal() and end.isdecimal() and int(start) < int(end)):
            raise SampleError(f"{path}: line {number}: {start} to {end} is no interval")
        found.append((number, name, int(start), int(end), label.strip()))
    return Sites(str(path), tuple(found))
