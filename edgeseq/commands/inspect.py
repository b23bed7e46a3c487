"""``edgeseq inspect``: what is in a bundle, and is it what it says?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeseq.bundle import Bundle, read_bundle
from edgeseq.errors import EngineError, SelfTestError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from edgeseq.selftest import SelfTestReport


_EXAMPLES = """Examples:

\b
  edgeseq inspect
  edgeseq inspect my.edgeseq --verify
"""


@click.command("inspect", short_help="Show what is in a bundle, and verify it.", epilog=_EXAMPLES)
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option("--verify", is_flag=True, help="Also run the self-test on this machine.")
@click.option("--card", is_flag=True, help="Print the model card instead.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.pass_context
def command(context: click.Context, bundle: Path | None, verify: bool, card: bool, as_json: bool) -> None:
    """Show the manifest, the labels with their thresholds, the members and the headline metrics of BUNDLE.

    Without BUNDLE, of the panel that comes with edgeseq. Reading a bundle always checks every hash; --verify also
    runs its golden cases. Exits with 1 where the bundle is damaged or the self-test fails.
    """
    found = read_bundle(bundle)
    if card:
        click.echo(found.card.rstrip("\n"))
        return
    report, failure = _verify(found) if verify else (None, "")
    if as_json:
        click.echo(json.dumps(_describe(found, report, failure), indent=2, ensure_ascii=False))
    else:
        _show(found, report, failure)
    if failure:
        context.exit(1)


def _verify(bundle: Bundle) -> tuple[SelfTestReport | None, str]:
    """The report of the self-test, or why it failed."""
    from edgeseq.selftest import self_test
    from edgeseq.session import Session

    try:
        return self_test(bundle, Session(bundle.graph), again=True), ""
    except (EngineError, SelfTestError) as error:
        return None, str(error)


def _members(bundle: Bundle) -> Iterator[tuple[str, int, str]]:
    """Name, size and sha256 of each member."""
    for name, data in bundle.members.items():
        yield name, len(data), hashlib.sha256(data).hexdigest()


def _describe(bundle: Bundle, report: SelfTestReport | None, failure: str) -> dict[str, Any]:
    """Everything as one JSON object; ``self_test`` is null where it did not run."""
    tested: dict[str, Any] | None = None
    if report is not None:
        tested = {"ok": True, "deltas": dict(report.deltas), "tolerance": report.tolerance, "provider": report.provider}
    elif failure:
        tested = {"ok": False, "problem": failure}
    return {
        "path": bundle.path,
        "sha256": bundle.sha256,
        "manifest": json.loads(bundle.manifest.to_json()),
        "files": [{"name": name, "size": size, "sha256": digest} for name, size, digest in _members(bundle)],
        "self_test": tested,
    }


def _show(bundle: Bundle, report: SelfTestReport | None, failure: str) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    manifest = bundle.manifest
    console.print(f"[bold]{escape(manifest.name)} {escape(manifest.version)}[/]  {escape(manifest.description)}")
    _print_pairs(console, "", dict(_facts(bundle)))
    if manifest.task.labels:
        console.print(_label_table(bundle))
    console.print(_member_table(bundle))
    for title, values in (("metrics", manifest.metrics), ("provenance", manifest.provenance)):
        if values:
            _print_pairs(console, title, values)
    console.print("\nEvery member has the sha256 that the manifest gives.")
    if report is not None:
        worst = max(report.deltas.values())
        console.print(
            f"[green]Self-test passed[/]: {report.cases} golden cases on {report.provider}, "
            f"off by {worst:.2g} of {report.tolerance:g} allowed."
        )
    elif failure:
        console.print(f"[bold red]Self-test failed[/]: {escape(failure)}")
    else:
        console.print("Run with --verify to test that this machine computes what the bundle promises.")


def _facts(bundle: Bundle) -> Iterator[tuple[str, str]]:
    manifest = bundle.manifest
    task, reads, graph = manifest.task, manifest.input, manifest.graph
    yield "file", bundle.path
    yield "sha256", bundle.sha256
    yield "licence", manifest.licence
    yield "made for", manifest.target
    yield "task", f"{task.kind}, {len(task.labels)} labels, {task.activation} at temperature {task.temperature:g}"
    yield (
        "input",
        (
            f"{reads.alphabet}, windows of {reads.window} every {reads.stride}, last at least {reads.minimum}, "
            f"strand {reads.strand}"
        ),
    )
    yield (
        "never called",
        (
            f"shorter than {task.abstention.minimum_length} bases, "
            f"more than {task.abstention.maximum_n_fraction:.0%} N, or less sure than the label's threshold"
        ),
    )
    tensors = (*graph.inputs, *graph.outputs)
    shapes = [f"{each.name} {each.dtype} ({', '.join(map(str, each.shape))})" for each in tensors]
    yield "graph", f"opset {graph.opset}, {graph.precision}: {'; '.join(shapes)}"
    if graph.macs_per_base is not None:
        yield "cost", f"{graph.macs_per_base:,.0f} multiply–accumulates per base"
    if graph.reach:
        yield "reach", f"each row costs as much as {graph.reach:,} tokens more"


def _label_table(bundle: Bundle) -> Table:
    from rich.markup import escape
    from rich.table import Table

    task = bundle.manifest.task
    table = Table(title="labels", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("label")
    table.add_column("threshold", justify="right")
    table.add_column("")
    for label in task.labels:
        threshold = task.abstention.thresholds.get(label, task.abstention.minimum_score)
        table.add_row(escape(label), f"{threshold:.3f}", "background" if label == task.background else "")
    return table


def _member_table(bundle: Bundle) -> Table:
    from rich.table import Table

    table = Table(title="members", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("name")
    table.add_column("bytes", justify="right")
    table.add_column("sha256")
    for name, size, digest in _members(bundle):
        table.add_row(name, f"{size:,}", f"{digest[:16]}…")
    return table


def _print_pairs(console: Console, title: str, values: Mapping[str, Any]) -> None:
    """Names and values below ``title``; nested objects as JSON."""
    from rich.markup import escape
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    for name, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        table.add_row(f"[dim]{escape(name)}[/]", escape(text))
    if title:
        console.print(f"[italic]{title}[/]")
    console.print(table)
