"""Which files of a folder may hold reads, and in which order."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from edgeseq.errors import ReadError

MARKER = ".edgeseq-output"
"""A folder that holds a file of this name was written by edgeseq: a walk that started above does not enter it."""
_TEMPORARY = (".tmp", ".temp", ".part", ".partial", ".crdownload", "~")


def read_files(folder: str, *, on_error: Callable[[ReadError], None] | None = None) -> Iterator[str]:
    """Paths of the files of a folder and of the folders in it, names with numbers in numeric order.

    Left out: names that start with a dot or look temporary, folders that hold `MARKER`, what is not a regular file.
    Links are followed; no folder is entered twice. What cannot be listed goes to ``on_error``, or raises `ReadError`.
    """
    root = Path(folder)
    stack = [root]
    seen: set[tuple[int, int]] = set()
    while stack:
        path = stack.pop()
        try:
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                yield str(path)
            elif stat.S_ISDIR(status.st_mode) and (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                entries = sorted(path.iterdir(), key=lambda entry: natural(entry.name), reverse=True)
                if path == root or all(entry.name != MARKER for entry in entries):
                    stack += [entry for entry in entries if not passing(entry.name)]
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not path.is_symlink():
                continue
            problem = unreadable(str(path), error)
            if on_error is None:
                raise problem from error
            on_error(problem)


def natural(name: str) -> tuple[list[str | int], str]:
    """A sort key that puts ``reads_9`` before ``reads_10``."""
    return [int(part) if index % 2 else part for index, part in enumerate(re.split(r"([0-9]+)", name))], name


def unreadable(path: str, error: OSError) -> ReadError:
    """The error for a path that the operating system does not open."""
    problem = f"cannot be opened: {error.strerror or error}"
    return ReadError(path, problem, record=0, offset=0, remedy="check the path and its permissions")


def passing(name: str) -> bool:
    """Whether a name is hidden or temporary."""
    return name.startswith(".") or name.endswith(_TEMPORARY)
