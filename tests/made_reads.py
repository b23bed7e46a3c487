"""Files of reads, made in memory, and sources that give them in odd ways."""

from __future__ import annotations

import gzip
import io
import random
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

import pysam

from edgeseq.errors import ReadError
from edgeseq.reads import open_reads

Record = tuple[str, bytes, bytes]
"""Header line, sequence, quality."""


def fastq(records: Iterable[Record], end: bytes = b"\n") -> bytes:
    return b"".join(b"@%b%b%b%b+%b%b%b" % (h.encode(), end, s, end, end, q, end) for h, s, q in records)


def wrapped_fastq(records: Iterable[Record], width: int) -> bytes:
    return b"".join(b"@%b\n%b\n+\n%b\n" % (h.encode(), wrap(s, width), wrap(q, width)) for h, s, q in records)


def fasta(records: Iterable[Record], width: int = 60, end: bytes = b"\n") -> bytes:
    return b"".join(b">%b%b%b%b" % (h.encode(), end, wrap(s, width, end), end) for h, s, _ in records)


def wrap(line: bytes, width: int, end: bytes = b"\n") -> bytes:
    return end.join(line[at : at + width] for at in range(0, len(line), width))


def members(data: bytes, count: int) -> bytes:
    """Gzip in about ``count`` members, cut anywhere."""
    size = max(1, len(data) // count)
    return b"".join(gzip.compress(data[at : at + size], mtime=0) for at in range(0, len(data), size))


def bam(path: Path, records: Iterable[Record], *, text: bool = False) -> Path:
    """An unaligned BAM (or SAM) file that pysam writes."""
    header = {"HD": {"VN": "1.6"}, "RG": [{"ID": "g", "PU": "FAK00001", "SM": "swab"}]}
    with pysam.AlignmentFile(str(path), "w" if text else "wb", header=header) as file:
        for name, sequence, quality in records:
            segment = pysam.AlignedSegment(file.header)
            segment.query_name = name.split()[0]
            segment.flag = 4
            segment.query_sequence = sequence.decode()
            segment.query_qualities = pysam.qualitystring_to_array(quality.decode()) if quality else None
            segment.set_tag("RG", "g")
            segment.set_tag("ch", 7)
            file.write(segment)
    return path


def first_records(path: Path, count: int) -> list[Record]:
    """The first records of a real FASTQ or BAM file, read by pysam."""
    if path.suffix == ".bam":
        with pysam.AlignmentFile(str(path), check_sq=False) as file:
            return [
                (str(r.query_name), (r.query_sequence or "").encode(), (r.query_qualities_str or "").encode())
                for r in islice(file, count)
            ]
    return [
        (f"{r.name} {r.comment}" if r.comment else str(r.name), (r.sequence or "").encode(), (r.quality or "").encode())
        for r in islice(pysam.FastxFile(str(path)), count)
    ]


class _Drip(io.RawIOBase):
    def __init__(self, data: bytes, seed: int, most: int) -> None:
        super().__init__()
        self._data = memoryview(data)
        self._at = 0
        self._random = random.Random(seed)
        self._most = most

    def readable(self) -> bool:
        return True

    def read(self, _: int = -1) -> bytes:
        step = self._random.randint(1, self._most)
        piece = bytes(self._data[self._at : self._at + step])
        self._at += len(piece)
        return piece


def drip(data: bytes, seed: int = 0, most: int = 50) -> BinaryIO:
    """A binary stream that cannot seek and gives 1 to ``most`` bytes at a time."""
    return cast("BinaryIO", _Drip(data, seed, most))


def outcome(source: bytes | str | Path | BinaryIO) -> tuple[list[Record], ReadError | None]:
    """All reads of a source (bytes stand for a file that holds them) as (id, sequence, quality), and its error."""
    found: list[Record] = []
    try:
        for read in open_reads(io.BytesIO(source) if isinstance(source, bytes) else source):
            assert not read.quality or len(read.quality) == len(read.sequence)
            found.append((read.id, read.sequence, read.quality))
    except ReadError as error:
        return found, error
    return found, None
