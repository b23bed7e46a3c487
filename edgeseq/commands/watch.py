"""``edgeseq watch``: score what a sequencer writes, while it writes it."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import click

from edgeseq.commands import options
from edgeseq.errors import UsageError

if TYPE_CHECKING:
    from edgeseq.watch.config import Configuration, Level
    from edgeseq.watch.page.settings import PageSettings
    from edgeseq.watch.station import Station

_EXAMPLES = """Examples:

\b
  edgeseq watch /data/run42 --out /data/edgeseq/run42
  edgeseq watch /data/run42 --out out --until-idle 60
  edgeseq watch --config run.toml

Everything is kept in OUT: stop it at any moment, start it again with the same command, and it goes on. SIGHUP has it
read its configuration and its bundle again. docs/service.md
"""
PAGE = "127.0.0.1:8437"


@click.command("watch", short_help="Score what a sequencer writes, while it writes it.", epilog=_EXAMPLES)
@click.argument("run_folders", nargs=-1, metavar="[RUN_DIR…]")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="All that follows.")
@click.option("--out", metavar="OUT", type=click.Path(path_type=Path, file_okay=False), help="A folder.")
@options.bundle
@click.option(
    "--until-idle",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="End after so long without news.",
)
@options.threads
@options.provider
@click.option("--control", metavar="BARCODE", help="The barcode of a negative control.")
@click.option("--page", is_flag=False, flag_value=PAGE, metavar="[HOST:PORT]", help=f"Show a page; alone: on {PAGE}.")
@click.option(
    "--token-file", type=click.Path(path_type=Path), metavar="FILE", help="Holds what visitors of the page have to say."
)
@click.option("--fork", is_flag=True, help="If OUT was begun with other settings: go on in OUT/fork-2, and so on.")
@click.option("--switch", is_flag=True, help="If OUT was begun with other settings: take them over, and say so.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="The least that is logged: info."
)
def command(config: Path | None, fork: bool, switch: bool, log_level: str | None, **given: Any) -> int:
    """Follow RUN_DIR… and score each read once, as soon as it is written.

    Folders may appear later. Growing, compressed, renamed and copied files are followed; what edgeseq writes itself is
    not read.
    """
    from edgeseq.watch.config import read_configuration
    from edgeseq.watch.log import logged
    from edgeseq.watch.notify import Notifier
    from edgeseq.watch.station import Station

    if fork and switch:
        raise UsageError("--fork keeps the old journal apart, --switch goes on in it: choose one")
    if config is not None:
        _refuse_others(given)
        path = config

    def reread() -> Configuration:
        found = read_configuration(path) if config is not None else _configuration(**given)
        return replace(found, log_level=cast("Level", log_level)) if log_level else found

    configuration = reread()
    with logged(configuration.log_level), _Signals() as signals:
        notifier = Notifier.of_environment()
        station = signals.station = Station(configuration, reread=reread, fork=fork, switch=switch, notifier=notifier)
        station.run()
    return _farewell(station)


def _refuse_others(given: dict[str, Any]) -> None:
    """Raises UsageError where an option is given that belongs into the configuration."""
    names = {"run_folders": "RUN_DIR…", "bundle": "-m"}
    others = [
        names.get(name, f"--{name.replace('_', '-')}") for name, value in given.items() if value not in (None, ())
    ]
    if others:
        raise UsageError(
            f"--config says all of it: write what {', '.join(others)} says into the file, and leave it out"
        )


def _configuration(
    run_folders: tuple[str, ...],
    out: Path | None,
    bundle: str | None,
    until_idle: float | None,
    threads: int | None,
    provider: str | None,
    control: str | None,
    page: str | None,
    token_file: Path | None,
) -> Configuration:
    """What the options say."""
    from edgeseq.watch.answers import Questions
    from edgeseq.watch.config import Configuration

    if not run_folders or out is None:
        raise UsageError("name the folders to watch and --out OUT, or --config FILE")
    for folder in run_folders:
        if os.path.realpath(folder) == os.path.realpath(out):
            raise UsageError(f"{out} is watched as well; name another output folder")
    return Configuration(
        folders=tuple(map(Path, run_folders)),
        out=out,
        bundle=Path(bundle) if bundle is not None else None,
        threads=threads,
        provider=provider,
        until_idle=until_idle,
        questions=Questions(control=control or ""),
        page=_page(page, token_file),
    )


def _page(place: str | None, token_file: Path | None) -> PageSettings | None:
    """Where the page is served: ``HOST``, ``:PORT``, ``HOST:PORT`` or ``[HOST]:PORT``."""
    from edgeseq.watch.page.settings import PageSettings
    from edgeseq.watch.toml import read_secret

    token = read_secret(token_file, "token") if token_file is not None else os.environ.get("EDGESEQ_PAGE_TOKEN", "")
    if place is None:
        if token_file is not None:
            raise UsageError("--token-file is for the page: add --page")
        return None
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:/\[\]]*)(?::([0-9]{1,5}))?", place)
    if found is None or not place:
        raise UsageError(f"--page takes HOST:PORT, not {place!r}; write --page after the folders")
    usual = PageSettings()
    return PageSettings(found[1].strip("[]") or usual.host, int(found[2] or usual.port), token)


class _Signals:
    """The first SIGTERM or SIGINT ends in good order, a second one at once; SIGHUP reloads.

    Before there is a ``station``, the first ends at once, and SIGHUP has nothing to reload.
    """

    def __init__(self) -> None:
        self.station: Station | None = None
        self._asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _Signals:
        for number, handler in ((signal.SIGTERM, self._end), (signal.SIGINT, self._end), (signal.SIGHUP, self._reload)):
            self._before[number] = signal.signal(number, handler)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _end(self, number: int, _: FrameType | None) -> None:
        if self._asked or self.station is None:
            os._exit(128 + number)
        self._asked = True
        self.station.stop()

    def _reload(self, _: int, __: FrameType | None) -> None:
        if self.station is not None:
            self.station.reload()


def _farewell(station: Station) -> int:
    """The last lines, and the exit code: 1 where a file was damaged."""
    problems = [followed.source.problem for followed in station.daemon.files if followed.source.problem]
    for problem in problems:
        click.echo(f"edgeseq: {problem}", err=True)
    progress = station.daemon.progress
    click.echo(
        f"edgeseq: {progress.reads:,} reads, {progress.bases:,} bases, {progress.duplicates:,} duplicates skipped",
        err=True,
    )
    return 1 if problems else 0
