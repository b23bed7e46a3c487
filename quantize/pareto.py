"""The mixtures that were tried: bytes, time and damage, as CSV and as a plot."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeseq.errors import SinkError
from quantize.compress import Result
from quantize.schemes import FLOAT

COLUMNS = (
    "mixture",
    "graph_bytes",
    "work",
    "milliseconds",
    "times_float",
    "instructions_per_kilobase",
    "error",
    "row_flips",
    "outcome",
    "mcc",
    "mcc_drop",
    "mcc_drop_at_most",
    "flips",
    "flips_at_most",
    "figures",
)
WIDTH, HEIGHT, MARGIN = 640, 360, 56


def pareto_path(bundle: Path) -> Path:
    """Where the table of a bundle lies: beside it."""
    return bundle.with_name(f"{bundle.name.removesuffix('.edgeseq')}.pareto.csv")


def write_csv(path: Path, result: Result) -> Path:
    """The table; times are of this machine and run, which is why they are here and not in the bundle."""
    looks = {look.point.name: look for look in result.looks}
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    base = result.costs.get(FLOAT)
    if base is not None:
        first: dict[str, object] = {"mixture": FLOAT, "graph_bytes": base.bytes}
        first["milliseconds"] = f"{base.milliseconds:.3f}"
        if base.instructions is not None:
            first["instructions_per_kilobase"] = f"{base.instructions:.0f}"
        table.writerow(first)
    for point in result.points:
        row: dict[str, object] = {
            "mixture": point.name,
            "graph_bytes": point.bytes,
            "work": f"{point.work:.4f}",
            "error": f"{point.damage.error:.6f}",
            "row_flips": f"{point.damage.flips:.6f}",
        }
        cost = result.costs.get(point.name)
        if cost is not None:
            row |= {"milliseconds": f"{cost.milliseconds:.3f}", "times_float": f"{cost.ratio:.3f}"}
            if cost.instructions is not None:
                row["instructions_per_kilobase"] = f"{cost.instructions:.0f}"
        if point.name in result.slower:
            row["outcome"] = "slower"
        if point.name in looks:
            row["outcome"] = looks[point.name].outcome
            row["figures"] = "; ".join(
                f"{verdict.metric} {verdict.drop:.6f}, at most {verdict.upper:.6f}, n {verdict.reads}"
                for verdict in looks[point.name].verdicts
            )
            for verdict in looks[point.name].verdicts:
                if verdict.metric == "mcc":
                    row |= {"mcc": f"{verdict.candidate:.6f}", "mcc_drop": f"{verdict.drop:.6f}"}
                    row["mcc_drop_at_most"] = f"{verdict.upper:.6f}"
                elif verdict.metric == "flips":
                    row |= {"flips": f"{verdict.drop:.6f}", "flips_at_most": f"{verdict.upper:.6f}"}
        table.writerow(row)
    try:
        path.write_text(text.getvalue(), encoding="utf-8")
    except OSError as error:
        raise SinkError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def plot(points: Sequence[Mapping[str, Any]], chosen: str) -> str:
    """Bytes against damage of every mixture, as SVG; the written one is filled."""
    if not points:
        return ""
    sizes = [float(point["bytes"]) for point in points]
    errors = [float(point["error"]) for point in points]
    right, top = max(sizes) * 1.05, max(max(errors) * 1.1, 1e-9)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="bytes against error of every mixture">',
        f'<path d="M{MARGIN} 12V{HEIGHT - MARGIN}H{WIDTH - 12}" fill="none" stroke="currentColor"/>',
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">bytes of the graph</text>',
        (
            f'<text x="16" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 16 {HEIGHT / 2})">'
            "error beside float</text>"
        ),
    ]
    for step in range(5):
        x = MARGIN + (WIDTH - MARGIN - 12) * step / 4
        y = HEIGHT - MARGIN - (HEIGHT - MARGIN - 12) * step / 4
        parts.append(
            f'<text x="{x:.0f}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{right * step / 4e6:.2f} MB</text>'
        )
        parts.append(f'<text x="{MARGIN - 6}" y="{y + 4:.0f}" text-anchor="end">{top * step / 4:.3f}</text>')
    for point, size, error in zip(points, sizes, errors, strict=True):
        x = MARGIN + (WIDTH - MARGIN - 12) * size / right
        y = HEIGHT - MARGIN - (HEIGHT - MARGIN - 12) * error / top
        fill = "currentColor" if point["mixture"] == chosen else "none"
        label = html.escape(f"{point['mixture']}: {size:,.0f} bytes, error {error:.4f}, flips {point['flips']:.4f}")
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{fill}" stroke="currentColor">'
            f"<title>{label}</title></circle>"
        )
    return "\n".join([*parts, "</svg>"])
