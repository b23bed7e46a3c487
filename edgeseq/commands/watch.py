"""``edgeseq watch``: score what a sequencer writes, while it writes it."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType

import click

from edgeseq.commands import options
from edgeseq.errors import UsageError
from edgeseq.folder import MARKER

_EXAMPLES = """Examples:

\b
  edgeseq watch /data/run42 --out /data/edgeseq/run42
  edgeseq watch /data/run42 --out out --until-idle 60

Everything is kept in OUT: stop it at any moment, start it again with the same command, and it goes on. docs/watch.md
"""


@click.command("watch", short_help="Score what a sequencer writes, while it writes it.", epilog=_EXAMPLES)
@click.argument("run_folders", nargs=-1, required=True, metavar="RUN_DIR…")
@click.option("--out", required=True, metavar="OUT", type=click.Path(path_type=Path, file_okay=False), help="A folder.")
@options.bundle
@click.option("--until-idle", type=click.FloatRange(min=0.1), metavar="SECONDS", help="End after so long without news.")
@options.threads
@options.provider
def command(
    run_folders: tuple[str, ...],
    out: Path,
    bundle: str | None,
    until_idle: float | None,
    threads: int | None,
    provider: str | None,
) -> int:
    """Follow RUN_DIR… and score each read once, as soon as it is written.

    Folders may appear later. Growing, compressed, renamed and copied files are followed; what edgeseq writes itself is
    not read.
    """
    from edgeseq.scorer import load
    from edgeseq.watch.daemon import Daemon
    from edgeseq.watch.journal import Journal

    _refuse_inside(run_folders, out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).touch()
    with load(bundle, threads=threads, providers=[provider] if provider else None) as scorer:
        settings = {"bundle": scorer.bundle.sha256, "task": scorer.manifest.task.kind, "roots": "\n".join(run_folders)}
        journal = Journal(out, settings)
        daemon = Daemon(run_folders, scorer, journal, until_idle=until_idle)

        def stop(_: int, __: FrameType | None) -> None:
            daemon.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        try:
            daemon.run()
        finally:
            journal.close()
    problems = [followed.source for followed in daemon.files if followed.source.problem]
    for source in problems:
        click.echo(f"edgeseq: {source.problem}", err=True)
    progress = daemon.progress
    click.echo(
        f"edgeseq: {progress.reads:,} reads, {progress.bases:,} bases, {progress.duplicates:,} duplicates skipped",
        err=True,
    )
    return 1 if problems else 0


def _refuse_inside(run_folders: tuple[str, ...], out: Path) -> None:
    """Raises UsageError where the output folder is one of the watched folders."""
    for folder in run_folders:
        if Path(folder).resolve() == out.resolve():
            raise UsageError(f"{out} is watched as well; name another output folder")
