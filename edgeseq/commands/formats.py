"""What `edgeseq score` writes: the format that the user and the kind of the model ask for, and its sinks."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

from edgeseq.errors import UsageError
from edgeseq.inputs import STDIN

if TYPE_CHECKING:
    from edgeseq.manifest import Manifest, TaskKind
    from edgeseq.scorer import Scorer
    from edgeseq.sinks import Sink, SinkOf
    from edgeseq.tracks import Stretch

Format = Literal["tsv", "jsonl", "bam", "npz", "bedgraph", "bed"]
NAMED: tuple[Format, ...] = ("tsv", "jsonl", "bedgraph", "bed")
"""The formats that standard output can have."""
FORMATS: Mapping[TaskKind, tuple[Format, ...]] = {
    "sequence-classification": ("tsv", "jsonl", "bam"),
    "regression": ("tsv", "jsonl", "bam"),
    "causal-lm": ("tsv", "jsonl", "bam"),
    "embedding": ("npz", "jsonl"),
    "token-classification": ("bedgraph", "bed"),
}
"""What each kind of model can be written as."""
_SUFFIXES: Mapping[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".bam": "bam",
    ".npz": "npz",
    ".bedgraph": "bedgraph",
    ".bdg": "bedgraph",
    ".bg": "bedgraph",
    ".bed": "bed",
    ".tsv": "tsv",
    ".txt": "tsv",
}
_INSTEAD: Mapping[TaskKind, str] = {
    "embedding": "gives a vector for each read: write an archive with -o FILE.npz, or rows with --format jsonl",
    "token-classification": "gives a score for each base: write tracks with -o FILE.bedgraph or calls with -o FILE.bed",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the options say about the output."""

    output: str | None
    format: str | None = None
    per_window: bool = False
    split: str | None = None
    early_stop: bool = False
    tracks: tuple[str, ...] = ()
    min_score: float | None = None

    @property
    def named(self) -> Format | None:
        """The format that was asked for by name or by file name; None where nothing says so.

        Raises UsageError where options exclude each other.
        """
        suffix = Path(self.output).suffix.lower() if self.output is not None else ""
        if suffix == ".bam" and (self.format is not None or self.per_window):
            raise UsageError(f"{self.output} is a BAM file: neither --format nor --per-window goes with it")
        if suffix == ".npz" and self.format is not None:
            raise UsageError(f"{self.output} is an archive: --format does not go with it")
        if suffix in (".gz", ".bgz", ".zst", ".xz", ".bz2"):
            raise UsageError(
                f"{self.output}: rows are written as plain text; use edgeseq score … | gzip > {self.output}"
            )
        if self.format is not None:
            return cast(Format, self.format)
        return _SUFFIXES.get(suffix)

    def format_for(self, manifest: Manifest) -> Format:
        """The format for a model. Raises UsageError where that kind of model cannot be written so."""
        kind = manifest.task.kind
        fitting = FORMATS.get(kind, get_args(Format))
        found = self.named
        if found is None and (kind != "embedding" or self.output is not None):
            found = "tsv" if "tsv" in fitting or kind == "embedding" else "bedgraph"
        if found is None or found not in fitting:
            why = _INSTEAD.get(kind, f"is written as {', '.join(fitting)}, not as {found}")
            raise UsageError(f"{manifest.name} ({kind}) {why}")
        self._check_options(manifest)
        return found

    def _check_options(self, manifest: Manifest) -> None:
        """Raises UsageError for options that say nothing about a model of that kind."""
        kind = manifest.task.kind
        given = {
            "--split": self.split is not None and kind != "sequence-classification",
            "--per-window": self.per_window and kind == "token-classification",
            "--early-stop": self.early_stop and kind == "token-classification",
            "--track": bool(self.tracks) and kind != "token-classification",
            "--min-score": self.min_score is not None and kind != "token-classification",
        }
        for option, wrong in given.items():
            if wrong:
                raise UsageError(f"{manifest.name} ({kind}): {option} does not go with this kind of model")


def refuse_overwriting(output: str | Path, inputs: Iterable[str]) -> None:
    """Raises UsageError where the output is an input, or a folder."""
    target = Path(output)
    if target.is_dir():
        raise UsageError(f"{output} is a folder; name a file in it")
    for path in inputs:
        if path != STDIN and target.exists() and target.samefile(path):
            raise UsageError(f"{output} is an input as well; name another output")


def open_sinks(scorer: Scorer, wanted: Wanted, inputs: Sequence[str]) -> list[Sink]:
    """The sinks for predictions, the one for calls last. Raises UsageError."""
    from edgeseq.sinks.jsonl import JsonlSink
    from edgeseq.sinks.output import Output
    from edgeseq.sinks.split import SplitSink
    from edgeseq.sinks.tsv import TsvSink

    task = scorer.manifest.task
    kind = wanted.format_for(scorer.manifest)
    sinks: list[Sink] = [SplitSink(wanted.split, task.labels)] if wanted.split is not None else []
    if kind == "bam" and wanted.output is not None:
        from edgeseq.sinks.bam import BamSink

        command = shlex.join(["edgeseq", *sys.argv[1:]])
        sinks.append(BamSink(wanted.output, scorer.bundle, inputs=inputs, command=command))
    elif kind == "npz" and wanted.output is not None:
        from edgeseq.sinks.npz import NpzSink

        sinks.append(NpzSink(wanted.output, scorer.width, per_window=wanted.per_window))
    elif kind == "jsonl":
        sinks.append(JsonlSink(Output(wanted.output), task, per_window=wanted.per_window))
    else:
        sinks.append(TsvSink(Output(wanted.output), task, per_window=wanted.per_window))
    return sinks


def open_track_sinks(scorer: Scorer, wanted: Wanted, inputs: Sequence[str]) -> list[SinkOf[Stretch]]:
    """The sink for tracks. Raises UsageError."""
    from edgeseq.sinks.bed import BedSink
    from edgeseq.sinks.bedgraph import BedGraphSink, track_paths
    from edgeseq.sinks.output import Output

    task = scorer.manifest.task
    kind = wanted.format_for(scorer.manifest)
    labels = _tracks(scorer.manifest, wanted.tracks)
    if kind == "bed":
        return [BedSink(Output(wanted.output), scorer.manifest, labels, minimum=wanted.min_score)]
    if wanted.output is None:
        if len(labels) > 1:
            names = ", ".join(labels)
            raise UsageError(
                f"{scorer.manifest.name} has {len(labels)} tracks ({names}), each a file of its own: "
                "name them with -o FILE.bedgraph, or choose one with --track"
            )
        return [BedGraphSink({labels[0]: Output(None)}, task, minimum=wanted.min_score)]
    paths = track_paths(Path(wanted.output), labels)
    for path in paths.values():
        refuse_overwriting(path, inputs)
    outputs = {label: Output(path) for label, path in paths.items()}
    return [BedGraphSink(outputs, task, minimum=wanted.min_score)]


def _tracks(manifest: Manifest, chosen: Sequence[str]) -> tuple[str, ...]:
    """The labels to write: those chosen, else all but the background, in the order of the bundle."""
    task = manifest.task
    for label in chosen:
        if label not in task.labels:
            raise UsageError(f"--track {label}: {manifest.name} has no such label; it has {', '.join(task.labels)}")
    wanted = chosen or [label for label in task.labels if label != task.background] or task.labels
    return tuple(label for label in task.labels if label in wanted)
