"""One moment of the daemon as plain data, ready for JSON: what the page, ``status``, the metrics and reports show.

    state ─ bundle ─ device ─ totals ─ rates ─ health ─ questions ─ run ─ samples ─ history ─ detections ─ events

Every part is made by a function of its own from what the daemon counts; nothing here changes anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeseq.bundle import Bundle
from edgeseq.watch import device
from edgeseq.watch.answers import Answers
from edgeseq.watch.daemon import Daemon
from edgeseq.watch.detection import Detection
from edgeseq.watch.evidence import Answer, Evidence, weigh
from edgeseq.watch.shares import Composition
from edgeseq.watch.tallies import Sample
from edgeseq.watch.words import NOT_ASKED, answer_words, count

FORMAT = 1
STALLED = 60.0
"""Seconds without progress after which something hangs."""
DETECTIONS = 50
"""The latest detections that a snapshot holds."""
PROBLEMS = 20
"""Damaged files and folders that a snapshot names."""

Told = dict[str, Any]


def bundle_facts(bundle: Bundle) -> Told:
    """Which model says all this."""
    manifest = bundle.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "sha256": bundle.sha256,
        "task": manifest.task.kind,
        "labels": list(manifest.task.labels),
        "background": manifest.task.background,
        "licence": manifest.licence,
    }


def device_facts(daemon: Daemon) -> Told:
    """What it runs on."""
    return {**device.machine(), "provider": daemon.scorer.provider, "threads": daemon.scorer.threads}


def question_facts(answers: Answers) -> Told:
    """What is asked of each barcode, with the error rates as stated and as shared out between classes and barcodes."""
    asked = answers.questions
    classes = []
    for label in answers.classes:
        bounds = answers.bounds(label)
        known = answers.confusion is not None and label in answers.confusion.labels
        classes.append(
            {
                "label": label,
                "background": bounds.background,
                "least": bounds.least,
                "alpha": bounds.alpha,
                "threshold": -math.log10(bounds.alpha),
                "sensitivity": answers.confusion.sensitivity(label) if known and answers.confusion else None,
            }
        )
    return {
        "alpha": asked.alpha,
        "beta": asked.beta,
        "least": asked.least,
        "barcodes": asked.barcodes,
        "control": asked.control,
        "classes": classes,
    }


def health_facts(daemon: Daemon, out: Path, quiet: float) -> Told:
    """How it is: ``quiet`` is for how many seconds nothing has advanced."""
    files = list(daemon.files)
    damaged = [followed.source.problem for followed in files if followed.source.problem]
    latency = np.fromiter(list(daemon.progress.latency), np.float64)
    p50, p99 = np.quantile(latency, [0.5, 0.99]).tolist() if len(latency) else (None, None)
    free, total = device.disk(out)
    return {
        "trouble": daemon.progress.trouble,
        "quiet_seconds": quiet,
        "files": len(files),
        "damaged": damaged[:PROBLEMS],
        "damaged_files": len(damaged),
        "unlisted": dict(list(daemon.files.unlisted.copy().items())[:PROBLEMS]),
        "backlog_bytes": sum(followed.backlog for followed in files),
        "backlog_seconds": daemon.files.age(),
        "policy": daemon.load.policy,
        "skipped": daemon.load.skipped,
        "shortened": daemon.load.shortened,
        "duplicates": daemon.progress.duplicates,
        "latency_p50": p50,
        "latency_p99": p99,
        "disk_free": free,
        "disk_total": total,
        "memory": device.memory(),
        "temperature": device.temperature(),
    }


def state_of(health: Told, reads: int) -> tuple[str, str]:
    """One word for the whole, and why."""
    if health["trouble"]:
        return "trouble", health["trouble"]
    if health["quiet_seconds"] > STALLED:
        return "stalled", f"nothing has advanced for {health['quiet_seconds']:.0f} s; see the log"
    if health["unlisted"]:
        folder, problem = next(iter(health["unlisted"].items()))
        return "trouble", f"{folder} cannot be listed: {problem}"
    if health["policy"] == "prefix":
        return "behind", "the sequencer is faster than this machine: of long reads only the first bases are scored"
    if health["policy"] == "sample":
        return "behind", "the sequencer is faster than this machine: only some reads are scored, the others say skipped"
    if not health["files"]:
        return "waiting", "no file in the watched folders yet" if not reads else "no file in the watched folders"
    if not reads:
        return "waiting", "no read yet"
    return "running", ""


def run_facts(whole: Sample, samples: Mapping[str, Told], answers: Answers, composition: Composition | None) -> Told:
    """All barcodes as one: a class is detected in the run where it is detected in a barcode."""
    answered = []
    for label in answers.classes:
        where, reads = [], 0
        for barcode, told in samples.items():
            found = next((one for one in told["answers"] if one["label"] == label), None)
            if found is not None and barcode != answers.questions.control:
                reads += found["reads"]
                where += [barcode] if found["answer"] == Answer.DETECTED else []
        answer = Answer.DETECTED if where else Answer.NOT_DETECTED if reads else Answer.NO_DATA
        words = f"detected in {', '.join(where)}" if where else answer_words(answer, reads)
        hits = whole.labels[label]
        told = {"label": label, "answer": answer.value, "words": words, "hits": hits, "reads": reads, "barcodes": where}
        answered.append(told)
    return {**_counts(whole), "answers": answered, "composition": _composition(composition)}


def sample_facts(barcode: str, sample: Sample, answers: Answers, evidence: Sequence[tuple[str, Evidence]]) -> Told:
    """One barcode; of one beyond the expected number nothing is said."""
    if not sample.reads:
        evidence = [(label, weigh(0, 0, answers.bounds(label))) for label in answers.classes]
    if not evidence and answers.classes:
        return {**_counts(sample), "control": False, "asked": False, "words": NOT_ASKED, "answers": []}
    answered = [_answer(label, found, answers) for label, found in evidence]
    found = [one["label"] for one in answered if one["answer"] == Answer.DETECTED]
    if found:
        words = ", ".join(found) + " detected"
    else:
        words = answer_words(Answer.NOT_DETECTED if sample.tested else Answer.NO_DATA, sample.tested)
        words = f"nothing {words.removeprefix('not ')}" if sample.tested else words
        words = f"{count(sample.tested)} scored" if sample.tested and not answered else words
    control = barcode == answers.questions.control
    return {**_counts(sample), "control": control, "asked": True, "words": words, "answers": answered}


def with_compositions(samples: Mapping[str, Told], compositions: Mapping[str, Composition]) -> None:
    """Adds to each barcode its corrected composition, or None where there is none yet."""
    for barcode, told in samples.items():
        told["composition"] = _composition(compositions.get(barcode))


def detection_facts(detections: Sequence[Detection]) -> list[Told]:
    """The latest ones, the last first."""
    return [
        {"time": one.time, "barcode": one.barcode, "label": one.label, "id": one.id, "text": one.sentence}
        for one in reversed(detections[-DETECTIONS:])
    ]


def event_facts(events: Iterable[tuple[int, float, str, str, str]]) -> list[Told]:
    """What happened, the last first."""
    found = [
        {"number": number, "time": when, "kind": kind, "subject": subject, "text": text}
        for number, when, kind, subject, text in events
    ]
    return found[::-1]


def _answer(label: str, evidence: Evidence, answers: Answers) -> Told:
    least = answers.bounds(label).least if evidence.ruled_out else None
    return {
        "label": label,
        "answer": evidence.answer.value,
        "words": answer_words(evidence.answer, evidence.reads, least=least),
        "hits": evidence.hits,
        "reads": evidence.reads,
        "low": _short(evidence.low),
        "high": _short(evidence.high),
        "background": _short(evidence.background),
        "strength": round(min(evidence.strength, 1e6), 2),
        "ruled_out": evidence.ruled_out,
    }


def _counts(sample: Sample) -> Told:
    return {
        "reads": sample.reads,
        "bases": sample.bases,
        "tested": sample.tested,
        "labels": dict(sample.labels.most_common()),
        "reasons": dict(sample.reasons.most_common()),
    }


def _composition(composition: Composition | None) -> Told | None:
    if composition is None:
        return None
    shares = [
        {
            "label": one.label,
            "called": one.called,
            "share": _short(one.share),
            "low": _short(one.low),
            "high": _short(one.high),
        }
        for one in composition.shares
    ]
    return {"reads": composition.reads, "corrected": composition.corrected, "shares": shares}


def _short(value: float) -> float:
    """Four digits that matter."""
    return float(f"{value:.4g}")
