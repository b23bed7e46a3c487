"""What keeps a checkpoint from being pruned."""

from __future__ import annotations

from edgeseq.errors import EdgeseqError


class PruneError(EdgeseqError):
    """A cut that cannot be made: ``what`` was asked for, the reason, and what to do instead."""

    def __init__(self, what: str, problem: str, *, remedy: str = "") -> None:
        super().__init__(what, problem, remedy)
        self.what = what
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        sentence = f"{self.what}: {self.problem}"
        return f"{sentence}; {self.remedy}" if self.remedy else sentence
