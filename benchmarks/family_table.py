"""Every golden fixture exported, and the graph compared with the golden outputs: the rows of docs/families.md.

    python benchmarks/family_table.py [FOLDER …] [--root ../shared/fixtures]

FOLDER is a checkpoint, or a folder of them, below the root; without any, all are taken. Each checkpoint is exported by
the function behind ``python -m export``, with both outputs, and its graph run by onnxruntime alone on the fixture's
ids. A row has the largest absolute difference to the golden logits and hidden states, over all recorded lengths and
batches (positions with mask 0 are not defined and left out), and the size of the graph beside that of the weights in
the checkpoint, as float32. The exit code is 1 if a checkpoint is refused or differs by more than `TOLERANCE`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.bundle import read_bundle
from edgeseq.errors import EdgeseqError
from edgeseq.session import Session
from export.checkpoint import open_checkpoint
from export.convert import Naming, convert
from export.network import ATTENTION_MASK, INPUT_IDS, Request

TOLERANCE = 5e-4
OUTPUTS = ("logits", "last_hidden_state")
CONFIGURATIONS = ("config.json", "config.yml", "config.yaml")
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Golden:
    """One recorded run: the graph's inputs and the outputs that are right."""

    inputs: Arrays
    outputs: Arrays

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Where tokens are."""
        ids = self.inputs[INPUT_IDS]
        return np.equal(self.inputs.get(ATTENTION_MASK, np.ones_like(ids)), 1)

    def difference(self, given: Arrays) -> float:
        """The largest absolute difference of any output; infinite where none can be compared."""
        gaps = [self._gap(name, given[name]) for name in OUTPUTS if name in self.outputs and name in given]
        return max(gaps, default=float("inf"))

    def _gap(self, name: str, given: NDArray[Any]) -> float:
        wanted = self.outputs[name]
        if name == "logits" and "logits_cols" in self.outputs:
            given = given[..., self.outputs["logits_cols"]]
        if given.shape != wanted.shape:
            return float("inf")
        gap = np.abs(given.astype(np.float64) - wanted)
        if gap.ndim == 3 and gap.shape[:2] == self.mask.shape:
            gap = gap[self.mask]
        return float(gap.max(initial=0.0)) if np.isfinite(gap).all() else float("inf")


def checkpoints(folder: Path) -> Iterator[Path]:
    """The checkpoints in a folder, itself included."""
    for path in sorted([folder, *(each for each in folder.rglob("*") if each.is_dir())]):
        if any((path / name).is_file() for name in CONFIGURATIONS):
            yield path


def goldens(checkpoint: Path) -> Iterator[Golden]:
    """The recorded runs of a checkpoint, in both layouts of the fixtures."""
    for path in sorted(checkpoint.glob("expected_*.npz")):
        ids = path.with_name(path.name.replace("expected_", "input_ids_")).with_suffix(".npy")
        if ids.is_file():
            yield Golden({INPUT_IDS: np.load(ids)}, dict(np.load(path)))
    whole_rows = checkpoint.name == "seqcls"
    folder = checkpoint.parent / "io" if whole_rows else checkpoint / "io"
    for path in sorted(folder.glob("*.npz")):
        stored = dict(np.load(path))
        if INPUT_IDS in stored and path.name.startswith("seqcls") == whole_rows:
            yield Golden(stored, stored)


def row(checkpoint: Path, root: Path) -> tuple[str, bool]:
    """A line of the table, and whether the checkpoint passed."""
    recorded = list(goldens(checkpoint))
    name = checkpoint.relative_to(root).as_posix()
    if not recorded:
        return f"| {name} | – | no recorded runs | | | | |", True
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder, "x.edgeseq")
        try:
            convert(checkpoint, bundle, Request(), Naming("x"), outputs=OUTPUTS, progress=lambda _: None)
        except EdgeseqError as error:
            return f"| {name} | refused: {error} | | | | | |", False
        read = read_bundle(bundle)
    session = Session(read.graph, threads=1)
    worst = 0.0
    for golden in recorded:
        inputs = {one: golden.inputs.get(one, golden.mask.astype(np.int64)) for one in session.inputs}
        worst = max(worst, golden.difference(session.run(inputs)))
    lengths = sorted({golden.inputs[INPUT_IDS].shape[1] for golden in recorded})
    batches = sorted({golden.inputs[INPUT_IDS].shape[0] for golden in recorded})
    weights = 4 * sum(tensor.numel() for tensor in open_checkpoint(checkpoint).tensors.values())
    cells = (
        name,
        str(read.manifest.provenance["family"]),
        read.manifest.task.kind,
        f"{len(recorded)}: {lengths[0]} to {lengths[-1]} × {', '.join(map(str, batches))}",
        f"{worst:.0e}",
        f"{len(read.graph) / 1e3:,.0f} kB",
        f"{weights / 1e3:,.0f} kB",
    )
    return f"| {' | '.join(cells)} |", worst <= TOLERANCE


def main() -> int:
    """0 if all passed."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", metavar="FOLDER")
    parser.add_argument("--root", type=Path, default=Path("../shared/fixtures"))
    options = parser.parse_args()
    print("| checkpoint | family | task | runs: lengths × batches | max \\|Δ\\| | graph | weights |")
    print("|---|---|---|---|---|---|---|")
    fine = True
    for folder in [options.root / each for each in options.folders] or [options.root]:
        for checkpoint in checkpoints(folder):
            line, passed = row(checkpoint, options.root)
            print(line, flush=True)
            fine &= passed
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
