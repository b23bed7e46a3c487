"""Tables that MultiQC shows among those of other tools: its "custom content", found by the names of the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeseq.errors import SinkError
from edgeseq.watch.report import Run

GENERAL, CALLS, ANSWERS = "edgeseq_general_mqc.json", "edgeseq_calls_mqc.json", "edgeseq_answers_mqc.tsv"


def write_multiqc(run: Run, folder: Path) -> list[Path]:
    """Three files: columns for the general statistics, the calls as bars, and the answers as a table; one sample for
    each barcode. Raises SinkError.
    """
    texts = {GENERAL: _general(run), CALLS: _calls(run), ANSWERS: _answers(run)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise SinkError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return [folder / name for name in texts]


def _general(run: Run) -> str:
    data: dict[str, dict[str, Any]] = {}
    answered = run.told.get("samples", {})
    for barcode, sample in run.tallies:
        answer = answered.get(barcode, {})
        found = [one["label"] for one in answer.get("answers", []) if one["answer"] == "detected"]
        control = "control: " if answer.get("control") else ""
        data[barcode] = {
            "edgeseq_reads": sample.reads,
            "edgeseq_unclassified": 100 * sample.labels["unclassified"] / max(1, sample.reads),
            "edgeseq_detected": control + (", ".join(found) or answer.get("words", "no answer yet")),
        }
    columns = [
        {"edgeseq_reads": {"title": "Reads", "description": "Reads scored", "format": "{:,.0f}"}},
        {"edgeseq_unclassified": {"title": "Unclassified", "suffix": "%", "max": 100, "format": "{:,.1f}"}},
        {"edgeseq_detected": {"title": "Detected", "description": "Classes that are present, or what is known"}},
    ]
    return json.dumps(
        {"id": "edgeseq_general", "plot_type": "generalstats", "pconfig": columns, "data": data}, indent=1
    )


def _calls(run: Run) -> str:
    told = {
        "id": "edgeseq_calls",
        "section_name": "edgeseq: calls",
        "description": "Reads of each barcode by what they were called.",
        "plot_type": "bargraph",
        "pconfig": {"id": "edgeseq_calls_plot", "title": "edgeseq: calls", "ylab": "reads"},
        "data": {barcode: dict(sample.labels.most_common()) for barcode, sample in run.tallies},
    }
    return json.dumps(told, indent=1)


def _answers(run: Run) -> str:
    lines = [
        "# id: 'edgeseq_answers'",
        "# section_name: 'edgeseq: answers'",
        "# description: 'Whether each class is present in each barcode. A class that was never called is left out.'",
        "# format: 'tsv'",
        "# plot_type: 'table'",
        "# pconfig:",
        "#     id: 'edgeseq_answers_table'",
        "#     title: 'edgeseq: answers'",
        "Sample\tBarcode\tClass\tAnswer\tCalled\tReads\tShare (%)\tFrom (%)\tTo (%)",
    ]
    for barcode, sample in run.told.get("samples", {}).items():
        made = sample.get("composition") or {"shares": []}
        shares = {one["label"]: one for one in made["shares"]}
        control = "control: " if sample["control"] else ""
        for one in sample["answers"]:
            if not one["hits"] and one["answer"] != "detected":
                continue
            share = shares.get(one["label"])
            figures = [f"{100 * share[key]:.4g}" for key in ("share", "low", "high")] if share else ["", "", ""]
            place = (f"{barcode} {one['label']}", barcode, one["label"], f"{control}{one['answer']}")
            lines.append("\t".join(map(_cell, (*place, one["hits"], one["reads"], *figures))))
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    return " ".join(str(value).split())
