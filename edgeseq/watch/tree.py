"""Which files lie below the watched folders now."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeseq.folder import MARKER, natural, passing

HEAD = 1024
"""Bytes at the start of a file by which it is known again."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as the file system shows it. ``relative`` is its path below ``root``, with ``/`` between the parts."""

    root: str
    relative: str
    device: int
    inode: int
    size: int
    changed: float
    """When it was last written to, seconds since 1970."""

    @property
    def path(self) -> str:
        """Where it can be opened."""
        return str(Path(self.root, self.relative))


def scan(roots: Sequence[str], report: Callable[[str, OSError], None]) -> Iterator[Seen]:
    """The regular files below the roots, in the order of their names, numbers in numeric order.

    Left out: hidden and temporary names, and every folder that edgeseq itself writes to, at any depth. A root that is
    not there yet has no files. ``report`` is called with each folder that cannot be listed.
    """
    entered: set[tuple[int, int]] = set()
    for root in roots:
        yield from _scan(root, "", entered, report)


def fingerprint(path: str, length: int) -> str:
    """The hash of the first ``length`` bytes of a file; empty where it has fewer or cannot be read."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(length)
    except OSError:
        return ""
    return hashlib.sha256(head).hexdigest() if len(head) == length else ""


def _scan(
    root: str, below: str, entered: set[tuple[int, int]], report: Callable[[str, OSError], None]
) -> Iterator[Seen]:
    folder = Path(root, below)
    try:
        status = folder.stat()
        if not stat.S_ISDIR(status.st_mode) or (status.st_dev, status.st_ino) in entered:
            return
        entered.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: natural(entry.name))
    except FileNotFoundError:
        return
    except OSError as error:
        report(str(folder), error)
        return
    if any(entry.name == MARKER for entry in entries):
        return
    for entry in entries:
        if passing(entry.name):
            continue
        relative = f"{below}/{entry.name}" if below else entry.name
        try:
            status = entry.stat()
        except OSError:
            continue
        if stat.S_ISDIR(status.st_mode):
            yield from _scan(root, relative, entered, report)
        elif stat.S_ISREG(status.st_mode):
            yield Seen(root, relative, status.st_dev, status.st_ino, status.st_size, status.st_mtime)
