"""edgeseq: from a trained genomic model to a decision beside the sequencer.

    import edgeseq

    with edgeseq.load() as scorer:
        for prediction in scorer.score(edgeseq.open_reads("reads.fastq.gz")):
            print(prediction.read.id, prediction.decision.label)

The names below are imported on first use: ``import edgeseq`` loads no engine and no file-format library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeseq.bundle import read_bundle
    from edgeseq.errors import EdgeseqError
    from edgeseq.prediction import Prediction
    from edgeseq.read import Read
    from edgeseq.reads import open_reads
    from edgeseq.scorer import Scorer, load

__version__ = "0.1.0"

__all__ = [
    "EdgeseqError",
    "Prediction",
    "Read",
    "Scorer",
    "__version__",
    "load",
    "open_reads",
    "read_bundle",
]

_HOME = {
    "EdgeseqError": "edgeseq.errors",
    "Prediction": "edgeseq.prediction",
    "Read": "edgeseq.read",
    "Scorer": "edgeseq.scorer",
    "load": "edgeseq.scorer",
    "open_reads": "edgeseq.reads",
    "read_bundle": "edgeseq.bundle",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'edgeseq' has no attribute {name!r}")
    value: object = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
