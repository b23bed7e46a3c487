"""The command ``edgeseq``: a thin shell around `edgeseq.commands`.

Exit codes: 0 fine, 1 bad data, 2 usage, 130 interrupted, 143 terminated. A traceback only with ``--debug``.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import click

from edgeseq import __version__
from edgeseq.allocator import one_arena
from edgeseq.errors import EdgeseqError, MissingExtraError, UsageError

COMMANDS = (
    "score",
    "watch",
    "status",
    "results",
    "report",
    "replay",
    "validate",
    "service",
    "demo",
    "inspect",
    "bench",
    "doctor",
)
"""In the order in which a newcomer meets them; each is a module of `edgeseq.commands`, loaded when it is asked for."""

_EXAMPLE = """Example:

\b
  edgeseq score reads/ -o calls.tsv

Start with: edgeseq demo
"""


class _Commands(click.Group):
    """Finds commands by name, and gives each of them ``--debug``."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"edgeseq.commands.{cmd_name}").command
        if not any(parameter.name == "debug" for parameter in command.params):
            command.params.append(_debug_option())
        return command


def _debug_option() -> click.Option:
    def remember(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            context.ensure_object(dict)["debug"] = True

    return click.Option(
        ["--debug"], is_flag=True, expose_value=False, callback=remember, help="Show the traceback of an error."
    )


@click.group(cls=_Commands, epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="edgeseq", message="%(prog)s %(version)s")
def commands() -> None:
    """Score nanopore reads beside the sequencer, alone and offline."""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of ``edgeseq ARGV``; ``argv`` defaults to the process's own arguments."""
    settings: dict[str, bool] = {}
    one_arena()
    try:
        code = commands.main(
            None if argv is None else list(argv), prog_name="edgeseq", standalone_mode=False, obj=settings
        )
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except EdgeseqError as error:
        if settings.get("debug"):
            raise
        click.echo(f"edgeseq: {error}", err=True)
        return 2 if isinstance(error, (UsageError, MissingExtraError)) else 1
    return code if isinstance(code, int) else 0
