"""Bytes of a source, decompressed if they are gzip, and the damage that they end with.

A gzip stream is decoded member by member with ISA-L as raw deflate; member header, checksum and length are checked
here, so that the bytes before a bad checksum are still delivered. Memory is bounded whatever the compression ratio.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from isal import igzip_lib, isal_zlib

from edgeseq.errors import FormatError, ReadError, TruncatedError, UsageError

BLOCK = 1 << 19
"""Bytes asked of a source at once."""
STEP = 1 << 15
"""Compressed bytes given to the decoder at once: what bad deflate data can cost where the source cannot go back."""
PIECE = 1 << 20
"""Most decompressed bytes handed on at once."""

MAGIC = b"\x1f\x8b"
_IsalError = cast("type[Exception]", igzip_lib.IsalError)
_HEADER_LIMIT = 1 << 18
_AGAIN = "copy the file again"
_CUT = "it was cut, or is still being written: copy it again, or wait until it is complete"


class DamageError(Exception):
    """Why a stream of bytes ends before its end. Never leaves the package: a parser turns it into a `ReadError`."""

    def __init__(self, problem: str, remedy: str = "", *, truncated: bool = False, io: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy
        self.kind: type[ReadError] = TruncatedError if truncated else ReadError if io else FormatError

    def error(self, source: str, record: int, offset: int) -> ReadError:
        """The error for users, with its place."""
        return self.kind(source, self.problem, record=record, offset=offset, remedy=self.remedy)


class _DeflateError(Exception):
    """Undecodable deflate data; ``good`` counts the compressed bytes before the step that failed."""

    def __init__(self, good: int) -> None:
        super().__init__(good)
        self.good = good


def blocks(file: BinaryIO) -> Iterator[bytes]:
    """Non-empty blocks as the file gives them, until its end; never waits for a block to fill up.

    Raises `DamageError` where the operating system cannot read on.
    """
    read = getattr(file, "read1", file.read)
    while True:
        try:
            block = read(BLOCK)
        except (OSError, ValueError) as error:
            raise DamageError(f"cannot be read: {error}", "check the disk, network share or pipe", io=True) from error
        if block is None:
            raise DamageError("has no data yet", "open it in blocking mode", io=True)
        if not isinstance(block, (bytes, bytearray, memoryview)):
            raise UsageError(f"reads need a file opened in binary mode, not one that gives {type(block).__name__}")
        if not block:
            return
        yield bytes(block)


def decompressed(file: BinaryIO) -> Iterator[bytes]:
    """Non-empty pieces of at most 1 MiB: the content of a gzip stream, or the source itself if it is no gzip stream.

    Pieces are handed on before the source is asked for more. Raises `DamageError` after the last decodable byte.
    """
    return inflated(blocks(file), file)


def inflated(source: Iterator[bytes], file: BinaryIO) -> Iterator[bytes]:
    """As `decompressed`, of blocks that come from ``file``. An empty block is handed on: nothing came for now."""
    begin = _position(file)
    head = b""
    for block in source:
        head += block
        if not block:
            yield b""
        if len(head) >= len(MAGIC):
            break
    if not head.startswith(MAGIC):
        if head == MAGIC[:1]:
            raise DamageError("the gzip data ends in the middle of a member", _CUT, truncated=True)
        if head:
            yield head
        yield from source
        return
    inflater = Inflater()
    try:
        yield from inflater.push(head)
        head = b""  # whoever waits for more of a growing file for days waits without it
        for block in source:
            if not block:
                yield b""
            yield from inflater.push(block)
    except _DeflateError as bad:
        yield from _again(file, begin, inflater, bad.good)
        raise DamageError(f"the gzip data is corrupt near compressed byte {bad.good}", _AGAIN) from bad
    inflater.close()


class Inflater:
    """Decodes a gzip stream of any number of members, block by block.

    ``position`` is the offset in the compressed stream up to which it was used, ``body`` that of the current member's
    deflate data and ``produced`` the number of bytes decoded from it.
    """

    def __init__(self) -> None:
        self.position = 0
        self.body = 0
        self.produced = 0
        self.members = 0
        self._pending = b""
        self._state = "header"
        self._bgzf = False
        self._crc = 0
        self._decoder: Any = None

    def push(self, block: bytes) -> Iterator[bytes]:
        """The bytes that ``block`` adds, 1 MiB at most at once. Raises `DamageError` or `_DeflateError` after them."""
        data = self._pending + block if self._pending else block
        out: list[bytes] = []
        size = 0
        at = 0
        try:
            while at < len(data):
                if self._state == "body":
                    step = data[at : at + STEP]
                    while True:
                        piece = self._decode(step, self.position + at)
                        if piece:
                            if size + len(piece) > PIECE:
                                yield b"".join(out)
                                out, size = [], 0
                            out.append(piece)
                            size += len(piece)
                        if self._decoder.eof or len(piece) < PIECE:
                            break
                        step = self._decoder.unconsumed_tail
                    at = min(at + STEP, len(data)) - len(self._decoder.unused_data)
                    if self._decoder.eof:
                        self._state = "trailer"
                elif self._state == "trailer":
                    if len(data) - at < 8:
                        break
                    self._check(data[at : at + 8])
                    self._decoder = None
                    at += 8
                    self._state = "padding"
                else:
                    if self._state == "padding" and data[at] == 0:
                        at = len(data) - len(data[at:].lstrip(b"\0"))
                        continue
                    after = self._header(data, at)
                    if after < 0:
                        break
                    at = after
        except (DamageError, _DeflateError):
            if out:
                yield b"".join(out)
            raise
        self.position += at
        self._pending = data[at:]
        if out:
            yield b"".join(out)

    def close(self) -> None:
        """Nothing. Raises `DamageError` where the stream does not end with a whole member (BGZF: its end block)."""
        if self._pending or self._state in ("body", "trailer") or not self.members:
            raise DamageError("the gzip data ends in the middle of a member", _CUT, truncated=True)
        if self._bgzf and self.produced:
            raise DamageError("the BGZF end block is missing", _CUT, truncated=True)

    def _decode(self, step: bytes, position: int) -> bytes:
        try:
            piece: bytes = self._decoder.decompress(step, PIECE)
        except _IsalError as error:
            raise _DeflateError(position) from error
        self._crc = isal_zlib.crc32(piece, self._crc)
        self.produced += len(piece)
        return piece

    def _check(self, trailer: bytes) -> None:
        self.members += 1
        if int.from_bytes(trailer[:4], "little") != self._crc:
            raise DamageError("the checksum of the gzip data is wrong: reads before it may hold errors", _AGAIN)
        if int.from_bytes(trailer[4:], "little") != self.produced & 0xFFFFFFFF:
            raise DamageError("the length of the gzip data is wrong: reads before it may hold errors", _AGAIN)

    def _header(self, data: bytes, at: int) -> int:
        """Where the deflate data of the member at ``at`` starts, or -1 if its header is not complete."""
        head = data[at : at + 10]
        if head[: len(MAGIC)] != MAGIC[: len(head)]:
            raise DamageError("bytes that are not gzip follow the last gzip member", _AGAIN)
        if len(head) < 10:
            return -1
        if head[2] != 8 or head[3] & 0xE0:
            raise DamageError("a gzip member has an unknown compression method", _AGAIN)
        flags, after, bgzf = head[3], at + 10, False
        if flags & 4:
            if len(data) < after + 2:
                return -1
            length = int.from_bytes(data[after : after + 2], "little")
            bgzf = data[after + 2 : after + 6] == b"BC\x02\x00"
            after += 2 + length
        for flag in (8, 16):
            if flags & flag:
                end = data.find(b"\0", after)
                if end < 0:
                    if len(data) - at > _HEADER_LIMIT:
                        raise DamageError("a gzip member has an endless header", _AGAIN)
                    return -1
                after = end + 1
        if flags & 2:
            after += 2
        if len(data) < after:
            return -1
        self._state, self._bgzf = "body", bgzf
        self._crc = self.produced = 0
        self._decoder = isal_zlib.decompressobj(wbits=-15)
        self.body = self.position + after
        return after


def _position(file: BinaryIO) -> int:
    """The offset at which a file stands, or -1 if it cannot go back."""
    try:
        return file.tell() if file.seekable() else -1
    except (OSError, AttributeError):
        return -1


def _again(file: BinaryIO, begin: int, inflater: Inflater, good: int) -> Iterator[bytes]:
    """What the step that failed holds before the damage, from a second pass over its member with zlib, byte by byte.

    ``begin`` is the offset of the stream in the file; nothing comes out where the file cannot go back.
    """
    if begin < 0:
        return
    decoder = zlib.decompressobj(-15)
    done = 0
    position = inflater.body
    try:
        file.seek(begin + position)
        while position < good + STEP:
            fine = position >= good
            step = file.read(min(STEP, good + STEP - position if fine else good - position))
            if not step:
                return
            for start in range(0, len(step), 1 if fine else STEP):
                tail = step[start : start + (1 if fine else STEP)]
                while tail:
                    piece = decoder.decompress(tail, PIECE)
                    tail = decoder.unconsumed_tail
                    done += len(piece)
                    if done > inflater.produced and piece:
                        yield piece[max(0, len(piece) - (done - inflater.produced)) :]
            position += len(step)
    except (zlib.error, OSError):
        return
