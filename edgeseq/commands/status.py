"""``edgeseq status``: how a watched run stands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.table import Table

    from edgeseq.watch.standing import Standing

_EXAMPLES = """Examples:

\b
  edgeseq status out
  edgeseq status out --barcode barcode03
  edgeseq status out --json

Exits with 1 where somebody has to look: the daemon died, hangs or cannot go on.
"""
_POLICIES = {
    "all": "every read, whole",
    "prefix": "every read, of long ones only the first bases",
    "sample": "only some reads; the others have rows that say skipped",
}


@click.command("status", short_help="Show how a watched run stands.", epilog=_EXAMPLES)
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--barcode", "barcodes", multiple=True, metavar="NAME", help="Also its evidence, class by class.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.pass_context
def command(context: click.Context, out: Path, barcodes: tuple[str, ...], as_json: bool) -> None:
    """Show what edgeseq watch has found so far, whether it lives, and how it is; OUT is its output folder."""
    from edgeseq.errors import UsageError
    from edgeseq.watch.standing import standing

    found = standing(out)
    told = found.told
    if as_json:
        facts = {"alive": found.process is not None, "age": found.age, "stored": found.stored, "trouble": found.trouble}
        click.echo(json.dumps({**facts, "status": told}, indent=2))
    else:
        for barcode in barcodes:
            if told is None or barcode not in told["samples"]:
                raise UsageError(f"--barcode {barcode}: no read of it was scored in {out}")
        _show(found, barcodes)
    if found.trouble:
        context.exit(1)


def _show(found: Standing, barcodes: tuple[str, ...]) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    console.print(escape(found.sentence))
    if found.trouble:
        console.print(f"[bold red]{escape(found.trouble)}[/]")
    told = found.told
    if told is None:
        console.print(f"{found.stored:,} reads are stored; edgeseq results gives them")
        return
    if found.stored > told["totals"]["reads"]:
        console.print(f"{found.stored - told['totals']['reads']:,} reads were stored since")
    console.print()
    console.print(_headline(told))
    console.print()
    console.print(_samples(told))
    for barcode in barcodes:
        console.print()
        console.print(_evidence(barcode, told))
    console.print()
    console.print(_health(told))
    for one in told["events"][:5]:
        console.print(f"[dim]{escape(' · '.join((_clock(one['time']), one['kind'], one['subject'], one['text'])))}[/]")


def _headline(told: dict[str, Any]) -> str:
    """The answer for the run."""
    from rich.markup import escape

    from edgeseq.watch.words import count

    found = [one for one in told["run"]["answers"] if one["answer"] == "detected"]
    if found:
        lines = [f"[bold red]● {escape(one['label'])}[/] {escape(one['words'])}" for one in found]
        return "\n".join(lines)
    if not told["run"]["tested"]:
        return "[bold]No data yet[/]"
    if not told["run"]["answers"]:
        return f"[bold]{count(told['run']['tested'])} scored[/]; this bundle names no classes to look for"
    return f"[bold]Nothing detected at {count(told['run']['tested'])}[/]"


def _samples(told: dict[str, Any]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, side in (("Barcode", "left"), ("Reads", "right"), ("Mb", "right"), ("Answer", "left"), ("Most", "left")):
        table.add_column(name, justify="right" if side == "right" else "left", no_wrap=side == "right")
    for barcode, one in told["samples"].items():
        words = escape(f"control: {one['words']}" if one["control"] else one["words"])
        hit = any(answer["answer"] == "detected" for answer in one["answers"])
        table.add_row(
            escape(f"{barcode} {one['name']}".rstrip()),
            f"{one['reads']:,}",
            f"{one['bases'] / 1e6:,.1f}",
            f"[bold red]{words}[/]" if hit else words,
            escape(_most(one)),
        )
    if not told["samples"]:
        table.add_row("–", "0", "0.0", "no data yet", "")
    return table


def _most(sample: dict[str, Any]) -> str:
    """The largest shares, corrected."""
    made = sample.get("composition")
    if made is None:
        return ""
    return ", ".join(f"{one['label']} {one['share']:.1%}" for one in made["shares"][:3] if one["share"] >= 0.001)


def _evidence(barcode: str, told: dict[str, Any]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from edgeseq.watch.words import count, share_words

    known = {one["label"]: one for one in told["questions"]["classes"]}
    sample = told["samples"][barcode]
    title = f"{barcode}: {sample['words']}"
    if sample["asked"] and known:
        needed = next(iter(known.values()))["threshold"]
        title = f"{barcode}, at {count(sample['tested'])}; detected once the evidence is {needed:.1f}"
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title=escape(title), title_justify="left")
    for name in ("Class", "Answer"):
        table.add_column(name, no_wrap=True)
    for name in ("Below", "Called", "Share", "Background", "Evidence"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in sorted(sample["answers"], key=lambda one: (-one["strength"], -one["hits"])):
        least = f"{share_words(known[one['label']]['least'])}" if one["ruled_out"] else ""
        shares = f"{100 * one['low']:.2f}–{one['high']:.2%}", share_words(one["background"])
        table.add_row(escape(one["label"]), one["answer"], least, f"{one['hits']:,}", *shares, f"{one['strength']:.1f}")
    return table


def _health(told: dict[str, Any]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for name, value, bad in _health_rows(told):
        table.add_row(f"[dim]{name}[/]", f"[yellow]{escape(value)}[/]" if bad else escape(value))
    return table


def _health_rows(told: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Name, value, and whether it needs a look."""
    from edgeseq.watch.standing import duration
    from edgeseq.watch.words import count

    health, rates, bundle, device = told["health"], told["rates"], told["bundle"], told["device"]
    yield "speed", f"{rates['reads']:.1f} reads/s, {rates['bases'] / 1e3:.1f} kb/s over the last minute", False
    waits = f"{health['backlog_bytes']:,} bytes, the oldest for {duration(health['backlog_seconds'])}"
    yield "backlog", waits, health["backlog_seconds"] > 60
    yield "scored", _POLICIES[health["policy"]], health["policy"] != "all"
    left_out = f"{count(health['skipped'])} skipped, {health['shortened']:,} shortened, "
    yield "left out", f"{left_out}{health['duplicates']:,} duplicates", health["skipped"] + health["shortened"] > 0
    if health["latency_p50"] is not None:
        yield "flush to row", f"{health['latency_p50']:.2f} s, p99 {health['latency_p99']:.2f} s", False
    files = f"{health['files']:,} followed, {health['damaged_files']:,} damaged"
    yield "files", files, health["damaged_files"] > 0
    for problem in health["damaged"]:
        yield "damaged", problem, True
    for folder, problem in health["unlisted"].items():
        yield "not listed", f"{folder}: {problem}", True
    if health["disk_free"] is not None:
        yield "disk", f"{health['disk_free'] / 1e9:.1f} GB free", health["disk_free"] < 1e9
    for one in told["alerts"]:
        words = f"{one['name']}: {one['delivered']:,} sent, {one['waiting']:,} waiting, {one['failed']:,} failed"
        yield "alerts", f"{words}{'; ' if one['problem'] else ''}{one['problem']}", bool(one["problem"])
    yield "bundle", f"{bundle['name']} {bundle['version']} ({bundle['sha256'][:12]})", False
    yield "device", f"{device['host']}: {device['model']}, {device['provider']}, {device['threads']} threads", False


def _clock(when: float) -> str:
    import datetime as dt

    return dt.datetime.fromtimestamp(when).strftime("%d %b %H:%M")
