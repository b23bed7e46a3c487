"""``edgeseq validate``: would this configuration run?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edgeseq.health import State

_MARKS: dict[State, str] = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[bold red]fail[/]"}
_EXAMPLES = """Examples:

\b
  edgeseq validate run.toml
  edgeseq validate run.toml && systemctl reload edgeseq-watch
"""


@click.command("validate", short_help="Check a configuration for watch.", epilog=_EXAMPLES)
@click.argument("config", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_context
def command(context: click.Context, config: Path) -> None:
    """Check all that can be known before it runs, and say what edgeseq watch --config FILE would do.

    Keys and values, the bundle with its self-test, classes, folders, the output folder and what it was begun with, the
    port, channels of alerts. Nothing is changed, nobody is alerted. Exits with 2 for mistakes in FILE, 1 where a check
    fails.
    """
    from rich.console import Console
    from rich.markup import escape

    from edgeseq.watch.config import read_configuration
    from edgeseq.watch.validation import check_configuration

    console = Console(highlight=False, soft_wrap=True)
    failed = 0
    for check in check_configuration(read_configuration(config)):
        failed += check.state == "fail"
        console.print(f"{_MARKS[check.state]}  {check.name:9}  {escape(check.seen)}")
        if check.remedy:
            console.print(f"{'':17}[bold]→ {escape(check.remedy)}[/]")
    console.print()
    if failed:
        console.print(
            f"{failed} {'check' if failed == 1 else 'checks'} failed: follow the arrows, then run this again."
        )
        context.exit(1)
    console.print(f"Good. It is run with: edgeseq watch --config {escape(str(config))}")
