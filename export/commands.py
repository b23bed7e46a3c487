"""The commands that turn a checkpoint into a bundle, and that say which checkpoints can be turned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

import click

from edgeseq.manifest import TaskKind
from export.errors import FamilyError

if TYPE_CHECKING:
    from export.convert import Converted


@click.command("checkpoint")
@click.argument("source", metavar="CHECKPOINT", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The bundle to write."
)
@click.option("--task", type=click.Choice(get_args(TaskKind)), help="Default: what the checkpoint was trained for.")
@click.option("--labels", metavar="A,B,…", default="", help="Names of the classes, in the order of the logits.")
@click.option("--max-length", type=click.IntRange(1), metavar="N", help="Longest row in tokens. Default: the model's.")
@click.option(
    "--outputs", metavar="A,B", default="", help="What the graph gives: logits, last_hidden_state. Default: by task."
)
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="A choice that only one family knows.")
@click.option("--name", help="Default: the name of the checkpoint.")
@click.option("--licence", default="unknown", show_default=True, help="Licence of the weights.")
@click.option("--version", default="1", show_default=True)
def checkpoint_command(
    source: Path,
    output: Path,
    task: str | None,
    labels: str,
    max_length: int | None,
    outputs: str,
    options: tuple[str, ...],
    name: str | None,
    licence: str,
    version: str,
) -> None:
    """Turn a published checkpoint into a bundle whose graph is proven against its module.

    CHECKPOINT is a folder as published (configuration, tokenizer, weights) or a weight file in one. Code in it is never
    run. The exit code is 1, and nothing is written, for a checkpoint that is refused.

    \b
    Example:
      python -m export nucleotide-transformer-v2-50m -o nt.edgeseq --task embedding
    """
    from export.convert import Naming, convert
    from export.network import Request

    request = Request(
        task=cast(TaskKind, task) if task else None,
        labels=tuple(filter(None, labels.split(","))),
        max_length=max_length,
        options=dict(pair(option) for option in options),
    )
    naming = Naming(name or source.resolve().stem or "model", version, licence)
    found = convert(
        source,
        output,
        request,
        naming,
        outputs=tuple(filter(None, outputs.split(","))),
        progress=lambda step: click.echo(f"{step} …", err=True),
    )
    report(found)


def report(found: Converted) -> None:
    """Says what was written, and how well graph and module agree."""
    lengths = [length for one in found.compared for length in one.lengths]
    click.echo(
        f"{found.path}: {found.family}, {found.manifest.task.kind}; graph and module differ by at most "
        f"{found.worst:.1e} over {len(found.compared)} batches, rows of {min(lengths)} to {max(lengths)} tokens",
        err=True,
    )


@click.command("list")
def list_command() -> None:
    """Say which families are known: tokenizer, kinds of task, longest row, and what is proven."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from export.families import families

    table = Table("family", "tokenizer", "tasks", "longest row", "proven against", box=box.SIMPLE)
    for family in families():
        table.add_row(family.name, family.tokenizer, ", ".join(family.tasks), family.max_length, family.proven)
    console = Console()
    if not console.is_terminal:
        console.width = 160
    console.print(table)
    for family in families():
        for option, does in family.options.items():
            console.print(f"  --option {option}=… ({family.name}) {does}", markup=False, highlight=False)


def pair(option: str) -> tuple[str, str]:
    """Key and value of an option. Raises `FamilyError` for anything else."""
    key, equals, value = option.partition("=")
    if not equals or not key:
        raise FamilyError(option, "an option is written KEY=VALUE")
    return key, value
