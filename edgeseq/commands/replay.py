"""``edgeseq replay``: write a finished run again, as a sequencer would."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from edgeseq.errors import ReadError, SinkError, UsageError

_EXAMPLES = """Examples:

\b
  edgeseq replay finished/ --to live/ --speed 10
  edgeseq replay reads.fastq.gz --to live/ --rate 205 --style members

Beside it: edgeseq watch live/ --out out/
"""


@click.command("replay", short_help="Write a finished run again, as a sequencer would.", epilog=_EXAMPLES)
@click.argument("runs", nargs=-1, required=True, metavar="RUN…", type=click.Path(exists=True, path_type=Path))
@click.option("--to", "target", required=True, metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), default=1.0, metavar="X", help="Times real time.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="KB",
    help="Kilobases a second instead.",
)
@click.option(
    "--style",
    type=click.Choice(["append", "members", "rename", "plain"]),
    default="append",
    show_default=True,
    help="One growing gzip stream, a gzip member for each flush, a hidden name until complete, or no compression.",
)
@click.option("--flush", type=click.FloatRange(min=0.01), default=1.0, show_default=True, metavar="S", help="Seconds.")
@click.option("--rotate-reads", type=click.IntRange(1), default=4000, show_default=True, metavar="N", help="Per file.")
@click.option(
    "--rotate-minutes", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True, metavar="M"
)
def command(
    runs: tuple[Path, ...],
    target: Path,
    speed: float,
    rate: float | None,
    style: str,
    flush: float,
    rotate_reads: int,
    rotate_minutes: float,
) -> int:
    """Write the reads of RUN… into DIR when they were due: in their order, by the start times in their headers.

    Where headers have no times, reads come as fast as a full MinION writes them (205 kb/s). Summaries are copied when
    all reads are there. DIR must be empty or new.
    """
    from edgeseq.progress import ProgressBar
    from edgeseq.replay.growing import Style
    from edgeseq.replay.player import Manner, Player, copy_sentinels
    from edgeseq.replay.timeline import timeline

    if target.exists() and any(target.iterdir()):
        raise UsageError(f"{target} is not empty; name a new folder")
    if any(target.resolve() == run.resolve() or run.resolve() in target.resolve().parents for run in runs):
        raise UsageError(f"{target} lies inside the run that is replayed; name another folder")
    problems: list[ReadError] = []
    manner = Manner(cast(Style, style), speed, flush, rotate_reads, 60 * rotate_minutes)
    player = Player(target, manner)
    try:
        with ProgressBar(0) as bar:
            found = timeline(runs, problems.append, rate=1000 * rate if rate else None)
            player.play(found, lambda written: bar.update(0, written.reads, written.bases))
        copy_sentinels(runs, target)
    except OSError as error:
        raise SinkError(f"{target}: cannot be written: {error.strerror or error}") from error
    for problem in problems:
        click.echo(f"edgeseq: {problem}", err=True)
    written = player.written
    click.echo(
        f"edgeseq: {written.reads:,} reads, {written.bases:,} bases in {written.files:,} files"
        f", at most {written.late:.2f} s late",
        err=True,
    )
    return 1 if problems else 0
