"""The files that are followed: new ones, renamed ones, ones that went away and came back.

A file is known by device, inode and the hash of its first bytes, under its path below the watched folder; never by its
name alone. A file that was replaced or cut is read again from its start: reads that were scored before are known by
their identity and add nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from edgeseq.errors import ReadError
from edgeseq.watch.follow import Follower, Gained
from edgeseq.watch.journal import Journal, Source
from edgeseq.watch.tree import HEAD, Seen, fingerprint, scan

QUIET = 10.0
"""Seconds without a new byte after which a file counts as complete; a FASTA file's last record is whole only then."""


@dataclass(slots=True)
class Followed:
    """A file, how far the journal has it, and who reads it. Times are of the monotonic clock."""

    source: Source
    follower: Follower
    size: int = 0
    grown: float = field(default_factory=time.monotonic)
    """When it last had new bytes."""
    before: int = 0
    """Bytes that were there when the daemon started: they are read as they come, and never count as late."""
    waiting_since: float | None = None
    """When the oldest of the bytes that were not read yet was seen, or nothing if there is none."""
    present: bool = True
    ended: bool = False
    """It is damaged or was finished: nothing more is read."""

    @property
    def backlog(self) -> int:
        """Bytes of the file that were not read yet."""
        return 0 if self.ended or not self.present else max(0, self.size - self.follower.read_at)

    def age(self, now: float) -> float:
        """Seconds for which the oldest bytes that were not read yet have been waiting."""
        return 0.0 if self.waiting_since is None else now - self.waiting_since

    def clock(self, now: float) -> None:
        """Starts the clock for bytes that wait, and stops it when all that were seen have been read."""
        late = not self.ended and self.present and self.size > max(self.before, self.follower.read_at)
        if not late:
            self.waiting_since = None
        elif self.waiting_since is None:
            self.waiting_since = now


class Files:
    """All files below some folders. Everything that the journal should know of them goes there."""

    def __init__(self, roots: Sequence[str], journal: Journal) -> None:
        self.roots = tuple(roots)
        """What is looked through. It may be set anew at any time."""
        self._journal = journal
        self._known: dict[tuple[int, int], list[Source]] = {}
        for source in journal.sources():
            self._known.setdefault((source.device, source.inode), []).append(source)
        self._active: dict[tuple[int, int], Followed] = {}
        self._looked = 0.0
        self.unlisted: dict[str, str] = {}
        """Folder → why it could not be listed, at the last look."""

    def __iter__(self) -> Iterator[Followed]:
        """The files that are there, in the order in which they were found. Any thread may ask."""
        return iter([one for one in list(self._active.values()) if one.present])

    @property
    def backlog(self) -> int:
        """Bytes that were not read yet."""
        return sum(one.backlog for one in self)

    def look(self) -> None:
        """Brings everything up to date with the file system."""
        self.unlisted.clear()
        seen: dict[tuple[int, int], list[Seen]] = {}
        for one in scan(self.roots, lambda folder, error: self.unlisted.update({folder: str(error)})):
            seen.setdefault((one.device, one.inode), []).append(one)
        for key, followed in self._active.items():
            if key not in seen:
                followed.present = False
        for key, names in seen.items():
            self._update(key, names)
        now = time.monotonic()
        for followed in self:
            if not self._looked:
                followed.before = followed.size
            followed.clock(self._looked or now)
        self._looked = now

    def age(self) -> float:
        """Seconds for which the oldest bytes that were not read yet have been waiting."""
        now = time.monotonic()
        return max((followed.age(now) for followed in self), default=0.0)

    def damaged(self, followed: Followed, error: ReadError) -> None:
        """Keeps what is wrong with a file; it is not read any more."""
        followed.ended = True
        followed.source.problem = str(error)
        self._journal.update_source(followed.source)
        self._journal.note("damaged file", followed.follower.path, str(error))

    def _update(self, key: tuple[int, int], names: list[Seen]) -> None:
        followed = self._active.get(key)
        if followed is None:
            self._active[key] = self._begin(names[0])
            return
        now = next((one for one in names if one.path == followed.follower.path), names[0])
        grew = now.size != followed.size
        if grew and self._replaced(followed, now):
            self._journal.note("file replaced", now.path, "it is read again from its start")
            self._active[key] = self._fresh(now)
            return
        if (now.root, now.relative) != (followed.source.root, followed.source.relative):
            followed.source.root, followed.source.relative = now.root, now.relative
            followed.follower.path = now.path
            self._journal.update_source(followed.source)
        followed.present = True
        if grew:
            followed.size, followed.grown = now.size, time.monotonic()
            self._learn_head(followed, now)

    def _replaced(self, followed: Followed, now: Seen) -> bool:
        """Whether the file at a known inode is another one: shorter than what was read, or with another start."""
        source = followed.source
        return now.size < followed.follower.read_at or fingerprint(now.path, source.head) != source.fingerprint

    def _begin(self, now: Seen) -> Followed:
        """A file that was not there before: one that an earlier run of the daemon knew, or a new one."""
        for source in reversed(self._known.get((now.device, now.inode), [])):
            if source.head and fingerprint(now.path, source.head) == source.fingerprint:
                if (now.root, now.relative) != (source.root, source.relative):
                    source.root, source.relative = now.root, now.relative
                    self._journal.update_source(source)
                follower = Follower(now.path, offset=source.offset, records=source.records)
                return Followed(source, follower, now.size, ended=bool(source.problem))
        return self._fresh(now)

    def _fresh(self, now: Seen) -> Followed:
        head = min(HEAD, now.size)
        print_ = fingerprint(now.path, head)
        source = self._journal.add_source(now.root, now.relative, now.device, now.inode, head, print_)
        return Followed(source, Follower(now.path), now.size)

    def _learn_head(self, followed: Followed, now: Seen) -> None:
        """Takes more of the start of a file that was short when it was met."""
        source = followed.source
        head = min(HEAD, now.size)
        if source.head < head and (source.head == 0 or head == HEAD):
            source.head, source.fingerprint = head, fingerprint(now.path, head)
            self._journal.update_source(source)


def new_reads(followed: Followed, *, finish: bool = False) -> Iterator[Gained]:
    """What a file has gained; with ``finish``, also what counts as whole if nothing more comes. Raises `ReadError`."""
    if followed.ended:
        return
    yield from followed.follower.finish() if finish else followed.follower.poll()
    if finish:
        followed.ended = True
