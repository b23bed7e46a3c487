"""What the model card says about compression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def section(evidence: Mapping[str, Any]) -> str:
    """Markdown lines: what was done, what it costs, on which reads that was shown."""
    size, evaluation = evidence["bytes"], evidence["evaluation"]
    lines = [
        "## Compression",
        "",
        (
            f"This bundle is a compressed form of `{evidence['source']['name']}` (sha256 "
            f"{evidence['source']['sha256'][:16]}…), made for {evidence['device']}. "
            "Figures above this section were measured on the bundle that it was made of."
        ),
        "",
        (
            f"- Graph: {size['graph']:,} bytes, {size['graph'] / size['float32 graph']:.0%} of the graph in float32 "
            f"and {size['graph'] / size['source graph']:.0%} of the one that was compressed"
        ),
        *(f"- {each['operator']}: {each['pass']} ({each['summary']})" for each in evidence["passes"]),
        "",
        (
            f"Both bundles scored the same {evaluation['reads']:,} reads of {evaluation['files']} files; calibration "
            f"saw none of them, nor near-duplicates. Bounds are one-sided at {evidence['settings']['confidence']:.4g}."
        ),
        "",
        "| figure | before | after | worse by | at most | budget | n |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {each['metric']} | {each['reference']:.4f} | {each['candidate']:.4f} | {each['drop']:.4f} | "
        f"{each['upper']:.4f} | {each['limit']:g} | {each['reads']:,} {each['unit']} |"
        for each in evidence["verdicts"]
    ]
    if "topk" in evidence:
        lines += ["", top(evidence["topk"])]
    if evidence["lengths"]:
        lines += ["", *lengths(evidence["lengths"])]
    if evidence["strands"]:
        before, after = evidence["strands"]["before"], evidence["strands"]["after"]
        lines += [
            "",
            (
                f"Calls that differ between the strands of a read: {before:.2%} before, {after:.2%} after "
                f"({evidence['strands']['reads']:,} reads)."
            ),
        ]
    return "\n".join(lines) + "\n"


def top(definition: Mapping[str, str]) -> str:
    """What the figures called ``topk`` are shares of."""
    background = f"; {definition['background']} is background" if definition["background"] else ""
    return (
        f"topk is the share of the k positions with the float model's highest scores that are not among the k highest "
        f"here, k being the number of {definition['k']}{background}."
    )


def lengths(rows: list[Mapping[str, Any]]) -> list[str]:
    """A table by length of read."""
    table = ["| length | reads | right before | right after | calls changed |", "|---|---|---|---|---|"]
    return table + [
        f"| {row['length']} | {row['reads']:,} | {row['before']:.4f} | {row['after']:.4f} | {row['flips']:.4f} |"
        for row in rows
    ]
