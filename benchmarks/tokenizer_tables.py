"""Tables, CSV and plot of `benchmarks.tokenizer_errors`."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.paired import Codes, Draws, Estimate
from benchmarks.small_models import KINDS

CONTROL, TWIN = "5-mers", "untrained"
REFERENCE = "whole-float"
STEPS = {
    "0": "no errors",
    "1": "1 %",
    "3": "3 %",
    "5": "5 %",
    "late": "one base late",
}
CUTS = {"ffn": "feed-forward − 30 %", "channels": "all channels − 30 %"}
STYLES: dict[str, tuple[Literal["-", "--", ":"], str]] = {
    REFERENCE: ("-", "float"),
    "whole-int8": ("--", "int8"),
    "ffn-recovered-int8": (":", "pruned, recovered, int8"),
}
"""The variants in the plot of errors."""
_COLOURS = {
    CONTROL: "#7f7f7f",
    "gpn": "#1f6f8b",
    "hyena": "#4caf7d",
    "dnabert": "#c0392b",
    "nt": "#8e44ad",
    "dnabert2": "#d68910",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One variant under one condition: its MCC, and beside the float model on the same sequences the change of MCC and
    the share of changed calls; beside its own calls of the sequences as they are the same two, ``lost`` and ``moved``.
    ``bytes`` are the graph's; 0 for a control."""

    model: str
    variant: str
    condition: str
    sequences: int
    mcc: Estimate
    change: Estimate | None
    flips: Estimate | None
    moved: Estimate | None
    lost: Estimate | None
    bytes: int

    @classmethod
    def of(
        cls,
        key: tuple[str, str, str],
        draws: Draws,
        called: Codes,
        reference: Codes | None = None,
        clean: Codes | None = None,
        size: int = 0,
    ) -> Figure:
        """That of model, variant and condition (``key``), beside the float model's calls and its own of the sequences
        as they are."""
        changed = flips = moved = lost = None
        if reference is not None and key[1] != REFERENCE:
            changed, flips = draws.change(reference, called), draws.flips(reference, called)
        if clean is not None and key[2] != "0":
            moved, lost = draws.flips(clean, called), draws.change(clean, called)
        return cls(*key, len(called), draws.score(called), changed, flips, moved, lost, size)


@dataclass(frozen=True, slots=True)
class Table:
    """All figures of a task. ``parts``: sequences of each part; ``facts``: what the split removed; ``trained``: how
    each training went; ``times``: of each model's variants, as a multiple of the whole float graph's."""

    task: str
    title: str
    test: int
    parts: Mapping[str, str]
    facts: Mapping[str, int]
    figures: Sequence[Figure]
    trained: Mapping[str, Mapping[str, Any]]
    times: Mapping[str, Mapping[str, float]]

    def figure(self, model: str, variant: str, condition: str) -> Figure | None:
        found = [f for f in self.figures if (f.model, f.variant, f.condition) == (model, variant, condition)]
        return found[0] if found else None

    @property
    def models(self) -> list[str]:
        return list(dict.fromkeys(f.model for f in self.figures if f.model != CONTROL))

    def variants(self, model: str) -> list[str]:
        return list(dict.fromkeys(f.variant for f in self.figures if f.model == model and f.variant != TWIN))

    def markdown(self) -> str:
        """Everything, as the documentation has it."""
        parts = ", ".join(f"{name} {count}" for name, count in self.parts.items())
        facts = "; ".join(f"{what} {count:,}" for what, count in self.facts.items())
        blocks = [
            f"### {self.title[0].upper()}{self.title[1:]}",
            f"Sequences (of class 1; components): {parts}. The split: {facts}.",
            "What compression changes:",
            self._compression(),
            "MCC under errors:",
            self._errors(),
            "What errors change, beside the same model's calls of the sequences as they are: calls, and MCC:",
            self._moved(),
        ]
        return "\n\n".join(blocks) + "\n"

    def _compression(self) -> str:
        """Times have a column where there are any."""
        names = ["bytes", "of float", *(["time"] if self.times else []), "MCC", "change to float", "changed calls"]
        lines = [f"| model | variant | {' | '.join(names)} |", "|---|---|" + "--:|" * len(names)]
        blank = [""] * (len(names) - 4)
        control = self.figure(CONTROL, REFERENCE, "0")
        if control is not None:
            cells = ["logistic regression on 5-mers", "control", "", *blank, mcc_cell(control.mcc), "", ""]
            lines.append(f"| {' | '.join(cells)} |")
        for model in self.models:
            whole = self.figure(model, REFERENCE, "0")
            for variant in (*self.variants(model), TWIN):
                one = self.figure(model, variant, "0")
                if one is None or whole is None:
                    continue
                size = [f"{one.bytes:,}", f"{one.bytes / whole.bytes:.0%}"] if one.bytes else ["", ""]
                if self.times:
                    ratio = self.times.get(model, {}).get(variant)
                    size.append(f"{ratio:.2f}" if ratio else "")
                cells = [KINDS[model].tokens, title(variant), *size, mcc_cell(one.mcc)]
                cells += [change_cell(one.change), share_cell(one.flips)]
                lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)

    def _errors(self) -> str:
        lines = [
            f"| model | variant | {' | '.join(STEPS.values())} | 5 %: change to float | 5 %: changed calls |",
            "|---|---|" + "--:|" * (len(STEPS) + 2),
        ]
        for name, variant, found in self._complete():
            cells = " | ".join(mcc_cell(one.mcc) for one in found.values())
            last = f"{change_cell(found['5'].change)} | {share_cell(found['5'].flips)}"
            lines.append(f"| {name} | {title(variant)} | {cells} | {last} |")
        return "\n".join(lines)

    def _moved(self) -> str:
        names = [name for step, name in STEPS.items() if step != "0"]
        names += ["5 %: change of MCC", "one base late: change of MCC"]
        lines = [f"| model | variant | {' | '.join(names)} |", "|---|---|" + "--:|" * len(names)]
        for name, variant, found in self._complete():
            cells = [share_cell(one.moved) for step, one in found.items() if step != "0"]
            cells += [change_cell(found["5"].lost), change_cell(found["late"].lost)]
            lines.append(f"| {name} | {title(variant)} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def _complete(self) -> Iterator[tuple[str, str, dict[str, Figure]]]:
        """Name, variant and figures of what was scored under every condition."""
        for model in (CONTROL, *self.models):
            for variant in self.variants(model):
                found = {step: self.figure(model, variant, step) for step in STEPS}
                known = {step: one for step, one in found.items() if one is not None}
                if len(known) == len(STEPS):
                    yield (KINDS[model].tokens if model in KINDS else "logistic regression on 5-mers"), variant, known


def title(variant: str) -> str:
    """What a variant is called in a table."""
    if variant == TWIN:
        return "control: untrained twin"
    cut, *rest = variant.split("-")
    words = [CUTS[cut]] if cut in CUTS else []
    return ", ".join(words + [word for word in rest if word != "float" or not words])


def mcc_cell(one: Estimate) -> str:
    """``.712 (.690–.734)``."""
    return f"{_short(one.value)} ({_short(one.low)}–{_short(one.high)})"


def change_cell(one: Estimate | None) -> str:
    """``−.004 (−.010 to +.002)``, in bold where the interval leaves 0 out."""
    if one is None:
        return ""
    text = f"{_short(one.value, '+')} ({_short(one.low, '+')} to {_short(one.high, '+')})"
    return f"**{text}**" if one.differs else text


def share_cell(one: Estimate | None) -> str:
    """``1.2 % (0.9–1.7)``."""
    return "" if one is None else f"{100 * one.value:.1f} % ({100 * one.low:.1f}–{100 * one.high:.1f})"


def _short(value: float, sign: str = "-") -> str:
    text = f"{value:{sign}.3f}".replace("-", "−").replace("0.", ".", 1)
    return text if "." in text else f"{value:.3f}"


def write_csv(path: Path, tables: Sequence[Table]) -> None:
    """A row for each figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [f"{what}{end}" for what in ("mcc", "change", "flips", "moved", "lost") for end in ("", "_low", "_high")]
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["task", "model", "variant", "errors", "sequences", "bytes", *names])
        for table in tables:
            for one in table.figures:
                numbers = [
                    f"{number:.5f}" if each is not None else ""
                    for each in (one.mcc, one.change, one.flips, one.moved, one.lost)
                    for number in ((each.value, each.low, each.high) if each is not None else (0, 0, 0))
                ]
                rows.writerow(
                    [table.task, one.model, one.variant, one.condition, one.sequences, one.bytes or "", *numbers]
                )


def write_plot(path: Path, tables: Sequence[Table]) -> None:
    """For each task: MCC against errors, calls that errors move, and what compression changes, with intervals."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import lines
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(tables), 3, figsize=(13, 4 * len(tables)), width_ratios=(3, 3, 4), squeeze=False)
    rates = [int(each) for each in STEPS if each.isdigit()]
    for (left, middle, right), table in zip(axes, tables, strict=True):
        for number, model in enumerate([CONTROL, *table.models]):
            for variant, (style, _) in STYLES.items():
                found = {rate: table.figure(model, variant, str(rate)) for rate in rates}
                scored = {rate: one.mcc for rate, one in found.items() if one is not None}
                moved = {rate: one.moved for rate, one in found.items() if one is not None and one.moved is not None}
                for axis, estimates in ((left, scored), (middle, moved)):
                    at = [rate + 0.06 * (number - 2) for rate in estimates]
                    values = [one.value for one in estimates.values()]
                    axis.plot(at, values, style, color=_COLOURS[model], linewidth=1.3)
                    if variant == REFERENCE:
                        below = [one.value - one.low for one in estimates.values()]
                        above = [one.high - one.value for one in estimates.values()]
                        axis.errorbar(at, values, [below, above], fmt="o", color=_COLOURS[model], markersize=3)
        left.set_xlabel("sequencing errors, %")
        left.set_ylabel("MCC")
        left.set_title(f"{table.title}, n = {table.test:,}", fontsize=9)
        middle.set_xlabel("sequencing errors, %")
        middle.set_ylabel("share of calls that errors change")
        shown = [(model, variant) for model in table.models for variant in table.variants(model)]
        height = 0
        for model, variant in reversed(shown):
            one = table.figure(model, variant, "0")
            if one is None or one.change is None:
                continue
            right.plot([one.change.low, one.change.high], [height, height], color=_COLOURS[model], linewidth=1.5)
            right.plot(one.change.value, height, "o", color=_COLOURS[model], markersize=4)
            name, place = f"{model}: {title(variant)}", ("axes fraction", "data")
            right.annotate(name, (1.01, height), xycoords=place, fontsize=6, va="center")
            height += 1
        right.axvline(0, color="#999999", linewidth=0.8)
        right.set_yticks([])
        right.set_xlabel("change of MCC to float, no errors")
    handles = [lines.Line2D([], [], color=colour, label=model) for model, colour in _COLOURS.items()]
    for style, name in STYLES.values():
        handles.append(lines.Line2D([], [], color="black", linestyle=style, label=name))
    figure.legend(handles=handles, loc="lower center", ncol=len(handles), fontsize=7, frameon=False)
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=70)
    plt.close(figure)
