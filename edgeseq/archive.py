"""The container of a bundle: a zip with stored members, in one canonical form.

`pack` has one answer for the same members, whatever the machine and the Python version, and `unpack` takes back only
that answer: no compression (so no zip bomb), no encryption, no links, no second name for a member, nothing before,
between or behind. Any zip tool can list and extract such a file; what a tool writes is refused.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

from edgeseq.errors import BundleDamagedError

LIMIT = 2**31 - 1
"""Largest file, in bytes: the container has 32-bit sizes, and so has the graph."""

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_VERSION = 20
_UNIX = 3 << 8 | _VERSION
_DATE = 1 << 5 | 1  # 1980-01-01, the first day that a zip can name
_REGULAR = 0o100644 << 16
_STORED = 0
_ENCRYPTED = 0x1
_LINK, _KIND = 0o120000, 0o170000


def pack(members: Mapping[str, bytes]) -> bytes:
    """A zip of ``members`` in their order.

    Raises ValueError for a name that `unpack` would refuse or for more than `LIMIT` bytes.
    """
    parts: list[bytes] = []
    central: list[bytes] = []
    offset = 0
    for name, data in members.items():
        problem = _unsafe(name)
        if problem:
            raise ValueError(problem)
        local, entry = _headers(name.encode("ascii"), zlib.crc32(data), len(data), offset)
        parts += (local, data)
        central.append(entry)
        offset += len(local) + len(data)
        if offset > LIMIT:
            raise ValueError(f"more than {LIMIT} bytes")
    directory = b"".join(central)
    end = _END.pack(b"PK\x05\x06", 0, 0, len(central), len(central), len(directory), offset, 0)
    return b"".join((*parts, directory, end))


def unpack(data: bytes, source: str) -> dict[str, bytes]:
    """Name → bytes of every member, in the order of the file.

    Raises BundleDamagedError, which names ``source`` and the member, for anything that `pack` would have written
    otherwise.
    """
    if data[:4] != b"PK\x03\x04":
        raise BundleDamagedError(
            source, "the file is empty" if not data else "not a bundle: it does not start as a zip"
        )
    members: dict[str, bytes] = {}
    expected: list[bytes] = []
    offset = 0
    while data[offset : offset + 4] == b"PK\x03\x04":
        name, end, entry = _read_member(data, offset, source)
        if name in members:
            raise BundleDamagedError(source, "the member occurs twice", member=name)
        members[name] = data[end - _size(entry) : end]
        expected.append(entry)
        offset = end
    _check_directory(data, offset, list(members), expected, source)
    return members


def _headers(name: bytes, crc: int, size: int, offset: int) -> tuple[bytes, bytes]:
    shared = (_VERSION, 0, _STORED, 0, _DATE, crc, size, size, len(name), 0)
    local = _LOCAL.pack(b"PK\x03\x04", *shared) + name
    central = _CENTRAL.pack(b"PK\x01\x02", _UNIX, *shared, 0, 0, 0, _REGULAR, offset) + name
    return local, central


def _size(entry: bytes) -> int:
    size: int = _CENTRAL.unpack_from(entry)[9]
    return size


def _unsafe(name: str) -> str:
    """Why ``name`` cannot be a member's name; empty if it can."""
    if not name or not name.isascii() or not name.isprintable():
        return f"the name {name!r} is not printable ASCII"
    if "/" in name or "\\" in name or ":" in name or name in (".", ".."):
        return f"the name {name!r} leads out of the bundle"
    return ""


def _read_member(data: bytes, offset: int, source: str) -> tuple[str, int, bytes]:
    """Name, end and canonical directory entry of the member whose header is at ``offset``."""
    if len(data) < offset + _LOCAL.size:
        raise BundleDamagedError(source, f"the file ends inside a header, at byte {len(data)}")
    _, _, flags, method, _, _, crc, packed, size, name_size, extra_size = _LOCAL.unpack_from(data, offset)
    start = offset + _LOCAL.size
    name = data[start : start + name_size].decode("utf-8", "backslashreplace")
    problem = _unsafe(name)
    if problem:
        raise BundleDamagedError(source, problem)
    if flags & _ENCRYPTED:
        raise BundleDamagedError(source, "the member is encrypted", member=name)
    if method != _STORED or packed != size:
        raise BundleDamagedError(
            source, "the member is compressed; a bundle stores its members as they are", member=name
        )
    start += name_size + extra_size
    if start + size > len(data):
        raise BundleDamagedError(
            source, f"the member declares {size} bytes, the file ends after {max(len(data) - start, 0)}", member=name
        )
    if zlib.crc32(memoryview(data)[start : start + size]) != crc:
        raise BundleDamagedError(source, "the member is damaged: its checksum differs", member=name)
    local, entry = _headers(name.encode("ascii"), crc, size, offset)
    if data[offset:start] != local:
        raise BundleDamagedError(source, "the member's header is not one that edgeseq writes", member=name)
    return name, start + size, entry


def _check_directory(data: bytes, offset: int, names: list[str], expected: list[bytes], source: str) -> None:
    """The directory says of the members what their own headers say, and nothing follows it."""
    start = offset
    for name, entry in zip(names, expected, strict=True):
        found = data[offset : offset + len(entry)]
        if len(found) < len(entry):
            raise BundleDamagedError(source, f"the file ends inside its directory, at byte {len(data)}", member=name)
        if found != entry:
            kind = _CENTRAL.unpack_from(found)[15] >> 16 & _KIND
            problem = "the member is a link" if kind == _LINK else "the directory entry is damaged"
            raise BundleDamagedError(source, problem, member=name)
        offset += len(entry)
    if data[offset : offset + 4] == b"PK\x01\x02":
        raise BundleDamagedError(source, "the directory names a member that the file does not hold")
    end = _END.pack(b"PK\x05\x06", 0, 0, len(names), len(names), offset - start, start, 0)
    if data[offset : offset + len(end)] != end:
        raise BundleDamagedError(
            source, "the file ends early" if len(data) < offset + len(end) else "its end is damaged"
        )
    if len(data) > offset + len(end):
        raise BundleDamagedError(source, f"{len(data) - offset - len(end)} bytes follow the end of the bundle")
