"""``edgeseq doctor``: is this machine ready?"""

from __future__ import annotations

import dataclasses
import json

import click

from edgeseq.health import Check, State, check_machine

_MARKS: dict[State, str] = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[bold red]fail[/]"}


_EXAMPLE = """Example:

\b
  edgeseq doctor
"""


@click.command("doctor", short_help="Check that this machine is ready.", epilog=_EXAMPLE)
@click.option("-m", "--model", "bundle", metavar="BUNDLE", help="Test this bundle instead of the embedded panel.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the list.")
@click.pass_context
def command(context: click.Context, bundle: str | None, as_json: bool) -> None:
    """Check python, engine, processor, memory, disk, clock and the bundle's self-test.

    Exits with 1 where a check fails. Nothing is changed.
    """
    checks = list(check_machine(bundle))
    failed = [check for check in checks if check.state == "fail"]
    if as_json:
        found = {"ok": not failed, "checks": [dataclasses.asdict(check) for check in checks]}
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _show(checks)
    if failed:
        context.exit(1)


def _show(checks: list[Check]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for check in checks:
        table.add_row(_MARKS[check.state], check.name, escape(check.seen))
        if check.remedy:
            table.add_row("", "", f"[bold]→ {escape(check.remedy)}[/]")
    console = Console(highlight=False)
    console.print(table)
    console.print()
    states = [check.state for check in checks]
    if "fail" in states:
        console.print(f"{states.count('fail')} of {len(states)} checks failed: follow the arrows, then run this again.")
    elif "warn" in states:
        console.print("Ready, with reservations.")
    else:
        console.print("Ready. Next: edgeseq score READS")
