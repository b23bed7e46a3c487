"""FASTQ and FASTA: bytes → chunks of reads.

The lines of a whole piece of FASTQ are found and checked with numpy; reads are cut out of it only for those who ask.
What is not a plain four-line record (wrapped lines, blank lines, damage) goes through `_record`, one record at a time,
which accepts it or says what is wrong. A damaged place is never skipped over: reading stops there with an error.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgeseq.chunks import Chunk, gathered
from edgeseq.errors import FormatError, TruncatedError
from edgeseq.headers import barcodes
from edgeseq.read import Read
from edgeseq.stream import CHUNK, Stream

RESIDUES = string.ascii_letters.encode() + b"*-."
"""What a sequence is made of."""
_PRINTABLE = bytes(range(33, 128))
_HEADER = b"\t" + bytes(range(32, 256))
_SHAPE = bytes(code if code in b"\r\n" else 120 for code in range(256))
_HEADER_LIMIT = 1 << 26
_MORE = -1
_NOT = -2
_CUT = "the file was cut, or is still being written: copy it again, or wait until it is complete"
_DAMAGED = "the file is damaged here: copy it again, or remove this record"


class FastqChunk(Chunk):
    """Reads of plain four-line records, as places in the text that holds them.

    ``bounds`` has a row for each: start and end of the header line (without ``@``), of the sequence and of the quality.
    """

    def __init__(
        self, text: bytes, bounds: NDArray[np.int64], letters: bytes, source: str, record: int, offset: int
    ) -> None:
        """``record`` and ``offset`` belong to the first record and to the first byte of ``text``."""
        self.letters = letters
        self.lengths = bounds[:, 3] - bounds[:, 2]
        self._text = text
        self._bounds = bounds
        self._source = source
        self._record = record
        self._offset = offset

    def __getitem__(self, number: int) -> Read:
        (read,) = self._cut(range(len(self))[number], 1)
        return read

    def __iter__(self) -> Iterator[Read]:
        return self._cut(0, len(self))

    def ids(self) -> list[str]:
        return str(b"\n".join(self._names[0]), "utf-8", "backslashreplace").split("\n")

    def sources(self) -> list[str]:
        return [self._source] * len(self)

    def barcodes(self) -> list[str]:
        return barcodes(self._names[1], self._source)

    @cached_property
    def _names(self) -> tuple[list[bytes], list[bytes]]:
        """The ids and the descriptions."""
        lines = _parts(self._text, self._bounds[:, 0], self._bounds[:, 1])
        if b"\t" in b"".join(lines):
            both = [split_name(line) for line in lines]
            return [read_id for read_id, _ in both], [description for _, description in both]
        parts = [line.partition(b" ") for line in lines]
        return [read_id for read_id, _, _ in parts], [description for _, _, description in parts]

    def _cut(self, first: int, count: int) -> Iterator[Read]:
        """So many reads, from the ``first`` on."""
        text = self._text
        for number, bounds in enumerate(self._bounds[first : first + count].tolist(), self._record + first):
            begin, name_end, start, end, quality_start, quality_end = bounds
            read_id, description = split_name(text[begin:name_end])
            yield Read(
                str(read_id, "utf-8", "backslashreplace"),
                text[start:end],
                text[quality_start:quality_end],
                description,
                self._source,
                number,
                self._offset + begin - 1,
            )


def read_fastq(stream: Stream, offset: int = 0) -> Iterator[Chunk]:
    """Reads of a FASTQ stream whose first byte is at ``offset``, in order.

    Lines end with LF or CRLF, the last one with either or nothing. Sequence and quality may be wrapped alike, or the
    sequence alone. Blank lines between records are passed over. Raises `TruncatedError` or `FormatError` after
    all whole reads; where the stream itself is damaged, a record without its line end is not whole.
    """
    return filter(None, gathered(_fastq(stream, offset)))


def _fastq(stream: Stream, offset: int) -> Iterator[Read | Chunk | None]:
    """The reads, and ``None`` before the stream is asked for more."""
    source = stream.name
    rest = b""
    record = 0
    while (data := stream.more(rest)) is not None:
        at = 0
        if len(rest) <= CHUNK:
            bounds, letters, at = _plain(data)
            if len(bounds):
                yield FastqChunk(data, bounds, letters, source, record, offset)
                record += len(bounds)
        while True:
            at = _past_blank_lines(data, at)
            found = _record(data, at, _Place(source, record, offset + at))
            if found is None:
                break
            read, at = found
            yield read
            record += 1
        yield None
        rest = data[at:]
        offset += at
    if stream.damage is not None:
        raise stream.damage.error(source, record, offset)
    while rest:
        found = _record(rest, 0, _Place(source, record, offset, final=True))
        if found is None:
            return
        read, at = found
        yield read
        record += 1
        offset += at
        rest = rest[_past_blank_lines(rest, at) :]


def read_fasta(stream: Stream, offset: int = 0) -> Iterator[Chunk]:
    """Reads of a FASTA stream whose first byte is at ``offset``, in order; sequences are joined over their lines.

    A record is whole when the next one starts or the stream ends cleanly. Raises as `read_fastq` does.
    """
    return filter(None, gathered(_fasta(stream, offset)))


def _fasta(stream: Stream, offset: int) -> Iterator[Read | None]:
    """The reads, and ``None`` before the stream is asked for more."""
    source = stream.name
    rest = b""
    record = 0
    while (data := stream.more(rest)) is not None:
        at = _past_blank_lines(data, 0)
        seek = max(at, len(rest) - 1)
        while (end := data.find(b"\n>", seek)) >= 0:
            yield _entry(data[at : end + 1], source, record, offset + at)
            record += 1
            at = seek = end + 1
        yield None
        rest = data[at:]
        offset += at
    if stream.damage is not None:
        raise stream.damage.error(source, record, offset)
    if rest:
        yield _entry(rest, source, record, offset)


def split_name(name: bytes) -> tuple[bytes, bytes]:
    """The id and the description of a header line: what stands before and after its first space or tab."""
    head, tab, tail = name.partition(b"\t")
    read_id, space, middle = head.partition(b" ")
    return (read_id, middle + tab + tail) if space else (read_id, tail)


def _plain(data: bytes) -> tuple[NDArray[np.int64], bytes, int]:
    """The leading plain four-line records of ``data``: their bounds (see `FastqChunk`), letters, and where they end."""
    bounds = _layout(data)
    sequences = _parts(data, bounds[:, 2], bounds[:, 3])
    letters = b"".join(sequences)
    if letters.translate(None, RESIDUES):
        odd = next(number for number, sequence in enumerate(sequences) if sequence.translate(None, RESIDUES))
        bounds, letters = bounds[:odd], b"".join(sequences[:odd])
    if b" " in data:
        bounds, letters = _without_spaces(data, bounds, letters)
    return bounds, letters, data.find(b"\n", int(bounds[-1, 5])) + 1 if len(bounds) else 0


def _without_spaces(data: bytes, bounds: NDArray[np.int64], letters: bytes) -> tuple[NDArray[np.int64], bytes]:
    """The records before the first one with a space in its quality, and their letters."""
    spaces = np.flatnonzero(np.frombuffer(data, np.int8) == 32)
    before = np.searchsorted(spaces, bounds[:, 4:6])
    holds = before[:, 0] < before[:, 1]
    if not holds.any():
        return bounds, letters
    odd = int(np.argmax(holds))
    return bounds[:odd], letters[: int((bounds[:odd, 3] - bounds[:odd, 2]).sum())]


def _parts(data: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> list[bytes]:
    return [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def _layout(data: bytes) -> NDArray[np.int64]:
    """Where the leading four-line records of ``data`` stand; see `FastqChunk`.

    They stop before the first record that is incomplete or irregular; residues, and spaces in qualities, are not
    looked at.
    """
    codes = np.frombuffer(data, np.int8)
    special = np.flatnonzero(codes < 32)
    kinds = codes[special]
    lines = special if (kinds == 10).all() else special[kinds == 10]
    count = len(lines) // 4
    if not count:
        return np.empty((0, 6), np.int64)
    ends = lines[: 4 * count].reshape(count, 4)
    starts = np.empty_like(ends)
    starts[0, 0] = 0
    starts[:, 1:] = ends[:, :3] + 1
    starts[1:, 0] = ends[:-1, 3] + 1
    fine = np.ones(count, np.bool_)
    if len(lines) < len(special):
        ends = ends - (codes[ends - 1] == 13)
        fine[_irregular(codes, special[kinds != 10], lines[: 4 * count])] = False
    fine &= (codes[starts[:, 0]] == 64) & (codes[starts[:, 2]] == 43)
    fine &= codes[np.minimum(starts[:, 0] + 1, len(codes) - 1)] > 32
    fine &= ends[:, 1] - starts[:, 1] == ends[:, 3] - starts[:, 3]
    regular = count if fine.all() else int(np.argmin(fine))
    columns = (starts[:, 0] + 1, ends[:, 0], starts[:, 1], ends[:, 1], starts[:, 3], ends[:, 3])
    return np.stack(columns, axis=1)[:regular]


def _irregular(codes: NDArray[np.int8], special: NDArray[np.intp], lines: NDArray[np.intp]) -> NDArray[np.intp]:
    """Indices of the four-line records with a byte that may not stand where it does: controls, or text beyond ASCII."""
    following = codes[np.minimum(special + 1, len(codes) - 1)]
    kinds = codes[special]
    line = np.searchsorted(lines, special)
    odd = ~((kinds == 13) & (following == 10)) & ~((line % 2 == 0) & ((kinds == 9) | (kinds < 0)))
    return np.unique(line[odd & (line < len(lines))] // 4)


def _past_blank_lines(data: bytes, at: int) -> int:
    while data[at : at + 1] in (b"\n", b"\r"):
        at += 1
    return at


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a record starts, and whether its data is all that there is (``final``)."""

    source: str
    record: int
    offset: int
    final: bool = False

    def broken(self, problem: str) -> FormatError:
        """The error for a record that no further data can mend."""
        return FormatError(self.source, problem, record=self.record, offset=self.offset, remedy=_DAMAGED)

    def cut(self, problem: str) -> tuple[Read, int] | None:
        """``None``: more data is needed. Raises `TruncatedError` if there is none."""
        if self.final:
            raise TruncatedError(self.source, problem, record=self.record, offset=self.offset, remedy=_CUT)
        return None


def _record(data: bytes, at: int, place: _Place) -> tuple[Read, int] | None:
    """The FASTQ record at ``at`` and where it ends, or ``None`` if ``data`` does not hold all of it.

    Raises `TruncatedError` (only if the place is final) or `FormatError`.
    """
    if at >= len(data):
        return None
    if data[at] != 64:
        raise place.broken(f"a FASTQ record starts with {data[at : at + 1]!r}, not with '@'")
    name, name_end = _header_line(data, at + 1, place)
    if name_end < 0:
        return place.cut("the file ends in a header line")
    read_id, description = split_name(name)
    if not read_id:
        raise place.broken("the record has no read id")
    plus = data.find(b"\n+", name_end - 1)
    raw = data[name_end : plus if plus >= 0 else len(data)].removesuffix(b"\r")
    sequence = raw.translate(None, b"\r\n")
    if odd := sequence.translate(None, RESIDUES):
        raise place.broken(f"the sequence holds {odd[:1]!r}, or its '+' line is missing")
    if plus < 0:
        return place.cut("the file ends in a sequence, before its '+' line")
    _, start = _header_line(data, plus + 2, place)
    if start < 0:
        return place.cut("the file ends in a '+' line")
    after = max(_quality_end(data, start, shape, place.final) for shape in (raw, sequence))
    if after < 0:
        length = len(data[start:].split(b"\n", 1)[0].removesuffix(b"\r"))
        if after == _MORE:
            return place.cut(f"the file ends in a quality, {length} characters of its line for {len(sequence)} bases")
        raise place.broken(f"a quality line of {length} characters follows a sequence of {len(sequence)} bases")
    quality = data[start:after].translate(None, b"\r\n")
    if odd := quality.translate(None, _PRINTABLE):
        raise place.broken(f"the quality holds {odd[:1]!r}")
    text = str(read_id, "utf-8", "backslashreplace")
    return Read(text, sequence, quality, description, place.source, place.record, place.offset), after


def _header_line(data: bytes, at: int, place: _Place) -> tuple[bytes, int]:
    """The header or '+' line at ``at`` without its end, and where the next line starts, or -1."""
    end = data.find(b"\n", at)
    line = data[at : end if end >= 0 else len(data)].removesuffix(b"\r")
    if line.translate(None, _HEADER) or len(line) > _HEADER_LIMIT:
        raise place.broken("a header line holds control characters or is endless")
    return line, end + 1 if end >= 0 else -1


def _quality_end(data: bytes, start: int, shape: bytes, final: bool) -> int:
    """Where the quality at ``start``, broken into lines as ``shape`` is, ends; `_MORE` or `_NOT` where it does not."""
    want = shape.translate(_SHAPE)
    have = data[start : start + len(want)].translate(_SHAPE)
    if not want.startswith(have):
        same = next(index for index, pair in enumerate(zip(want, have, strict=False)) if pair[0] != pair[1])
        short = have[same] != 120 and _past_blank_lines(data, start + same) == len(data)
        return _MORE if short else _NOT
    end = start + len(have)
    tail = data[end : end + 2]
    if len(have) < len(want):
        return _MORE
    if tail[:1] == b"\n" or tail == b"\r\n":
        return end + tail.index(b"\n") + 1
    if tail in (b"", b"\r"):
        return len(data) if final else _MORE
    return end if not want and tail[:1] == b"@" else _NOT


def _entry(entry: bytes, source: str, record: int, offset: int) -> Read:
    """The read of one FASTA record, its header line included. Raises `TruncatedError` or `FormatError`."""
    name, end, body = entry.partition(b"\n")
    name = name.removesuffix(b"\r")
    sequence = body.translate(None, b"\r\n")
    problem = ""
    if name[:1] != b">":
        problem = f"a FASTA record starts with {name[:1]!r}, not with '>'"
    elif name.translate(None, _HEADER):
        problem = "the header line holds control characters"
    elif odd := sequence.translate(None, RESIDUES):
        problem = f"the sequence holds {odd[:1]!r}"
    if problem:
        raise FormatError(source, problem, record=record, offset=offset, remedy=_DAMAGED)
    if not end:
        raise TruncatedError(source, "the file ends in a header line", record=record, offset=offset, remedy=_CUT)
    read_id, description = split_name(name[1:])
    if not read_id:
        raise FormatError(source, "the record has no read id", record=record, offset=offset, remedy=_DAMAGED)
    return Read(str(read_id, "utf-8", "backslashreplace"), sequence, b"", description, source, record, offset)
