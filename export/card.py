"""The panel's model card: what it is for, what it was made from, how well it does, and where it fails. Markdown from
the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from edgeseq.manifest import Manifest
from export.genomes import OTHER

FRESH = """\
The card's simulated reads come from the records of the column "reported on", which neither training nor the fitting of
temperature and thresholds has seen. Some labels have one or two such clusters: their figures say little about others.
"""
KNOWN_STRAINS = """\
Where the threshold was raised, records that are closer than 0.99 do train: read the figures on real reads of those
labels as figures on known strains. Samples whose reads are too few for a consensus (5 of them over 150 b) are not
searched for.
"""
DROPPED = ("before", "after", "at least 0.99 identical", "dropped from identity")


def _share(interval: Iterable[float]) -> str:
    share, low, high = interval
    return "–" if (low, high) == (0.0, 1.0) else f"{share:.4f} ({low:.4f}–{high:.4f})"


def _table(heads: list[str], rows: Iterable[Sequence[object]]) -> str:
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


def _refused(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    keys = ("label", "record", "verdict", "found", "share of own class")
    return [_table(list(keys), [[row[key] for key in keys] for row in rows])]


def _data(report: dict[str, Any]) -> list[str]:
    data = report["data"]
    parts = [
        "## Training data\n",
        (
            "Genomes are split by similarity cluster: whole clusters are held out. Temperature and abstention are"
            " fitted on some of the held-out clusters, and figures are reported on the others.\n"
        ),
        _table(
            ["label", "records in training", "fitted on", "reported on", "clusters", "clustered at identity"],
            [
                [row[key] for key in ("label", "train", "calibration", "held_out", "clusters", "cluster_identity")]
                for row in data["classes"]
            ],
        ),
        FRESH,
        f"Records refused by the label check (alignment): {len(data['refused'])}.\n",
        *_refused(data["refused"]),
    ]
    if data["dropped"]:
        parts += [
            (
                "Records dropped because they are nearly identical to the consensus of a file of test reads. The"
                " threshold is 0.99; of a virus that would have fewer than 25 genomes left, it is raised until it has"
                " them:\n"
            ),
            _table(
                ["label", *DROPPED],
                [(row["label"], *(row[key] for key in DROPPED)) for row in data["dropped"]],
            ),
        ]
    if report["real"]:
        parts.append(KNOWN_STRAINS)
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
                ("same net left at random, logistic regression for its head", f"{controls['random twin']['mcc']:.4f}"),
            ],
        ),
    ]
    return "\n".join(parts)
