"""The log of the daemon, on standard error: for people as lines with a time, for journald with priorities."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

ROOT = "edgeseq"
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7))
"""The least level → priority of syslog."""


@contextmanager
def logged(level: str, stream: TextIO | None = None, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """Meanwhile, all that this package logs at ``level`` or above goes to ``stream`` (default: standard error)."""
    stream = sys.stderr if stream is None else stream
    logger = logging.getLogger(ROOT)
    before = logger.handlers[:], logger.propagate, logger.level
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_ForJournald() if is_journald(stream, environment) else _ForPeople())
    logger.handlers, logger.propagate = [handler], False
    set_level(level)
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before[:2]
        logger.setLevel(before[2])


def set_level(level: str) -> None:
    """The least level that is logged, from now on."""
    logging.getLogger(ROOT).setLevel(level.upper())


def is_journald(stream: TextIO, environment: Mapping[str, str] | None = None) -> bool:
    """Whether journald reads the stream: ``JOURNAL_STREAM`` names its device and inode."""
    named = (os.environ if environment is None else environment).get("JOURNAL_STREAM", "")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


class _ForJournald(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), 7)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines() or [""])


class _ForPeople(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.levelno < logging.WARNING:
            return f"edgeseq: {text}"
        return f"edgeseq: {record.levelname.lower()}: {text}"
