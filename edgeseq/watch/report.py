"""A run on one page that explains itself: a single HTML file without a script and without anything to load."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from edgeseq.errors import SinkError
from edgeseq.watch.charts import Palette, evidence, interval, over_time, strip
from edgeseq.watch.history import History, leading, restored
from edgeseq.watch.journal import Source
from edgeseq.watch.journal_reader import JournalReader
from edgeseq.watch.standing import Standing, standing
from edgeseq.watch.tallies import Sample, Tallies
from edgeseq.watch.words import count, share_words

FILES = 500
"""Files that are listed; the others are counted."""
_STYLE = Path(__file__).parent / "page" / "style.css"
_MORE = """
table { margin: .4rem 0; } td.bar-cell { width: 45%; } td svg { width: 100%; } .chart { display: block; width: 100%; }
.chart text { fill: var(--soft); font-size: 12px; } .legend span { margin-right: 1rem; white-space: nowrap; }
@media print { section { break-inside: avoid; border: 0; } body { background: #fff; } .scroll { max-height: none; } }
.scroll { max-height: none; }
"""


@dataclass(frozen=True, slots=True)
class Run:
    """All that a report tells of a run."""

    standing: Standing
    history: History
    tallies: Tallies
    sources: list[Source]
    settings: Mapping[str, str]

    @property
    def told(self) -> Mapping[str, Any]:
        """The last status file, or nothing."""
        return self.standing.told or {}


def read_run(out: Path) -> Run:
    """A run from its output folder, while the daemon works or after it. Raises JournalError."""
    found = standing(out)
    reader = JournalReader(out)
    try:
        history, tallies, _ = restored(reader, 0.0)
        return Run(found, history, tallies, reader.sources(), reader.settings())
    finally:
        reader.close()


def write_report(run: Run, path: Path) -> None:
    """Writes the report; ``path`` gets its name when it is complete. Raises SinkError."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_text("".join(_document(run)), encoding="utf-8", errors="backslashreplace")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise SinkError(f"{path}: cannot be written: {error.strerror or error}") from error


def _document(run: Run) -> Iterator[str]:
    whole = run.tallies.whole()
    background = run.told.get("bundle", {}).get("background", "")
    palette = Palette([label for label, _ in whole.labels.most_common()], background)
    title = ", ".join(Path(root).name or root for root in run.settings.get("roots", "").splitlines()) or "run"
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    yield f'<meta name="color-scheme" content="light dark"><title>{escape(title)} · edgeseq</title>'
    yield f"<style>{_STYLE.read_text(encoding='utf-8')}{_MORE}</style></head><body>"
    now = dt.datetime.now().astimezone().strftime("%d %B %Y, %H:%M %Z")
    yield f'<header><h1>edgeseq <span id="run">{escape(title)}</span></h1><p id="state">{escape(now)}</p></header>'
    yield "<main>"
    yield from _headline(run, whole)
    yield from _overview(run, palette)
    yield _section("Composition over time, all barcodes", _chart(run.history, None, palette))
    yield from _compositions("all barcodes", run.told.get("run"), palette)
    for barcode, _ in run.tallies:
        yield from _barcode(run, barcode, palette)
    yield from _meaning(run)
    yield from _left_out(run, whole)
    yield from _files(run.sources)
    yield from _about(run)
    yield "</main></body></html>\n"


def _headline(run: Run, whole: Sample) -> Iterator[str]:
    told = run.told
    found = [one for one in told.get("run", {}).get("answers", []) if one["answer"] == "detected"]
    kind = "found" if found else "clear" if whole.tested else ""
    yield f'<section id="answer" class="{kind}">'
    if found:
        names = ", ".join(one["label"] for one in found)
        rows = "".join(f"<li><b>{escape(one['label'])}</b> {escape(one['words'])}</li>" for one in found)
        yield f"<strong>Detected: {escape(names)}</strong><ul>{rows}</ul>"
    elif not whole.tested:
        yield "<strong>No data yet</strong>"
    elif told and not told["run"]["answers"]:
        yield f"<strong>{count(told['run']['tested'])} scored</strong><p>This bundle names no classes to look for.</p>"
    elif told:
        yield f"<strong>Nothing detected at {count(told['run']['tested'])}</strong>"
    else:
        yield "<strong>No answers yet</strong>"
    yield f"<p>{count(whole.reads)}, {whole.bases:,} bases, {escape(run.standing.sentence)}."
    if told and whole.reads > told["totals"]["reads"]:
        yield f" {count(whole.reads - told['totals']['reads'])} came after these answers."
    if run.standing.trouble:
        yield f" <b>{escape(run.standing.trouble)}.</b>"
    yield "</p></section>"


def _overview(run: Run, palette: Palette) -> Iterator[str]:
    samples = run.told.get("samples", {})
    rows = []
    missing = {barcode: Sample() for barcode in samples if barcode not in run.tallies.samples}
    for barcode, sample in sorted([*run.tallies, *missing.items()], key=lambda one: one[0]):
        one = samples.get(barcode, {})
        words = one.get("words", "no answer yet")
        hit = any(answer["answer"] == "detected" for answer in one.get("answers", []))
        mark = ' class="found-word"' if hit else ""
        named = f"control: {words}" if one.get("control") else words
        rows.append(
            f'<tr><td>{escape(_titled(run, barcode))}</td><td class="number">{sample.reads:,}</td>'
            f'<td class="number">{sample.bases:,}</td><td{mark}>{escape(named)}</td>'
            f'<td class="bar-cell">{strip(sample.labels, palette)}</td></tr>'
        )
    head = ("Barcode", "Reads", "Bases", "Answer", "Calls")
    yield _section("Barcodes", _table(head, rows or ["<tr><td colspan=5>No data yet</td></tr>"], numbers=(1, 2)))


def _barcode(run: Run, barcode: str, palette: Palette) -> Iterator[str]:
    one = run.told.get("samples", {}).get(barcode)
    body = _chart(run.history, barcode, palette)
    if one is not None:
        body += "".join(_shares(one, palette)) + _evidence(run, one)
    yield _section(escape(_titled(run, barcode)), body)


def _titled(run: Run, barcode: str) -> str:
    """A barcode with the name of its sample, where it has one."""
    name = run.told.get("samples", {}).get(barcode, {}).get("name", "")
    return f"{barcode} · {name}" if name else barcode


def _chart(history: History, barcode: str | None, palette: Palette) -> str:
    table = leading(history.table(barcode))
    if not table:
        return "<p>No data yet</p>"
    names = "".join(
        f'<span><svg width="12" height="12"><rect width="12" height="12" fill="{palette[label]}"/></svg> '
        f"{escape('others' if label == '…' else label)}</span>"
        for label in palette.ordered(table)
    )
    return over_time(table, history.start, history.seconds, palette) + f'<p class="legend">{names}</p>'


def _compositions(title: str, one: Mapping[str, Any] | None, palette: Palette) -> Iterator[str]:
    if one is not None:
        yield _section(f"Composition: {escape(title)}", "".join(_shares(one, palette)))


def _shares(one: Mapping[str, Any], palette: Palette) -> Iterator[str]:
    made = one.get("composition")
    if made is None:
        return
    how = "corrected for what the model mixes up" if made["corrected"] else "of the calls as they are"
    yield f'<p class="note">Shares at {count(made["reads"])}, {how}, with 95 % intervals.</p>'
    scale = max((part["high"] for part in made["shares"]), default=1.0) or 1.0
    shown = [part for place, part in enumerate(made["shares"]) if place < 3 or part["share"] >= 0.001]
    rows = [
        f'<tr><td>{escape(part["label"])}</td><td class="number">{part["called"]:,}</td>'
        f'<td class="number">{part["share"]:.2%}</td>'
        f'<td class="number">{part["low"]:.2%} – {part["high"]:.2%}</td><td class="bar-cell">'
        f"{interval(part['share'], part['low'], part['high'], scale, palette[part['label']])}</td></tr>"
        for part in shown
    ]
    yield _table(("Class", "Called", "Share", "Interval", ""), rows, numbers=(1, 2, 3))
    if len(shown) < len(made["shares"]):
        yield f'<p class="note">{len(made["shares"]) - len(shown)} further classes: below 0.1 %.</p>'


def _evidence(run: Run, one: Mapping[str, Any]) -> str:
    if not one["asked"]:
        return f"<p>{escape(one['words'])}: more barcodes were met than are expected.</p>"
    thresholds = {known["label"]: known["threshold"] for known in run.told["questions"]["classes"]}
    rows = []
    called = [part for part in one["answers"] if part["hits"]]
    for part in sorted(called, key=lambda part: (-part["strength"], -part["hits"])):
        hit = part["answer"] == "detected"
        drawn = evidence(part["strength"], thresholds[part["label"]], detected=hit)
        mark = ' class="found-word"' if hit else ""
        rows.append(
            f"<tr><td{mark}>{escape(part['label'])}</td><td{mark}>{escape(part['words'])}</td>"
            f'<td class="number">{part["hits"]:,}</td><td class="number">{share_words(part["background"])}</td>'
            f'<td class="number">{part["strength"]:.1f} of {thresholds[part["label"]]:.1f}</td>'
            f'<td class="bar-cell">{drawn}</td></tr>'
        )
    table = _table(("Class", "Answer", "Called", "Background", "Evidence", ""), rows, numbers=(2, 3, 4)) if rows else ""
    never: dict[str, list[str]] = {}
    for part in one["answers"]:
        if not part["hits"]:
            never.setdefault(part["words"], []).append(part["label"])
    notes = [f"Never called, {escape(words)}: {escape(', '.join(labels))}." for words, labels in never.items()]
    return table + "".join(f'<p class="note">{note}</p>' for note in notes)


def _meaning(run: Run) -> Iterator[str]:
    asked = run.told.get("questions")
    if asked is None or not asked["classes"]:
        return
    words = (
        f"<p><b>Detected</b>: more reads are called so than the background explains. Where a class is absent from all "
        f"barcodes, any such answer is given in {share_words(asked['alpha'])} of runs at most, over all "
        f"{len(asked['classes'])} classes, {asked['barcodes']} barcodes and all moments at which one looks.</p>"
        f"<p><b>Not detected at n reads</b>: n reads do not show it. Where the answer adds a share, the class is ruled "
        f"out at that share; of barcodes where it makes up so much, this is said in {share_words(asked['beta'])} at "
        "most.</p><p><b>No data yet</b>: no read that could be called has come, and nothing is known.</p>"
    )
    if asked["control"]:
        words += (
            f"<p>The negative control is {escape(asked['control'])}: what is called in it raises the background.</p>"
        )
    yield _section("What the answers mean", words)


def _left_out(run: Run, whole: Sample) -> Iterator[str]:
    rows = [f'<tr><td>{escape(name)}</td><td class="number">{n:,}</td></tr>' for name, n in whole.reasons.most_common()]
    copies = sum(source.duplicates for source in run.sources)
    rows.append(f'<tr><td>duplicates, not counted</td><td class="number">{copies:,}</td></tr>')
    yield _section("Reads that were not called, by reason", _table(("Reason", "Reads"), rows, numbers=(1,)))


def _files(sources: list[Source]) -> Iterator[str]:
    ordered = sorted(sources, key=lambda source: (not source.problem, source.id))
    rows = [
        f'<tr><td>{escape(source.relative)}</td><td class="number">{source.records:,}</td>'
        f'<td class="number">{source.duplicates:,}</td><td>{escape(source.problem)}</td></tr>'
        for source in ordered[:FILES]
    ]
    body = _table(("File", "Reads", "Duplicates", "Problem"), rows, numbers=(1, 2))
    if len(ordered) > FILES:
        body += f'<p class="note">{len(ordered) - FILES:,} further files without problems.</p>'
    yield _section(f"Files: {len(sources):,}", body)


def _about(run: Run) -> Iterator[str]:
    told = run.told
    facts: list[tuple[str, str]] = [("Watched", run.settings.get("roots", "").replace("\n", ", "))]
    facts.append(("Bundle, sha256", run.settings.get("bundle", "")))
    if told:
        bundle, device = told["bundle"], told["device"]
        facts.append(("Bundle", f"{bundle['name']} {bundle['version']}, {bundle['licence']}"))
        facts.append(("Device", f"{device['host']}: {device['model']}, {device['cores']} cores, {device['machine']}"))
        facts.append(("Engine", f"{device['provider']}, {device['threads']} threads"))
        facts.append(("edgeseq", str(told["version"])))
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    yield _section("Bundle and device", f"<dl>{rows}</dl>")


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>"


def _table(head: Iterable[str], rows: Iterable[str], *, numbers: tuple[int, ...] = ()) -> str:
    cells = "".join(
        f'<th class="number">{name}</th>' if place in numbers else f"<th>{name}</th>" for place, name in enumerate(head)
    )
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
