"""A checkpoint with fewer of its parts, as a checkpoint of the same family: cut, read again, measured, written."""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from edgeseq.errors import UsageError
from export.checkpoint import Checkpoint, open_checkpoint
from export.families import Family, find
from export.network import Model, Request
from export.pruning import anatomy_of
from export.pruning.arrays import SUFFIX, read_arrays
from export.pruning.files import folder_for, write_checkpoint, write_report
from export.pruning.objective import figures
from export.pruning.recover import Course, recover
from export.pruning.refusals import refuse
from export.pruning.rows import Rows, read_rows
from export.pruning.scores import Importance, entry_scores
from export.pruning.speed import compare_speed
from export.pruning.vocabulary import cut_vocabulary
from export.tensors import files_of
from quantize.prune.anatomy import Anatomy, Config, Kind
from quantize.prune.choice import choose_layers, choose_units
from quantize.prune.cut import cut, drop_layers, kept_of, removed_entries
from quantize.prune.errors import PruneError
from quantize.prune.importance import kind_scores, layer_scores

Progress = Callable[[str], None]
Scores = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Cuts:
    """What leaves."""

    shares: Mapping[str, float] = field(default_factory=dict)
    """Kind → the share of its units."""
    layers: int = 0
    vocabulary: bool = False
    """Whether rows leave that the sequences never use."""
    rewrites: Mapping[str, int] = field(default_factory=dict)
    """``modes`` and ``taps`` → how many stay."""

    def names(self) -> list[str]:
        """Everything that was asked for."""
        return [*self.shares, *(["layers"] if self.layers else []), *self.rewrites]


@dataclass(frozen=True, slots=True)
class Material:
    """The sequences, and how they are used."""

    source: Path
    labels: Path | None = None
    use_labels: bool = False
    window: int | None = None
    rows: int = 256
    seed: int = 1
    importance: Importance = "taylor"


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a cut leaves: tensors, configuration, and what the report says of it."""

    tensors: dict[str, torch.Tensor]
    config: Config
    report: dict[str, Any]


def prune(
    source: Path,
    output: Path,
    request: Request,
    cuts: Cuts,
    material: Material,
    *,
    course: Course | None = None,
    timed: bool = True,
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """Writes the pruned checkpoint to the folder ``output`` and gives its report, which is in it as well.

    ``course`` asks for recovery. Nothing is written unless the new checkpoint was read by its own family and measured.
    Raises `PruneError` for a cut that the model or its configuration does not allow, `ExportError` for a checkpoint
    that cannot be read, and UsageError for sequences that cannot be used.
    """
    if not cuts.names() and not cuts.vocabulary:
        raise PruneError("nothing to remove", "no cut was asked for", remedy="ask for --ffn, --heads, --layers …")
    progress("reading the checkpoint")
    request = replace(request, unfolded=True)
    whole_checkpoint = open_checkpoint(source)
    family = find(whole_checkpoint)
    whole = _read(family, whole_checkpoint, request)
    report: dict[str, Any] = {
        "family": family.name,
        "task": whole.task,
        "source_sha256": whole_checkpoint.sha256,
        "seed": material.seed,
        "importance": material.importance,
    }
    with tempfile.TemporaryDirectory() as scratch:
        rows = _rows(whole, material)
        checkpoint, model, files = whole_checkpoint, whole, dict[str, str]()
        if cuts.vocabulary and not rows.sequences:
            raise UsageError(f"--vocabulary unused: {material.source} holds rows, and no sequences that use words")
        if cuts.vocabulary:
            progress("removing words that are never used")
            anatomy = anatomy_of(family, checkpoint, model)
            written, files, found = cut_vocabulary(checkpoint, anatomy, rows.sequences, Path(scratch) / "words")
            report["vocabulary"] = found
            checkpoint = open_checkpoint(written)
            model = _read(family, checkpoint, request)
            rows = _rows(model, material)
        if course is not None and course.towards == "labelled" and rows.calibration[0].target is None:
            raise UsageError(
                f"--recover labelled: no labels of {material.source} were asked for; --labelled or --labels FILE takes "
                "them, and --recover distil needs none"
            )
        report["calibration"] = {
            "sha256": rows.sha256,
            "window": rows.window,
            "rows": len(rows.calibration),
            "watched_rows": len(rows.watched),
            "held_out_rows": len(rows.held),
            "labels": rows.calibration[0].target is not None,
        }
        anatomy = anatomy_of(family, checkpoint, model)
        refuse(anatomy, cuts.names(), tuple(cuts.shares))
        progress("finding out what matters")
        pruned = _cut(checkpoint, model, anatomy, cuts, rows, material)
        report |= pruned.report
        with folder_for(output) as folder:
            progress("reading what is left")
            write_checkpoint(folder, whole_checkpoint, pruned.config, pruned.tensors, files)
            left = _read(family, open_checkpoint(folder), request)
            report["before"] = figures(model, model, rows.held)
            report["after"] = figures(model, left, rows.held)
            if course is not None and course.towards == "distil" and not report["after"].get("comparable", True):
                raise PruneError(
                    "--recover distil",
                    "what is left gives embeddings with other channels than the whole model does",
                    remedy="cut --ffn, --heads or --layers, or prune the model with a head",
                )
            if course is not None:
                progress(f"recovering ({course.towards}, at most {course.minutes:g} minutes)")
                recovered = recover(left, model, rows.calibration, rows.watched, course, anatomy.frozen)
                tensors = dict(pruned.tensors)
                _fill(tensors, left, recovered.tensors)
                write_checkpoint(folder, whole_checkpoint, pruned.config, tensors, files)
                left = _read(family, open_checkpoint(folder), request)
                report["recovery"] = {**recovered.as_json(), "towards": course.towards, "seed": course.seed}
                report["recovered"] = figures(model, left, rows.held)
            report["size"] = _sizes(whole_checkpoint, whole, open_checkpoint(folder), left)
            if timed:
                progress("timing both graphs")
                tokens = max(len(row.ids) for row in rows.held)
                report["speed"] = compare_speed(whole, left, tokens).as_json()
            write_report(folder, report)
    return report


def _read(family: Family, checkpoint: Checkpoint, request: Request) -> Model:
    model = family.read(checkpoint, request)
    model.network.eval()
    return model


def _rows(model: Model, material: Material) -> Rows:
    if material.source.suffix == SUFFIX:
        if material.labels is not None:
            raise UsageError(f"--labels {material.labels}: rows of arrays have theirs in the array labels; --labelled")
        return read_arrays(
            model, material.source, use_labels=material.use_labels, most=material.rows, seed=material.seed
        )
    return read_rows(
        model,
        material.source,
        labels=material.labels,
        use_labels=material.use_labels,
        window=material.window,
        most=material.rows,
        seed=material.seed,
    )


def _cut(checkpoint: Checkpoint, model: Model, anatomy: Anatomy, cuts: Cuts, rows: Rows, material: Material) -> Pruned:
    tensors = dict(checkpoint.tensors)
    config: Config = copy.deepcopy(dict(checkpoint.config))
    config.update(anatomy.stated)
    scored = cuts.shares or cuts.layers
    scores = entry_scores(checkpoint, model, rows.calibration, material.importance, material.seed) if scored else {}
    removed = {
        name: choose_units(kind, kind_scores(kind, scores), share)
        for name, share in cuts.shares.items()
        if (kind := anatomy.kind(name)) is not None
    }
    report: dict[str, Any] = {"removed": {}}
    for name, value in cuts.rewrites.items():
        report[name] = anatomy.rewrites[name](tensors, config, value)
    for name, gone in removed.items():
        kind = anatomy.kind(name)
        assert kind is not None
        report["removed"][name] = _told(kind, gone, scores)
        tensors = cut_kind(tensors, config, kind, gone)
    if cuts.layers:
        assert anatomy.stack is not None
        importance = layer_scores(anatomy.stack, scores)
        gone_layers = choose_layers(anatomy.stack, importance, cuts.layers)
        report["removed"]["layers"] = {"removed": gone_layers, "importance": list(importance)}
        tensors = drop_layers(tensors, anatomy.stack, gone_layers)
        anatomy.stack.configure(config, kept_of(anatomy.stack.count, gone_layers))
    report["dropped_tensors"] = _drop(tensors, anatomy, cuts.names())
    return Pruned(tensors, config, report)


def cut_kind(
    tensors: Mapping[str, torch.Tensor], config: Config, kind: Kind, removed: Sequence[Sequence[int]]
) -> dict[str, torch.Tensor]:
    """The tensors without the units ``removed`` of each part of a kind; the configuration is changed in place."""
    kept = [kept_of(units.count, gone) for units, gone in zip(kind.units, removed, strict=True)]
    left = dict(tensors)
    if kind.rescale is not None:
        kind.rescale(left, kept)
    kind.configure(config, kept)
    return cut(left, removed_entries(kind.units, removed))


def _told(kind: Kind, removed: Sequence[Sequence[int]], scores: Scores) -> dict[str, Any]:
    parts = []
    for units, gone, score in zip(kind.units, removed, kind_scores(kind, scores), strict=True):
        total = float(score.sum())
        parts.append(
            {
                "where": units.where,
                "before": units.count,
                "after": units.count - len(gone),
                "removed": list(gone),
                "share_of_importance": float(score[list(gone)].sum()) / total if total else 0.0,
            }
        )
    return {"exact": kind.exact, "note": kind.note, "parts": parts}


def _drop(tensors: dict[str, torch.Tensor], anatomy: Anatomy, names: Sequence[str]) -> list[str]:
    gone = [
        name
        for name in tensors
        for pattern, kinds in anatomy.dropped.items()
        if set(kinds) & set(names) and re.fullmatch(pattern, name)
    ]
    for name in gone:
        del tensors[name]
    return gone


def _fill(tensors: dict[str, torch.Tensor], model: Model, changed: Mapping[str, torch.Tensor]) -> None:
    """Puts trained tensors, and second copies of them, in the place of the others, in their precision."""
    copies = model.loaded.copies
    for name, before in tensors.items():
        value = changed.get(copies.get(name, name))
        if value is not None:
            tensors[name] = value.to(before.dtype)


def _sizes(before: Checkpoint, whole: Model, after: Checkpoint, left: Model) -> dict[str, int]:
    return {
        "parameters_before": sum(each.numel() for each in whole.network.parameters()),
        "parameters_after": sum(each.numel() for each in left.network.parameters()),
        "bytes_before": sum(file.stat().st_size for file in files_of(before.weights)),
        "bytes_after": sum(file.stat().st_size for file in files_of(after.weights)),
    }
