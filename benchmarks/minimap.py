"""minimap2 on a panel's own genomes, through mappy: an index on disk, and the class of each read's best hit."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.reference import Genomes, digest, write_fasta

PRESET = "map-ont"


def available() -> bool:
    """Whether mappy is installed."""
    return find_spec("mappy") is not None


def version() -> str:
    """The version of mappy, which is that of the minimap2 inside."""
    import mappy

    return str(mappy.__version__)


def index(work: Path, genomes: Genomes) -> Path:
    """An index of all genomes, made in ``work`` or found there from an earlier run. Contigs are named LABEL|NUMBER."""
    import mappy

    path = work / f"minimap2-{digest(genomes, version())}.mmi"
    if not path.exists():
        fasta, draft = path.with_suffix(".fasta"), path.with_suffix(".tmp")
        write_fasta(fasta, genomes, lambda label, number: f"{label}|{number}")
        if not mappy.Aligner(str(fasta), preset=PRESET, fn_idx_out=str(draft)):
            raise RuntimeError("the index was not built")
        fasta.unlink()
        draft.rename(path)
    return path


def aligner(path: Path) -> Any:
    """An aligner over an index. Raises FileNotFoundError where there is none."""
    import mappy

    found = mappy.Aligner(str(path), preset=PRESET, best_n=1)
    if not found:
        raise FileNotFoundError(path)
    return found


def best_hit(aligner: Any, sequence: str) -> tuple[str, int]:
    """Label and matching bases of the hit with most of these; an empty label and 0 without a hit."""
    best = max(aligner.map(sequence), key=_matches, default=None)
    return (best.ctg.rpartition("|")[0], _matches(best)) if best is not None else ("", 0)


def _matches(hit: Any) -> int:
    return int(hit.mlen)
