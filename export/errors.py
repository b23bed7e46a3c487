"""What keeps a checkpoint from becoming a bundle, as one tree under `edgeseq.errors.EdgeseqError`.

EdgeseqError
└── ExportError
    ├── CheckpointError       a file is missing, damaged, or holds something other than plain tensors
    │   └── TensorsError      tensors are missing, unexpected, of another shape, or not finite
    ├── FamilyError           no family is known for the checkpoint, or it cannot do what was asked
    └── ParityError           the graph does not give what the module gives
"""

from __future__ import annotations

from edgeseq.errors import EdgeseqError


class ExportError(EdgeseqError):
    """Base of all errors of making a bundle. ``source`` names the file or folder, ``remedy`` what to do."""

    def __init__(self, source: object, problem: str, *, remedy: str = "") -> None:
        super().__init__(str(source), problem, remedy)
        self.source = str(source)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        sentence = f"{self.source}: {self.problem}"
        return f"{sentence}; {self.remedy}" if self.remedy else sentence


class CheckpointError(ExportError):
    """A checkpoint's files cannot be read as plain data."""


class TensorsError(CheckpointError):
    """A checkpoint's tensors are not those that its configuration asks for."""


class FamilyError(ExportError):
    """No family is known for a checkpoint, or its family cannot do what was asked."""


class ParityError(ExportError):
    """A graph and the module that it was made from disagree, or the graph is not what the device needs."""
