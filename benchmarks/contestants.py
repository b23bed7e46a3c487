"""What `benchmarks/score.py` compares: each contestant can be timed on a workload, most can say what reads are."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import kraken, minimap
from benchmarks.process import Run, measure
from benchmarks.workload import Workload
from edgeseq.bundle import Bundle
from edgeseq.prediction import UNCLASSIFIED

Command = list[str | Path]


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: all its seconds, those of the work alone, the work's processor seconds, peak memory; engine seconds."""

    whole: float
    work: float
    cpu_seconds: float
    peak_bytes: int
    engine: float = 0.0


@dataclass(frozen=True, slots=True)
class Contestant:
    """``sample`` runs it on the workload; ``label`` gives number of read → label for a file of reads, if it can.

    ``process`` tells that a sample is of a whole process which does nothing but the work and getting ready for it.
    """

    name: str
    sample: Callable[[], Sample]
    label: Callable[[Path], dict[str, str]] | None
    bytes_on_disk: int
    process: bool = True


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and how to run: ``folder`` for what a run leaves, ``work`` for what later runs may find again."""

    folder: Path
    work: Path
    threads: int
    model: str | None

    def score(self, reads: Path, *more: str | Path) -> Command:
        """The command line of `edgeseq score`."""
        model = ["-m", self.model] if self.model else []
        return [sys.executable, "-m", "edgeseq", "score", reads, "--threads", str(self.threads), *model, *more]

    def part(self, name: str, reads: Path, *more: str | Path) -> Command:
        """The command line of one of `benchmarks.parts`."""
        return [sys.executable, "-m", "benchmarks.parts", name, reads, "--threads", str(self.threads), *more]


def own(setting: Setting, load: Workload, bundle: Bundle) -> list[Contestant]:
    """The command, the library and the bare engine."""
    calls = setting.folder / "calls.tsv"
    model = ["--bundle", setting.model] if setting.model else []

    def score(reads: Path) -> Run:
        return measure(setting.score(reads, "-o", calls))

    def labels(reads: Path) -> dict[str, str]:
        score(reads)
        return _labels(calls, 3, header=True)

    def part(name: str) -> Sample:
        return _inner(measure(setting.part(name, load.reads, *model)))

    size = len(bundle.graph)
    return [
        Contestant("edgeseq score", lambda: _beyond(score(load.reads), score(load.single)), labels, size),
        Contestant("library", lambda: part("library"), None, size),
        Contestant("bare engine", lambda: part("engine"), None, size, process=False),
    ]


def peers(setting: Setting, load: Workload, data: Path, labels: Sequence[str]) -> tuple[list[Contestant], list[str]]:
    """minimap2 and Kraken2, and a line for each that is left out."""
    if not (data / "genomes").is_dir():
        return [], [f"minimap2 and Kraken2: no genomes in {data}"]
    if not minimap.available():
        return [], ["minimap2 and Kraken2: mappy, which also checks the labels of the genomes, is not installed"]
    from benchmarks.reference import panel_genomes

    print("preparing the genomes for minimap2 and Kraken2 ...", file=sys.stderr)
    genomes = panel_genomes(data, labels)
    able = [_minimap2(setting, load, minimap.index(setting.work, genomes))]
    if not kraken.available():
        return able, ["Kraken2: not installed (Debian: apt-get install kraken2)"]
    able.append(_kraken2(setting, load, kraken.build(setting.work, genomes, threads=setting.threads)))
    return able, []


def _minimap2(setting: Setting, load: Workload, index: Path) -> Contestant:
    hits = setting.folder / "hits.tsv"

    def align(reads: Path) -> Run:
        return measure(setting.part("minimap2", reads, "--index", index, "--calls", hits))

    def labels(reads: Path) -> dict[str, str]:
        align(reads)
        return _labels(hits, 1)

    return Contestant("minimap2", lambda: _inner(align(load.reads)), labels, index.stat().st_size)


def _kraken2(setting: Setting, load: Workload, database: kraken.Database) -> Contestant:
    rows = setting.folder / "kraken.tsv"

    def classify(reads: Path) -> Run:
        return measure(database.command(reads, rows, threads=setting.threads))

    def labels(reads: Path) -> dict[str, str]:
        classify(reads)
        return database.labels_of(rows)

    return Contestant(
        "Kraken2", lambda: _beyond(classify(load.reads), classify(load.single)), labels, database.bytes_on_disk
    )


def _beyond(run: Run, start: Run) -> Sample:
    """A run, with what it took beyond a run on a single read."""
    return Sample(run.seconds, run.seconds - start.seconds, run.cpu_seconds - start.cpu_seconds, run.peak_bytes)


def _inner(run: Run) -> Sample:
    """A run that timed its own work."""
    took = json.loads(run.output)
    engine = took.get("engine_seconds", 0.0)
    return Sample(run.seconds, took["seconds"], took["cpu_seconds"], run.peak_bytes, engine)


def _labels(path: Path, column: int, *, header: bool = False) -> dict[str, str]:
    """First column → another one; an empty value counts as unclassified."""
    with path.open() as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    return {row[0]: row[column] or UNCLASSIFIED for row in rows[header:]}
