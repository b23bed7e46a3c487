"""The panel's model card: what it is for, what it was made from, how well it does, and where it fails. Markdown from
the report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edgeseq.manifest import Manifest
from export.genomes import OTHER

FRESH = """\
The card's simulated reads are fresh, but they come from the held-out records that temperature and thresholds were
fitted on, and some labels have only two or three of those.
"""
LOWER_BOUND = """\
The search for such genomes is a lower bound: of a virus with many nearly identical genomes the reads spread over all
of them, and the consensus is short. Read the figures on real reads as figures on known strains.
"""


def _share(interval: Iterable[float]) -> str:
    share, low, high = interval
    return "–" if (low, high) == (0.0, 1.0) else f"{share:.4f} ({low:.4f}–{high:.4f})"


def _table(heads: list[str], rows: Iterable[Iterable[object]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _overall(summary: dict[str, Any]) -> str:
    low, high = summary["mcc_95"]
    return _table(
        ["figure", "value (95 % interval)"],
        [
            ("reads", summary["reads"]),
            ("MCC over called reads", f"{summary['mcc']:.4f} ({low:.4f}–{high:.4f})"),
            ("virus reads called", _share(summary["virus_called"])),
            ("virus reads given the right label", _share(summary["virus_right"])),
            ("background reads called a virus", _share(summary["background_called_virus"])),
        ],
    )


def _classes(rows: list[dict[str, Any]], tested: set[str] | None) -> str:
    return _table(
        ["label", "reads", "sensitivity", "precision", "unclassified"],
        [
            (
                row["label"] + ("" if tested is None or row["label"] in tested or row["label"] == OTHER else " †"),
                row["reads"],
                _share(row["sensitivity"]),
                _share(row["precision"]),
                _share(row["unclassified"]),
            )
            for row in rows
        ],
    )


def _by(rows: list[dict[str, Any]], what: str) -> str:
    return _table(
        [what, "reads", "right (95 %)", "unclassified"],
        [
            (row["key"], row["reads"], _share((row["right"], *row["right_95"])), f"{row['unclassified']:.4f}")
            for row in rows
        ],
    )


def _predictive(rows: list[dict[str, Any]]) -> str:
    return _table(
        ["share of virus reads in the sample", "PPV", "PPV at the upper bound of false calls"],
        [(f"{row['prevalence']:g}", f"{row['at_rate']:.3f}", f"{row['at_upper_bound']:.3f}") for row in rows],
    )


def _evidence(title: str, evidence: dict[str, Any], tested: set[str] | None) -> list[str]:
    parts = [f"## {title}\n", _overall(evidence["summary"])]
    parts += ["### Per class\n", _classes(evidence["classes"], tested)]
    parts += ["### Per read length\n", _by(evidence["lengths"], "length, b")]
    parts += ["### Per source\n", _by(evidence["sources"], "source")]
    parts += ["### What a positive call is worth\n", _predictive(evidence["predictive_value"])]
    return parts


def _data(report: dict[str, Any]) -> list[str]:
    data = report["data"]
    parts = [
        "## Training data\n",
        (
            "Genomes are split by similarity cluster: whole clusters are held out. Temperature and abstention are"
            " fitted on held-out clusters only.\n"
        ),
        _table(
            ["label", "records in training", "held out", "clusters", "clustered at identity"],
            [
                (row["label"], row["train"], row["held_out"], row["clusters"], row["cluster_identity"])
                for row in data["classes"]
            ],
        ),
        FRESH,
        f"Records refused by the label check (alignment): {len(data['refused'])}.\n",
    ]
    if data["dropped"]:
        parts += [
            (
                "Records dropped because they are nearly identical to a consensus of the test reads. The threshold is"
                " 0.99; where every genome of a virus is that close, it is raised until 25 records are left, and the"
                " figures on real reads of that virus are figures on known strains:\n"
            ),
            _table(
                ["label", "before", "after", "dropped from identity"],
                [(row["label"], row["before"], row["after"], row["dropped from identity"]) for row in data["dropped"]],
            ),
        ]
    if report["real"]:
        parts.append(LOWER_BOUND)
    for name, lineage in data["hold_out"].items():
        parts.append(
            f"Left out on purpose: {name} ({len(lineage['records'])} records, nearest label {lineage['expected']}).\n"
        )
    return parts


def model_card(manifest: Manifest, report: dict[str, Any]) -> str:
    """The card's text."""
    rule = manifest.task.abstention
    tested: set[str] = set()
    for evidence in report["real"].values():
        tested |= set(evidence["classes_tested"])
    controls = report["controls"]
    parts = [
        f"# {manifest.name} {manifest.version}\n",
        f"{manifest.description} Labels: {', '.join(manifest.task.labels)}.\n",
        (
            f"{report['parameters']:,} parameters, {report['macs_per_base']:.0f} multiply–accumulates per base,"
            f" temperature {report['temperature']}, threshold {rule.minimum_score} (own thresholds: "
            f"{', '.join(f'{k} {v}' for k, v in rule.thresholds.items())}), reads from {rule.minimum_length} b.\n"
        ),
        "## Limits of use\n",
        (
            "- A call says that a read resembles a class, not that a patient is ill. Research use; confirm by an"
            " independent method.\n"
            "- Viruses outside the list, ebolaviruses other than Zaire among them, can be called as their nearest"
            " relative.\n"
            "- Share and predictive value move with prevalence: see the tables.\n"
            "- Classes marked † below had no real reads to be tested on: their figures are simulated only.\n"
        ),
        *_data(report),
    ]
    for folder, evidence in report["real"].items():
        parts += _evidence(f"Real reads: {folder}", evidence, None)
        parts.append(
            f"Both strands of a read get the same label for {evidence['strand_agreement']:.4f} of the reads.\n"
        )
    parts += _evidence("Held-out clusters, simulated reads", report["held_out"], tested)
    window = report["window_calibration"]
    parts += [
        "## Calibration and controls\n",
        (
            f"Held-out windows after temperature: ECE {window['ece']:.4f}, Brier {window['brier']:.4f},"
            f" log loss {window['log_loss']:.4f}.\n"
        ),
        _table(
            ["model, held-out windows of 512 b, no abstention", "MCC"],
            [
                ("this panel", f"{controls['panel']['mcc']:.4f}"),
                ("logistic regression on 5-mer counts", f"{controls['k-mer counts']['mcc']:.4f}"),
                ("same net, random tables, trained head", f"{controls['random twin']['mcc']:.4f}"),
            ],
        ),
    ]
    return "\n".join(parts)
