"""The one door for reads: `open_reads`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from edgeseq import bam
from edgeseq.chunks import Chunk, Reads
from edgeseq.errors import NotReadsError, ReadError
from edgeseq.fastx import read_fasta, read_fastq
from edgeseq.folder import read_files, unreadable
from edgeseq.inflate import MAGIC, decompressed
from edgeseq.sam import looks_like_sam, read_sam
from edgeseq.stream import Stream

Format = Literal["fastq", "fasta", "sam", "bam"]

_PEEK = 1 << 16
_BOM = b"\xef\xbb\xbf"
_READ_NAME = re.compile(r"\.(?:fastq|fq|fasta|fa|fna|sam|bam)(?:\.b?gz)?$", re.IGNORECASE)
_FASTQ = re.compile(rb"@[^\n]+\n[A-Za-z*.\r-]*(?:\n[+A-Za-z*.-]|\Z)")
_FASTA = re.compile(rb">[^\n]+\n[A-Za-z*.\r-]+(?:\n|\Z)")
"""What a file of another name must look like, inside a folder, to be taken for reads."""
_KNOWN = {
    b"\x8bPOD": ("POD5 signal", "basecall it first"),
    b"\x89HDF": ("FAST5 (HDF5) signal", "basecall it first"),
    b"CRAM": ("CRAM", "convert it: samtools fastq"),
    b"\x28\xb5\x2f\xfd": ("zstd", "decompress it first: zstdcat FILE | edgeseq score -"),
    b"BZh": ("bzip2", "decompress it first: bzcat FILE | edgeseq score -"),
    b"\xfd7zXZ": ("xz", "decompress it first: xzcat FILE | edgeseq score -"),
    b"PK\x03\x04": ("a zip archive", "unpack it first"),
    MAGIC: ("gzip inside gzip", "decompress it once: zcat FILE | edgeseq score -"),
    b"\xff\xfe": ("UTF-16 text", "save it as plain text"),
    b"\xfe\xff": ("UTF-16 text", "save it as plain text"),
}


def open_reads(
    source: str | os.PathLike[str] | BinaryIO,
    *,
    on_error: Callable[[ReadError], None] | None = None,
    named: bool = True,
) -> Reads:
    """Reads of a file, a folder, standard input (``"-"``) or a binary file object, one by one, in order.

    The content decides the format: FASTQ, FASTA, SAM, BAM, and each of them as gzip with any number of members. Nothing
    needs to be seekable. An empty source gives no reads. Memory grows with the longest read, not with the source.

    A folder is walked recursively, names with numbers in numeric order. Hidden and temporary files, what edgeseq wrote
    and files that hold no reads are passed over, but not files whose name (``.fastq``, ``.bam`` …) promises reads.
    ``named=False`` asks the same of a single file or file object that was met in a folder.

    Raises `ReadError` (`TruncatedError`, `FormatError`) once all whole reads before the damage are out. In a folder,
    ``on_error``, if given, is called with the error of each damaged file instead, and the next file follows.
    """
    if not isinstance(source, (str, os.PathLike)):
        return Reads(_parse(source, _name(source), named=named or _READ_NAME.search(_name(source)) is not None))
    path = os.fsdecode(source)
    if path == "-":
        return Reads(_parse(sys.stdin.buffer, path))
    if Path(path).is_dir():
        return Reads(_folder(path, on_error))
    return Reads(_file(path, named=named or _READ_NAME.search(path) is not None))


def format_of(head: bytes, *, named: bool) -> tuple[Format | None, int]:
    """What the (decompressed) first bytes of a source are, None if not reads; and how many bytes of mark precede them.

    ``named``: the source is meant to be reads. Otherwise the first three lines have to be there and to look like it.
    """
    offset = len(_BOM) if head.startswith(_BOM) else 0
    text = head[offset:].lstrip(b"\r\n")
    if head.startswith(bam.MAGIC):
        return "bam", offset
    if looks_like_sam(text):
        return "sam", offset
    if text.startswith(b"@") and (named or _FASTQ.match(text)):
        return "fastq", offset
    if text.startswith(b">") and (named or _FASTA.match(text)):
        return "fasta", offset
    return None, offset


def promises_reads(path: str) -> bool:
    """Whether the name of a file (``.fastq``, ``.bam`` …) says that it holds reads."""
    return _READ_NAME.search(path) is not None


def _folder(folder: str, on_error: Callable[[ReadError], None] | None) -> Iterator[Chunk]:
    for path in read_files(folder, on_error=on_error):
        try:
            yield from _file(path, named=_READ_NAME.search(path) is not None)
        except ReadError as error:
            if on_error is None:
                raise
            on_error(error)


def _file(path: str, *, named: bool) -> Iterator[Chunk]:
    try:
        file = Path(path).open("rb", buffering=0)  # noqa: SIM115 - closed below
    except OSError as error:
        raise unreadable(path, error) from error
    with file:
        yield from _parse(file, path, named=named)


def _parse(file: BinaryIO, name: str, *, named: bool = True) -> Iterator[Chunk]:
    """The reads of a file by its content. ``named``: the user means it to be reads, so it is an error if it is not."""
    stream = Stream(name, decompressed(file))
    head = stream.peek(_PEEK, 1 if named else 3)
    format_, offset = format_of(head, named=named)
    text = head[offset:].lstrip(b"\r\n")
    stream.skip(offset)
    if format_ == "bam":
        yield from bam.read_bam(stream)
    elif format_ == "sam":
        yield from read_sam(stream, offset)
    elif format_ == "fastq":
        yield from read_fastq(stream, offset)
    elif format_ == "fasta":
        yield from read_fasta(stream, offset)
    elif stream.damage is not None and (named or text[:1] in b"@>"):
        raise stream.damage.error(name, 0, 0)
    elif named and (text or len(head) == _PEEK):
        raise _not_reads(name, head)


def _name(file: BinaryIO) -> str:
    name = getattr(file, "name", "")
    return name if isinstance(name, str) and name else "<stream>"


def _not_reads(name: str, head: bytes) -> NotReadsError:
    for magic, (what, remedy) in _KNOWN.items():
        if head.startswith(magic):
            return NotReadsError(name, f"this is {what}", record=0, offset=0, remedy=remedy)
    what = "only NUL bytes" if not head.strip(b"\0") else f"it starts with {head[:8]!r}"
    return NotReadsError(
        name, f"this is not FASTQ, FASTA, SAM or BAM: {what}", record=0, offset=0, remedy="name a file of reads"
    )
