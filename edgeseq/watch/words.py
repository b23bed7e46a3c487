"""The three answers in words: the same on the page, in the terminal, in reports and in files."""

from __future__ import annotations

from edgeseq.watch.evidence import Answer

NOT_ASKED = "not asked"


def answer_words(answer: Answer | str, reads: int, *, least: float | None = None) -> str:
    """What is said of a class at so many reads; with ``least``, that it is ruled out at that share as well."""
    if answer == Answer.NO_DATA:
        return "no data yet"
    if answer == Answer.DETECTED:
        return f"detected, at {count(reads)}"
    words = f"not detected at {count(reads)}"
    return words if least is None else f"{words}; below {share_words(least)} of them"


def count(reads: int, noun: str = "read") -> str:
    """``1 read``, ``2,000 reads``."""
    return f"{reads:,} {noun}{'' if reads == 1 else 's'}"


def share_words(share: float) -> str:
    """A share as per cent, to two digits that matter."""
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %"
