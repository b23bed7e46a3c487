"""``python -m export train-panel``: genomes in, the outbreak panel's bundle out. Seeded, resumable, on CPU.

prepare data → train → temperature → pack an uncalibrated bundle → score held-out reads with the runtime itself →
thresholds → evidence (held-out, controls, real reads) → pack the bundle. What a run has finished lies in its work
folder and is not done again.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from edgeseq import load
from edgeseq.bundle import write_bundle
from edgeseq.manifest import Abstention, Graph, Input, Manifest, Task, Tensor
from export.ahead import Plan
from export.architectures import SeedNet, parameter_count
from export.calibrate import MINIMUM_LENGTH, held_reads, held_windows, temperature, thresholds
from export.card import model_card
from export.controls import kmer_regression, random_twin, window_mcc
from export.evidence import held_evidence, real_evidence
from export.genomes import OTHER
from export.measure import calibration
from export.panel import Panel, prepare
from export.seed_graph import OPSET, seed_graph
from export.seeds import Seed
from export.simulate import FLANKS, ErrorProfile
from export.train import train

BUCKETS = (256, 320, 384, 448, 512, 640, 768, 896, 1024)
TOKENIZER: dict[str, Any] = {"type": "nucleotide", "vocabulary": {"A": 0, "C": 1, "G": 2, "T": 3, "N": 4}, "pad": 5}
TRAINING_PROFILE = ErrorProfile()
REFINING_PROFILE = ErrorProfile(adapter=0.85, adapters=FLANKS, longest_end=90, terminal=0.35)
"""For the second, shorter phase: short inserts between long ends, many from the ends of a segment."""
REFINING_SHORTEST = 0.4
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of the net. Chosen by the comparison in ``docs/panel.md``."""

    patterns: tuple[str, ...] = ("11011011011011",)
    rows: tuple[int, ...] = (93_997,)
    width: int = 24
    channels: int = 192
    hidden: int = 128

    def build(self, labels: int) -> SeedNet:
        seeds = tuple(Seed(pattern, rows) for pattern, rows in zip(self.patterns, self.rows, strict=True))
        return SeedNet(seeds, self.width, self.channels, labels, hidden=self.hidden)


def refining_plan(plan: Plan) -> Plan:
    """A quarter of the steps, at half the learning rates."""
    return replace(
        plan,
        steps=max(1, plan.steps // 4),
        seed=plan.seed + 1000,
        table_rate=plan.table_rate * 0.5,
        dense_rate=plan.dense_rate * 0.5,
    )


def fit(net: SeedNet, panel: Panel, plan: Plan, work: Path, progress: Callable[[str, int, int], None]) -> None:
    """Both phases of training, in place; each resumes from its own checkpoint in ``work``."""
    train(
        net,
        panel.sampler("train", TRAINING_PROFILE),
        plan,
        work / "training.pt",
        lambda step, total, _: progress("training", step, total),
    )
    train(
        net,
        replace(panel.sampler("train", REFINING_PROFILE), shortest=REFINING_SHORTEST),
        refining_plan(plan),
        work / "refining.pt",
        lambda step, total, _: progress("refining", step, total),
    )


def sha256_of(paths: Iterable[Path]) -> str:
    """One digest over the contents of files, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _manifest(
    panel: Panel, net: SeedNet, *, name: str, version: str, heat: float, rule: Abstention, provenance: dict[str, Any]
) -> Manifest:
    return Manifest(
        name=name,
        version=version,
        licence="Apache-2.0",
        description="Which virus is this nanopore read from? Reads of 200 b and longer, either strand.",
        task=Task(
            kind="sequence-classification",
            labels=panel.labels,
            temperature=heat,
            background=OTHER,
            abstention=rule,
        ),
        input=Input(
            window=BUCKETS[-1],
            stride=BUCKETS[-1],
            minimum=256,
            strand="equivariant",
            buckets=BUCKETS,
            mixed_lengths=True,
        ),
        graph=Graph(
            opset=OPSET,
            precision="fp16 tables, fp32 arithmetic",
            inputs=(Tensor("input_ids", "int64", ("batch", "length")),),
            outputs=(Tensor("logits", "float32", ("batch", len(panel.labels))),),
            macs_per_base=net.macs_per_base(),
        ),
        provenance=provenance,
    )


def golden_cases(graph: bytes, panel: Panel) -> dict[str, Any]:
    """Inputs and outputs for the self-test: held-out windows of each length class, some with N and padding."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    held = panel.sampler("held")
    rng = np.random.default_rng(20)
    cases: dict[str, Any] = {"tolerance": np.array(TOLERANCE, np.float32)}
    for number, width in enumerate((256, 512, 1024)):
        ids = held.batch(rng, 4, width)[0][:4].astype(np.int64)
        ids[0, 40:44] = 4
        ids[1, width - 60 :] = 5
        cases[f"input_ids.{number}"] = ids
        cases[f"logits.{number}"] = session.run(None, {"input_ids": ids})[0]
    return cases


def train_panel(
    data: Path,
    output: Path,
    work: Path,
    *,
    hold_out: tuple[str, ...] = (),
    reads: tuple[Path, ...] = (),
    plan: Plan,
    shape: Shape,
    name: str = "outbreak-panel",
    version: str = "1",
) -> dict[str, Any]:
    """Trains and packs the panel; returns the report that the bundle holds."""
    work.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn()) as bars:
        tasks: dict[str, Any] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        panel = prepare(data, hold_out=hold_out, reads=reads, seed=plan.seed, progress=progress)
        (work / "data.json").write_text(json.dumps(panel.report, indent=1))
        torch.manual_seed(plan.seed)
        net = shape.build(len(panel.labels))
        fit(net, panel, plan, work, progress)
        net.eval()
    return pack_panel(panel, net, data, output, reads=reads, plan=plan, shape=shape, name=name, version=version)


def pack_panel(
    panel: Panel,
    net: SeedNet,
    data: Path,
    output: Path,
    *,
    reads: tuple[Path, ...],
    plan: Plan,
    shape: Shape,
    name: str,
    version: str,
) -> dict[str, Any]:
    """Calibrates, measures and packs a trained net; returns the report."""
    rng = np.random.default_rng((plan.seed, 99))
    tuned, held = panel.sampler("tuned"), panel.sampler("held")
    heat = temperature(*held_windows(net, tuned, rng, 12_000))
    graph = seed_graph(net).SerializeToString(deterministic=True)
    provenance: dict[str, Any] = {
        "genomes sha256": sha256_of((data / "genomes").glob("*.gz")),
        "background tables sha256": sha256_of((data / "labelled").glob("*.gz")),
        "plan": asdict(plan),
        "shape": asdict(shape),
        "training errors": asdict(TRAINING_PROFILE),
        "refining errors": asdict(REFINING_PROFILE),
        "tools": {
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "passes": [{"pass": "fp16 tables"}],
    }
    manifest = _manifest(
        panel,
        net,
        name=name,
        version=version,
        heat=heat,
        rule=Abstention(minimum_length=MINIMUM_LENGTH),
        provenance=provenance,
    )
    golden = golden_cases(graph, panel)
    draft = output.with_suffix(".draft")
    write_bundle(draft, manifest=manifest, graph=graph, tokenizer=TOKENIZER, golden=golden, report={}, card="draft\n")
    with load(draft) as scorer:
        fitting = [
            prediction
            for kind, count in (("background", 40_000), ("decoy", 8_000))
            for prediction in scorer.score(held_reads(tuned, rng, kind, count))
        ]
    rule = thresholds(fitting, panel.labels)
    manifest = replace(manifest, task=replace(manifest.task, abstention=rule))
    write_bundle(draft, manifest=manifest, graph=graph, tokenizer=TOKENIZER, golden=golden, report={}, card="draft\n")
    logits, targets = held_windows(net, held, rng, 12_000)
    scaled = np.exp((logits - logits.max(1, keepdims=True)) / heat)
    report: dict[str, Any] = {
        "data": panel.report,
        "parameters": parameter_count(net),
        "macs_per_base": net.macs_per_base(),
        "temperature": heat,
        "abstention": asdict(rule),
        "window_calibration": calibration(scaled / scaled.sum(1, keepdims=True), targets),
        "controls": {
            "panel": window_mcc(net, held),
            "k-mer counts": kmer_regression(panel.sampler("train"), held),
            "random twin": random_twin(net, panel.sampler("train"), held),
        },
    }
    with load(draft) as scorer:
        report["held_out"] = held_evidence(scorer, held, plan.seed)
        report["real"] = {folder.name: real_evidence(scorer, data, folder) for folder in reads}
    headline = {"held-out clusters": report["held_out"]["summary"]}
    headline |= {f"real reads ({folder})": evidence["summary"] for folder, evidence in report["real"].items()}
    manifest = replace(manifest, metrics=headline)
    card = model_card(manifest, report)
    write_bundle(output, manifest=manifest, graph=graph, tokenizer=TOKENIZER, golden=golden, report=report, card=card)
    draft.unlink()
    return report
