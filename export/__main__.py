"""``python -m export``: workstation commands that make bundles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from edgeseq.errors import EdgeseqError
from export.commands import checkpoint_command, list_command
from export.net_commands import FACTORY, graph_command, module_command
from export.prune_commands import prune_command


class _Commands(click.Group):
    """A group in which a word that is no command is a graph, a factory of a module, or a checkpoint, by its looks."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = [_command_for(args[0]).name or "", *args]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EdgeseqError as error:
            click.echo(f"export: {error}", err=True)
            ctx.exit(1)


def _command_for(source: str) -> click.Command:
    """What packs a source: ``FILE.onnx``, ``package.module:factory``, or anything else as a checkpoint."""
    if source.lower().endswith(".onnx"):
        return graph_command
    if FACTORY.fullmatch(source) and not Path(source).exists():
        return module_command
    return checkpoint_command


@click.group(cls=_Commands)
def main() -> None:
    """Make bundles on a workstation.

    \b
    python -m export CHECKPOINT -o NAME.edgeseq    a published checkpoint as a bundle
    python -m export MODULE:FACTORY …              a torch module of your own (module --help)
    python -m export FILE.onnx …                   an ONNX graph that you have (graph --help)
    python -m export prune CHECKPOINT …            a checkpoint with fewer heads, channels, layers (prune --help)
    python -m export list                          the families that are known
    """


main.add_command(checkpoint_command)
main.add_command(list_command)
main.add_command(prune_command)
main.add_command(module_command)
main.add_command(graph_command)


@main.command("train-panel")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Folder with genomes/ and labelled/.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The bundle to write."
)
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for checkpoints; a run that was stopped goes on from there.",
)
@click.option(
    "--hold-out",
    multiple=True,
    metavar="LINEAGE",
    help="Leave a whole lineage out of training (repeatable; 'list' prints them).",
)
@click.option(
    "--reads",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    multiple=True,
    help="Folder of test reads: genomes close to them are dropped, and the card reports them.",
)
@click.option("--steps", type=click.IntRange(min=1), default=9000, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Threads of the trainer; the simulator has a process of its own.",
)
@click.option("--name", default="outbreak-panel", show_default=True)
@click.option("--version", default="1", show_default=True)
def train_panel_command(
    data: Path,
    output: Path,
    work: Path,
    hold_out: tuple[str, ...],
    reads: tuple[Path, ...],
    steps: int,
    seed: int,
    threads: int,
    name: str,
    version: str,
) -> None:
    """Train the outbreak panel and pack it as a bundle.

    \b
    Example:
      python -m export train-panel --data data --reads data/reads --work runs/panel -o panel.edgeseq
    """
    import torch

    from export.ahead import Plan
    from export.lineages import LINEAGES
    from export.train_panel import Shape, train_panel

    if "list" in hold_out:
        for lineage in LINEAGES.values():
            click.echo(f"{lineage.name}\t{lineage.expected}")
        return
    torch.set_num_threads(threads)
    report = train_panel(
        data,
        output,
        work,
        hold_out=tuple(dict.fromkeys(hold_out)),
        reads=reads,
        plan=Plan(steps=steps, seed=seed),
        shape=Shape(),
        name=name,
        version=version,
    )
    summaries = {"held out": report["held_out"]["summary"]}
    summaries |= {folder: evidence["summary"] for folder, evidence in report["real"].items()}
    click.echo(json.dumps(summaries, indent=1))


@main.command("demo-reads")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Folder with genomes/ and labelled/.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The .fastq.gz to write."
)
@click.option(
    "--reads",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    multiple=True,
    help="As given to train-panel.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="The seed that the panel was trained with.")
@click.option("--per-class", type=click.IntRange(1), default=12, show_default=True, help="Reads of each virus.")
@click.option("--background", type=click.IntRange(1), default=60, show_default=True, help="Reads of no virus.")
@click.option("--draw", type=int, default=3, show_default=True, help="Another number, other reads.")
def demo_reads_command(
    data: Path, output: Path, reads: tuple[Path, ...], seed: int, per_class: int, background: int, draw: int
) -> None:
    """Simulate reads from the genomes that train the panel: those that `edgeseq demo` scores, or many to calibrate on.

    \b
    Examples:
      python -m export demo-reads --data data -o edgeseq/demo_reads.fastq.gz
      python -m export demo-reads --data data --per-class 200 --background 12000 --draw 7 -o calibration.fastq.gz
    """
    from export.demo_reads import write_demo_reads
    from export.panel import prepare

    panel = prepare(data, reads=reads, seed=seed, progress=lambda *_: None)
    count = write_demo_reads(panel, output, per_class=per_class, background=background, seed=draw)
    click.echo(f"{count} reads in {output}")


if __name__ == "__main__":
    main()
