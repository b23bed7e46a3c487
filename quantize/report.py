"""One HTML page about how a bundle was compressed: verdicts, mixtures, sensitivity, where calls change."""

from __future__ import annotations

import csv
import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from edgeseq.bundle import Bundle
from edgeseq.errors import BundleError, SinkError
from quantize.card import top
from quantize.pack import REPORT_KEY
from quantize.pareto import pareto_path, plot

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 0.5rem 0 1.5rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.8rem 0.2rem 0; text-align: left; border-bottom: 1px solid #8884; }
td.number, th.number { text-align: right; }
svg { width: 100%; max-width: 40rem; font-size: 12px; fill: currentColor; }
code { font-size: 0.9em; overflow-wrap: anywhere; }
"""


def write_report(bundle: Bundle, output: Path) -> None:
    """The page at ``output``. Raises BundleError for a bundle that was not compressed, SinkError where the page cannot
    be written."""
    evidence = bundle.report.get(REPORT_KEY)
    if not isinstance(evidence, dict):
        raise BundleError(
            bundle.path, "its report says nothing of compression", remedy="name a bundle that quantize wrote"
        )
    try:
        output.write_text(page(bundle, evidence), encoding="utf-8")
    except OSError as error:
        raise SinkError(f"{output}: cannot be written: {error.strerror}") from error


def page(bundle: Bundle, evidence: dict[str, Any]) -> str:
    """The whole page; it refers to nothing outside of itself."""
    name, device = bundle.manifest.name, evidence["device"]
    size, calibration, evaluation = evidence["bytes"], evidence["calibration"], evidence["evaluation"]
    chosen = evidence["headline"]["mixture"]
    parts = [
        f"<h1>{_text(name)}, compressed for {_text(device)}</h1>",
        (
            f"<p>{_text(chosen)}: a graph of {size['graph']:,} bytes, {size['graph'] / size['float32 graph']:.0%} of "
            f"float32 ({size['float32 graph']:,}) and {size['graph'] / size['source graph']:.0%} of the graph that was "
            f"compressed ({size['source graph']:,}).</p>"
        ),
        (
            f"<p>Judged on {evaluation['reads']:,} reads of {evaluation['files']} files (sha256 <code>"
            f"{evaluation['sha256']}</code>); calibrated on {calibration['reads']:,} others (sha256 <code>"
            f"{calibration['sha256']}</code>). Bounds are one-sided at {evidence['settings']['confidence']:.4g}.</p>"
        ),
        "<h2>Verdicts</h2>",
        _table(
            ("figure", "outcome", "before", "after", "worse by", "at least", "at most", "budget", "n", "of"),
            (
                (
                    v["metric"],
                    v["outcome"],
                    v["reference"],
                    v["candidate"],
                    v["drop"],
                    v["lower"],
                    v["upper"],
                    v["limit"],
                    v["reads"],
                    v["unit"],
                )
                for v in evidence["verdicts"]
            ),
        ),
        *([f"<p>{_text(top(evidence['topk']))}</p>"] if "topk" in evidence else []),
        "<h2>Mixtures of formats</h2>",
        plot(evidence["points"], chosen),
        _table(
            ("mixture", "bytes", "expected work", "error", "rows that flip"),
            ((p["mixture"], p["bytes"], p["work"], p["error"], p["flips"]) for p in evidence["points"]),
        ),
        *_measured(bundle),
        "<h2>What was done</h2>",
        _table(
            ("operator", "pass", "what it is"), ((p["operator"], p["pass"], p["summary"]) for p in evidence["passes"])
        ),
        "<h2>Sensitivity: each operator alone</h2>",
        _table(
            ("operator", "format", "bytes saved", "error", "rows that flip"),
            ((s["operator"], s["scheme"], s["saved"], s["error"], s["flips"]) for s in evidence["sensitivity"]),
        ),
        "<h2>What stays float</h2>",
        _table(("operator", "kind", "why"), ((f["operator"], f["kind"], f["reason"]) for f in evidence["float"])),
        "<h2>Calls by length of read</h2>",
        _rows(evidence["lengths"]),
        "<h2>Calls by class</h2>",
        _rows(evidence["classes"]),
    ]
    title = _text(f"{name}: compression")
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _measured(bundle: Bundle) -> list[str]:
    """The table of times beside the bundle, where there is one."""
    path = pareto_path(Path(bundle.path))
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if not rows:
        return []
    return [
        "<h2>Measured</h2>",
        "<p>Times of the machine that compressed, one thread; they compare mixtures and do not predict the device.</p>",
        _table(rows[0], rows[1:]),
    ]


def _rows(rows: Sequence[dict[str, Any]]) -> str:
    return _table(tuple(rows[0]), (tuple(row.values()) for row in rows)) if rows else "<p>None.</p>"


def _table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [f"<tr>{''.join(f'<th>{_text(name)}</th>' for name in names)}</tr>"]
    for row in rows:
        cells = "".join(
            f'<td class="{"number" if _is_number(cell) else ""}">{_text(_shown(cell))}</td>' for cell in row
        )
        lines.append(f"<tr>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _is_number(cell: object) -> bool:
    return isinstance(cell, (int, float))


def _shown(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.4f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def _text(text: str) -> str:
    return html.escape(text)
