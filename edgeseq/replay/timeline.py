"""When each record of a finished run was written."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edgeseq.errors import NotReadsError, ReadError
from edgeseq.folder import read_files
from edgeseq.read import Read
from edgeseq.reads import open_reads
from edgeseq.sinks.split import record_of

BASES_PER_SECOND = 400.0
"""How fast a strand passes a pore: a read is written that much after its start."""
PORES = 512
"""Channels of a MinION; together they write `PORES` × `BASES_PER_SECOND` bases a second at the most."""

_NUMBER = re.compile(r"(?:_\d+)?\.(?:fastq|fq|fasta|fa|fna|sam|bam|ubam)(?:\.b?gz)?$", re.IGNORECASE)

Report = Callable[[ReadError], None]


@dataclass(frozen=True, slots=True)
class Due:
    """A record that is written ``seconds`` after the first one, into the files called ``stem`` (with folders of the
    run, without number and suffix)."""

    seconds: float
    stem: str
    record: bytes
    bases: int


def timeline(folders: Sequence[Path], report: Report, *, rate: float | None = None) -> Iterator[Due]:
    """The records of the files in ``folders``, in the order in which they are due.

    Within a file the order stays as it is. A read is due when it left the pore: its start time and its length say when.
    With ``rate`` (bases per second), or where headers give no times, records are due as that rate brings them, files
    taking turns. Files that differ in their last number only (``reads_0``, ``reads_1``) follow each other. Damage goes
    to ``report``, and the other files go on.
    """
    series = [one for folder in folders for one in _series(folder, report)]
    origin = None if rate else _origin(series, report)
    streams = [_records(one, report) for one in series]
    if origin is None:
        yield from _at_rate(streams, rate or PORES * BASES_PER_SECOND)
    else:
        yield from heapq.merge(*[_in_time(stream, origin) for stream in streams], key=lambda due: due.seconds)


@dataclass(frozen=True, slots=True)
class _Series:
    """Files that were written one after the other, and their common name, relative to the folder."""

    stem: str
    paths: Sequence[str]


def _series(folder: Path, report: Report) -> list[_Series]:
    if folder.is_file():
        return [_Series(_NUMBER.sub("", folder.name), [str(folder)])]
    found: dict[str, list[str]] = {}
    for path in read_files(str(folder), on_error=report):
        found.setdefault(_NUMBER.sub("", str(Path(path).relative_to(folder))), []).append(path)
    return [_Series(stem, paths) for stem, paths in found.items()]


def _records(series: _Series, report: Report) -> Iterator[tuple[Read, str]]:
    for path in series.paths:
        try:
            for read in open_reads(path, named=False):
                yield read, series.stem
        except NotReadsError:
            continue
        except ReadError as error:
            report(error)


def _origin(series: Sequence[_Series], report: Report) -> float | None:
    """When the first read of the run ended; None where a series starts with a read that does not say."""
    found = []
    for one in series:
        first = next(_records(one, report), None)
        if first is not None:
            end = ended(first[0])
            if end is None:
                return None
            found.append(end)
    return min(found, default=None)


def ended(read: Read) -> float | None:
    """When a read left its pore, in seconds since 1970; None where its header has no time."""
    text = read.header.start_time
    try:
        start = datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None
    except ValueError:
        return None
    if start is None:
        return None
    if start.tzinfo is None:
        start = start.replace(tzinfo=timezone.utc)
    return start.timestamp() + len(read) / BASES_PER_SECOND


def _in_time(stream: Iterator[tuple[Read, str]], origin: float) -> Iterator[Due]:
    latest = 0.0
    for read, stem in stream:
        end = ended(read)
        latest = latest if end is None else max(latest, end - origin)
        yield _due(read, stem, latest)


def _at_rate(streams: Sequence[Iterator[tuple[Read, str]]], rate: float) -> Iterator[Due]:
    """Files take turns: the one that has had the fewest bases is next."""
    queue = [(0, number) for number in range(len(streams))]
    total = 0
    while queue:
        had, number = heapq.heappop(queue)
        found = next(streams[number], None)
        if found is None:
            continue
        read, stem = found
        total += len(read)
        yield _due(read, stem, total / rate)
        heapq.heappush(queue, (had + max(1, len(read)), number))


def _due(read: Read, stem: str, seconds: float) -> Due:
    return Due(seconds, stem, record_of(read, ".fastq.gz" if read.quality else ".fasta.gz"), len(read))
