"""BAM: decompressed bytes → reads, as the sequencer read them.

Decoded here rather than by htslib, so that pipes and file objects work, every whole record before a damaged place comes
out, and the damage has a place.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from edgeseq.chunks import Chunk, gathered
from edgeseq.errors import FormatError, TruncatedError
from edgeseq.read import Read
from edgeseq.sam import COMPLEMENT, CUT, DAMAGED, REVERSE, SKIPPED, AlignedRead, Groups, read_groups
from edgeseq.stream import Stream

MAGIC = b"BAM\1"
_FIXED = struct.Struct("<iiiBBHHHiiii")
"""Block size, reference, position, name length, mapping quality, bin, CIGAR length, flag, bases, mate (3 fields)."""
_BASES = b"=ACMGRSVTWYHKDBN"
_PAIRS = np.array([[high, low] for high in _BASES for low in _BASES], np.uint8).view("<u2").ravel()
"""Packed byte → its two bases."""
_PHRED = bytes(min(score + 33, 126) for score in range(256))
_NUMBERS = {code: struct.Struct("<" + code.translate(str.maketrans("cCsSiIf", "bBhHiIf"))) for code in "cCsSiIf"}


class BamRead(AlignedRead):
    """A read of a BAM file; its tags become text on first use."""

    __slots__ = ("_tags", "_text")

    _text: bytes

    def __init__(
        self,
        id: str,
        sequence: bytes,
        quality: bytes,
        tags: bytes,
        source: str,
        record: int,
        offset: int,
        groups: Groups,
    ) -> None:
        self._tags = tags
        super().__init__(id, sequence, quality, b"", source, record, offset, groups)

    @property
    def description(self) -> bytes:
        """The tags as SAM text, parted by tabs; arrays are left out."""
        if not self._text and self._tags:
            self._text = tags_as_text(self._tags)
        return self._text

    @description.setter
    def description(self, text: bytes) -> None:
        self._text = text


def tags_as_text(tags: bytes) -> bytes:
    """``XX:T:value`` of every tag of a BAM record but arrays, parted by tabs; ends before the first damaged one."""
    found: list[bytes] = []
    at = 0
    while at + 3 < len(tags):
        name, code = tags[at : at + 2], chr(tags[at + 2])
        at += 3
        if number := _NUMBERS.get(code):
            if at + number.size > len(tags):
                break
            value = number.unpack_from(tags, at)[0]
            found.append(b"%b:f:%b" % (name, f"{value:g}".encode()) if code == "f" else b"%b:i:%d" % (name, value))
            at += number.size
        elif code == "A":
            found.append(b"%b:A:%b" % (name, tags[at : at + 1]))
            at += 1
        elif code in "ZH" and (end := tags.find(b"\0", at)) >= 0:
            found.append(b"%b:%b:%b" % (name, code.encode(), tags[at:end]))
            at = end + 1
        elif code == "B" and (item := _NUMBERS.get(chr(tags[at]))) and at + 5 <= len(tags):
            at += 5 + item.size * int.from_bytes(tags[at + 1 : at + 5], "little")
        else:
            break
    return b"\t".join(found)


def read_bam(stream: Stream) -> Iterator[Chunk]:
    """Reads of a BAM stream, in order, without secondary and supplementary alignments.

    Reads on the reverse strand come out as sequenced; qualities above 93 as 93. Offsets count decompressed bytes.
    Raises `TruncatedError` or `FormatError` after all whole reads.
    """
    return filter(None, gathered(_reads(stream)))


def _reads(stream: Stream) -> Iterator[Read | None]:
    """The reads, and ``None`` before the stream is asked for more."""
    source = stream.name
    groups: Groups | None = None
    rest = b""
    offset = record = 0
    while (data := stream.more(rest)) is not None:
        at = 0
        if groups is None:
            at = _header_end(data, source)
            if at < 0:
                rest = data
                continue
            groups = read_groups(data[8 : 8 + int.from_bytes(data[4:8], "little")])
        while at + _FIXED.size <= len(data):
            size, _, _, name_length, _, _, cigar, flag, length, _, _, _ = _FIXED.unpack_from(data, at)
            name = at + _FIXED.size
            packed = name + name_length + 4 * cigar
            scores = packed + (length + 1) // 2
            end = at + 4 + size
            if length < 0 or not name_length or scores + length > end or size > stream.limit:
                raise FormatError(
                    source, "a BAM record contradicts its own length", record=record, offset=offset + at, remedy=DAMAGED
                )
            if end > len(data):
                break
            if data[packed - 4 * cigar - 1]:
                raise FormatError(source, "a read name has no end", record=record, offset=offset + at, remedy=DAMAGED)
            if not flag & SKIPPED:
                sequence = _PAIRS[np.frombuffer(data, np.uint8, scores - packed, packed)].tobytes()[:length]
                quality = (
                    b"" if data[scores : scores + 1] == b"\xff" else data[scores : scores + length].translate(_PHRED)
                )
                if flag & REVERSE:
                    sequence, quality = sequence.translate(COMPLEMENT)[::-1], quality[::-1]
                yield BamRead(
                    str(data[name : name + name_length - 1], "utf-8", "backslashreplace"),
                    sequence,
                    quality if length else b"",
                    data[scores + length : end],
                    source,
                    record,
                    offset + at,
                    groups,
                )
            record += 1
            at = end
        rest = data[at:]
        offset += at
        yield None
    if stream.damage is not None:
        raise stream.damage.error(source, record, offset)
    if rest or groups is None:
        raise TruncatedError(
            source, "the BAM data ends in the middle of a record", record=record, offset=offset, remedy=CUT
        )


def _header_end(data: bytes, source: str) -> int:
    """Where the first record starts, or -1 if ``data`` does not hold all of the header. Raises `FormatError`."""
    text = int.from_bytes(data[4:8], "little", signed=True)
    at = 12 + text
    if len(data) < 8 or (text >= 0 and len(data) < at):
        return -1
    references = int.from_bytes(data[at - 4 : at], "little", signed=True)
    if text < 0 or references < 0:
        raise FormatError(source, "the BAM header has a negative length", record=0, offset=0, remedy=DAMAGED)
    for _ in range(references):
        length = int.from_bytes(data[at : at + 4], "little", signed=True)
        if len(data) >= at + 4 and length < 1:
            raise FormatError(
                source, "the BAM header has a reference without a name", record=0, offset=at, remedy=DAMAGED
            )
        if len(data) < at + 8 + length:
            return -1
        at += 8 + length
    return at
