"""SAM text: lines → reads, as the sequencer read them."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping

from edgeseq.chunks import Chunk, gathered
from edgeseq.errors import FormatError, TruncatedError
from edgeseq.headers import fields, header_of
from edgeseq.read import Header, Read
from edgeseq.stream import Stream

COMPLEMENT = bytes.maketrans(b"ACGTUMRWSYKVHDBNacgtumrwsykvhdbn", b"TGCAAKYWSRMBDHVNtgcaakywsrmbdhvn")
SKIPPED = 0x900
"""Flags of secondary and supplementary alignments: further copies of a read."""
REVERSE = 0x10
CUT = "the file was cut, or is still being written: copy it again, or wait until it is complete"
DAMAGED = "the file is damaged here: copy it again"
_LETTERS = string.ascii_letters.encode() + b"=."
_QUALITIES = bytes(range(33, 127))
_HEADER_LINE = re.compile(rb"@(?:HD|SQ|RG|PG)\t[A-Za-z][A-Za-z0-9]:|@CO\t")
_ALIGNMENT = re.compile(rb"[!-?A-~][!-~]*\t\d{1,5}\t[!-~]+\t\d+\t\d{1,3}\t(?:\*|(?:\d+[MIDNSHPX=])+)\t")

Groups = Mapping[str, Mapping[str, str]]
"""Read group id → fields that it gives to its reads' headers."""


class AlignedRead(Read):
    """A read of a SAM or BAM file; its header knows its read group as well."""

    __slots__ = ("_groups",)

    def __init__(
        self,
        id: str,
        sequence: bytes,
        quality: bytes,
        description: bytes,
        source: str,
        record: int,
        offset: int,
        groups: Groups,
    ) -> None:
        super().__init__(id, sequence, quality, description, source, record, offset)
        self._groups = groups

    @property
    def header(self) -> Header:
        """The parsed header: what the tags say, and what the read group says where they are silent."""
        if self._header is None:
            found = fields(self.description)
            group = self._groups.get(found.get("RG", ""), {})
            self._header = header_of({**group, **found}, source=self.source, read_id=self.id)
        return self._header

    @property
    def barcode(self) -> str:
        """`header.barcode`: the read group may have a say in it."""
        return self.header.barcode


def looks_like_sam(head: bytes) -> bool:
    """Whether a text starts with a SAM header line or with an alignment."""
    return bool(_HEADER_LINE.match(head) or _ALIGNMENT.match(head))


def read_groups(header: bytes) -> Groups:
    """The read groups of a SAM header, as header fields: flow cell, sample, run and model."""
    groups = {}
    for line in header.splitlines():
        if line.startswith(b"@RG\t"):
            given = dict(part.split(":", 1) for part in line.decode("utf-8", "replace").split("\t")[1:] if ":" in part)
            found = {"flow_cell_id": given.get("PU", ""), "sample_id": given.get("SM") or given.get("LB", "")}
            found |= fields(b"DS:Z:" + given.get("DS", "").encode())
            found.pop("DS", None)
            groups[given.get("ID", "")] = {key: value for key, value in found.items() if value}
    return groups


def read_sam(stream: Stream, offset: int = 0) -> Iterator[Chunk]:
    """Reads of SAM text whose first byte is at ``offset``, in order, without secondary and supplementary alignments.

    Reads on the reverse strand come out as sequenced. Raises `TruncatedError` or `FormatError` after all whole reads.
    """
    return filter(None, gathered(_reads(stream, offset)))


def _reads(stream: Stream, offset: int) -> Iterator[Read | None]:
    """The reads, and ``None`` before the stream is asked for more."""
    groups: dict[str, Mapping[str, str]] = {}
    rest = b""
    record = 0
    while (data := stream.more(rest)) is not None:
        lines = data.split(b"\n")
        rest = lines.pop()
        for line in lines:
            if line.startswith(b"@"):
                groups.update(read_groups(line))
            elif line.rstrip(b"\r"):
                read = _alignment(line.removesuffix(b"\r"), stream.name, record, offset, groups)
                record += 1
                if read is not None:
                    yield read
            offset += len(line) + 1
        yield None
    if stream.damage is not None:
        raise stream.damage.error(stream.name, record, offset)
    if rest.startswith(b"@"):
        raise TruncatedError(stream.name, "the file ends in a header line", record=record, offset=offset, remedy=CUT)
    if rest.rstrip(b"\r"):
        read = _alignment(rest.removesuffix(b"\r"), stream.name, record, offset, groups, final=True)
        if read is not None:
            yield read


def _alignment(
    line: bytes, source: str, record: int, offset: int, groups: Groups, *, final: bool = False
) -> Read | None:
    """The read of one line, or ``None`` for another copy of a read; ``final``: the line has no end.

    Raises `TruncatedError` (only then) or `FormatError`.
    """
    columns = line.split(b"\t", 11)
    problem = ""
    if len(columns) < 11:
        problem = f"a SAM line has {len(columns)} columns, not 11 or more"
    elif final and (len(columns[10]) < len(columns[9]) or columns[10] == b"*"):
        problem = "the file ends in a quality"
    if final and problem:
        raise TruncatedError(source, problem, record=record, offset=offset, remedy=CUT)
    if not problem:
        flag, sequence, quality = columns[1], columns[9], columns[10]
        if not (flag.isdigit() and len(flag) < 6):
            problem = f"the flag is {flag[:20]!r}"
        elif sequence != b"*" and sequence.translate(None, _LETTERS):
            problem = f"the sequence holds {sequence.translate(None, _LETTERS)[:1]!r}"
        elif quality.translate(None, _QUALITIES):
            problem = f"the quality holds {quality.translate(None, _QUALITIES)[:1]!r}"
        elif quality != b"*" and len(quality) != (0 if sequence == b"*" else len(sequence)):
            problem = f"the quality has {len(quality)} characters for {len(sequence)} bases"
        elif b"\0" in line:
            problem = "the line holds NUL bytes"
    if problem:
        raise FormatError(source, problem, record=record, offset=offset, remedy=DAMAGED)
    bits = int(flag)
    if bits & SKIPPED:
        return None
    if sequence == b"*":
        sequence = quality = b""
    elif quality == b"*" and len(sequence) != 1:
        quality = b""
    if bits & REVERSE:
        sequence, quality = sequence.translate(COMPLEMENT)[::-1], quality[::-1]
    description = columns[11] if len(columns) > 11 else b""
    return AlignedRead(
        str(columns[0], "utf-8", "backslashreplace"), sequence, quality, description, source, record, offset, groups
    )
