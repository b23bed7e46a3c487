"""How tokenizers interact with compression and with sequencing errors, on small models that are trained here.

    python benchmarks/tokenizer_errors.py [--data ../shared/data/labelled] [--work DIR] [--task promoters]
        [--family gpn] [--steps N] [--seconds 600] [--recovery 300] [--seed 1] [--times] [--csv FILE] [--plot FILE]

--task      ``promoters``, ``enhancers``; repeatable, both by default
--family    ``gpn``, ``hyena``, ``dnabert``, ``nt``, ``dnabert2``; repeatable, all by default
--work      where everything is kept that takes time; a run that was stopped goes on from there
--steps     of each training (default: as `benchmarks.small_models` has it for the family); ends a training together
            with ``--seconds``, whichever comes first. Only trainings that end by steps give the same weights each time
--recovery  steps of each recovery (batches of 8)
--times     times every graph beside the whole float one as well, in turns, on one thread
--csv       every figure of the tables; ``--plot`` MCC against errors
--tables    only print what the work folder holds already

For each task the sequences are split anew (`benchmarks.labelled_tasks`). Of each family one small model is trained on
the training part and stopped by the validation part. Then come its variants: whole, pruned by 30 % (feed-forward; for
the convolution also all channels), pruned and recovered on the labels of the training part, each in float and in int8
(`benchmarks.compressed_models`). The test part is scored by the runtime, as it is, with 1, 3 and 5 % of errors (the
read simulator's, the same erroneous sequences for all models), and read from the second base on.

Two controls stand beside the models: a logistic regression on counts of canonical 5-mers, and one on what the untrained
twin of each model makes of the sequences (mean and largest value of each channel).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import labelled_tasks as tasks
from benchmarks.compressed_models import compressed, export, pruned
from benchmarks.labelled_tasks import TASKS, Labelled, Split, Task
from benchmarks.paired import Codes, Draws
from benchmarks.small_models import KINDS, Course, Kind, pooled, read, rows_of, start, train
from benchmarks.tokenizer_tables import CONTROL, REFERENCE, TWIN, Figure, Table, write_csv, write_plot
from edgeseq import read_bundle
from export.network import Model
from export.pruning.recover import Course as Recovery
from export.pruning.rows import Row
from quantize.calibrate import Rows
from quantize.cost import measure_costs
from quantize.judge import calls, scorer_of
from quantize.sample import labelled

Features = NDArray[np.float32]
DATA = Path(__file__).resolve().parents[2] / "shared/data/labelled"
ERRORS = (0.01, 0.03, 0.05)
CONDITIONS = ("0", *(f"{100 * rate:g}" for rate in ERRORS), "late")
PROBED = 3000
"""Training sequences that the controls on untrained twins are fitted with."""
LOT = 8
"""Sequences that graphs are timed with."""


@dataclass(frozen=True, slots=True)
class Variant:
    """What was done to a model; ``cut`` is empty for the whole one."""

    cut: str = ""
    recovered: bool = False
    int8: bool = False

    @property
    def checkpoint(self) -> str:
        """The name of its folder and bundle."""
        return f"{self.cut or 'whole'}{'-recovered' * self.recovered}"

    @property
    def name(self) -> str:
        return f"{self.checkpoint}-{'int8' if self.int8 else 'float'}"

    @property
    def conditions(self) -> tuple[str, ...]:
        """What the variant is scored under: pruned models as they are, and recovered ones at the most errors; all of
        it for the whole model and for what is most compressed of the cut that every family can have."""
        if not self.cut or (self.cut == "ffn" and self.recovered and self.int8):
            return CONDITIONS
        return (CONDITIONS[0], f"{100 * ERRORS[-1]:g}") if self.recovered else CONDITIONS[:1]


def variants(kind: Kind) -> Iterator[Variant]:
    """In the order of the tables."""
    for cut in ("", *kind.cuts):
        for recovered in (False, True) if cut else (False,):
            for int8 in (False, True):
                yield Variant(cut, recovered, int8)


@dataclass(frozen=True, slots=True)
class Place:
    """The files of a task below the work folder."""

    task: Task
    folder: Path
    seed: int

    def split(self, data: Path) -> Split:
        """The parts, written as tables the first time; the test part once for each condition."""
        found = tasks.split(self.task.load(data), by_chromosome=self.task.by_chromosome, seed=self.seed)
        if not self.table("facts", ".json").exists():
            for name, part in found.parts.items():
                if name != "test":
                    tasks.write_table(self.table(name), part)
            test = found.parts["test"]
            for condition, sequences in conditions([each.sequence for each in test], self.seed).items():
                changed = [Labelled(text, each.label) for text, each in zip(sequences, test, strict=True)]
                tasks.write_table(self.table(f"test-{condition}"), changed)
            self.table("facts", ".json").write_text(json.dumps(found.facts, indent=1) + "\n", encoding="utf-8")
        return found

    def table(self, name: str, ending: str = ".csv") -> Path:
        return self.folder / f"{name}{ending}"

    def calls(self, kind: str, variant: str, condition: str) -> Path:
        return self.folder / "calls" / f"{kind}.{variant}.{condition}.npy"


def conditions(sequences: Sequence[bytes], seed: int) -> dict[str, list[bytes]]:
    """The test sequences as they are, with errors, and from their second base on."""
    found = {"0": list(sequences)}
    found |= {f"{100 * rate:g}": tasks.with_errors(sequences, rate, seed) for rate in ERRORS}
    return found | {"late": tasks.one_base_late(sequences)}


def say(text: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def make(place: Place, kind: Kind, split: Split, course: Course, recovery: int) -> None:
    """Everything about one family and task that is not there yet."""
    folder = place.folder / kind.name
    training, watched = split.parts["train"], split.parts["validation"]
    if not (folder / "start").exists():
        start(kind, folder / "start", place.task.labels, [each.sequence for each in training], course.seed)
    if not (folder / "whole").exists():
        say(f"{place.task.name}, {kind.name}: training")
        model = read(folder / "start", kind)
        shown = tasks.strands(training) if place.task.both_strands else training
        rows, held = (_rows(model, part) for part in (shown, watched))
        found = train(kind, folder / "start", folder / "whole", rows, held, course, say)
        say(f"{place.task.name}, {kind.name}: {found}")
    table = place.table("train")
    for variant in variants(kind):
        checkpoint = folder / "whole"
        if variant.cut:
            wanted = Recovery("labelled", 60, recovery, seed=course.seed) if variant.recovered else None
            checkpoint = pruned(checkpoint, folder / variant.checkpoint, kind, variant.cut, table, wanted, course.seed)
        bundle = export(checkpoint, folder / f"{checkpoint.name}.edgeseq", kind, say)
        graph = bundle.with_suffix(".int8.onnx")
        if variant.int8 and not graph.exists():
            _, choice = compressed(bundle, table, course.seed, say)
            bundle.with_suffix(".int8.json").write_text(json.dumps(choice, indent=1) + "\n", encoding="utf-8")
        _score(place, kind, variant, bundle, graph if variant.int8 else None)


def _rows(model: Model, part: Sequence[Labelled]) -> list[Row]:
    return rows_of(model, [each.sequence for each in part], [each.label for each in part])


def times(place: Place, kind: Kind, split: Split) -> None:
    """The time of each variant's graph beside the whole float one, for a lot of test sequences of one length."""
    folder = place.folder / kind.name
    output = folder / "times.json"
    if output.exists():
        return
    whole = read_bundle(folder / "whole.edgeseq")
    ids = _rows(read(folder / "whole", kind), split.parts["test"])
    length = Counter(len(row.ids) for row in ids).most_common(1)[0][0]
    lot = np.stack([row.ids for row in ids if len(row.ids) == length][:LOT])
    graphs = {one.name: graph_of(folder, one) for one in variants(kind)}
    costs = measure_costs(whole, graphs, Rows((lot,)))
    output.write_text(json.dumps({name: cost.ratio for name, cost in costs.items()}, indent=1) + "\n", encoding="utf-8")
    say(f"{place.task.name}, {kind.name}: times { ({name: round(cost.ratio, 2) for name, cost in costs.items()}) }")


def graph_of(folder: Path, variant: Variant) -> bytes:
    """A variant's graph, made before."""
    bundle = folder / f"{variant.checkpoint}.edgeseq"
    return bundle.with_suffix(".int8.onnx").read_bytes() if variant.int8 else read_bundle(bundle).graph


def _score(place: Place, kind: Kind, variant: Variant, bundle_file: Path, graph: Path | None) -> None:
    """The runtime's calls under each condition."""
    bundle, scorer = read_bundle(bundle_file), None
    for condition in variant.conditions:
        output = place.calls(kind.name, variant.name, condition)
        if output.exists():
            continue
        scorer = scorer or scorer_of(bundle, graph.read_bytes() if graph else None, threads=1)
        began = time.monotonic()
        sample = labelled(place.table(f"test-{condition}"), bundle.manifest.task)
        names = np.array(bundle.manifest.task.labels)
        found = (calls(scorer, sample).label == names[1]).astype(np.int64)
        _keep(output, found)
        say(f"{place.task.name}, {kind.name}, {variant.name}, {condition}: {time.monotonic() - began:.0f} s")


def control(place: Place, split: Split) -> None:
    """Calls of a logistic regression on counts of canonical 5-mers."""
    if place.calls(CONTROL, REFERENCE, CONDITIONS[-1]).exists():
        return
    from export.controls import kmer_counts

    training = split.parts["train"]
    fitted = _regression(kmer_counts(tasks.padded([each.sequence for each in training])), training)
    test = [each.sequence for each in split.parts["test"]]
    for condition, sequences in conditions(test, place.seed).items():
        _keep(place.calls(CONTROL, REFERENCE, condition), fitted(kmer_counts(tasks.padded(sequences))))


def twin(place: Place, kind: Kind, split: Split) -> None:
    """Calls of a logistic regression on what the untrained model makes of the clean sequences."""
    output = place.calls(kind.name, TWIN, "0")
    if output.exists():
        return
    model = read(place.folder / kind.name / "start", kind)
    training = split.parts["train"][:: max(1, len(split.parts["train"]) // PROBED)]
    both = (training, split.parts["test"])
    features = [pooled(model, _rows(model, part)) for part in both]
    _keep(output, _regression(features[0], training)(features[1]))


def _regression(features: Features, training: Sequence[Labelled]) -> Callable[[Features], Codes]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.01, tol=1e-3))
    model.fit(features, [each.label for each in training])
    return lambda rows: np.asarray(model.predict(rows), np.int64)


def _keep(path: Path, found: Codes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part.npy")
    np.save(partial, found)
    partial.replace(path)


def _kept(path: Path) -> Codes | None:
    return np.load(path) if path.exists() else None


def gather(place: Place, split: Split, kinds: Sequence[Kind]) -> Table:
    """All figures that the work folder holds."""
    test = split.parts["test"]
    truth = np.array([each.label for each in test], np.int64)
    draws = Draws.of(truth, np.array([each.component for each in test], np.int64))
    figures: list[Figure] = []

    def add(model: str, variant: str, condition: str, size: int = 0) -> None:
        called, reference, clean = (
            _kept(place.calls(model, *key))
            for key in ((variant, condition), (REFERENCE, condition), (variant, CONDITIONS[0]))
        )
        if called is not None:
            beside = reference if size else None
            figures.append(Figure.of((model, variant, condition), draws, called, beside, clean, size))

    for condition in CONDITIONS:
        add(CONTROL, REFERENCE, condition)
    for kind in kinds:
        add(kind.name, TWIN, "0")
        for variant in variants(kind):
            for condition in variant.conditions:
                if place.calls(kind.name, variant.name, condition).exists():
                    add(kind.name, variant.name, condition, len(graph_of(place.folder / kind.name, variant)))
    trained: dict[str, dict[str, Any]] = {}
    ratios: dict[str, dict[str, float]] = {}
    for kind in kinds:
        timed = place.folder / kind.name / "times.json"
        if timed.exists():
            ratios[kind.name] = json.loads(timed.read_text(encoding="utf-8"))
        file = place.folder / kind.name / "whole" / "training.json"
        if file.exists():
            trained[kind.name] = json.loads(file.read_text(encoding="utf-8"))
    parts = {name: tasks.balance(part) for name, part in split.parts.items()}
    return Table(place.task.name, place.task.title, len(truth), parts, split.facts, tuple(figures), trained, ratios)


def main() -> None:
    """The tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--work", type=Path, default=Path("tokenizer-errors"))
    parser.add_argument("--task", action="append", choices=sorted(TASKS))
    parser.add_argument("--family", action="append", choices=list(KINDS))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--recovery", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--times", action="store_true")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--tables", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kinds = [KINDS[name] for name in options.family or KINDS]
    found = []
    for name in options.task or TASKS:
        place = Place(TASKS[name], options.work / name, options.seed)
        split = place.split(options.data)
        if not options.tables:
            control(place, split)
            for kind in kinds:
                course = Course(options.steps or kind.steps, options.seconds, kind.rate, options.seed)
                make(place, kind, split, course, options.recovery)
                twin(place, kind, split)
                if options.times:
                    times(place, kind, split)
        found.append(gather(place, split, kinds))
    for table in found:
        print(table.markdown())
    if options.csv:
        write_csv(options.csv, found)
    if options.plot:
        write_plot(options.plot, found)


if __name__ == "__main__":
    main()
