"""``edgeseq service``: the systemd unit for a configuration."""

from __future__ import annotations

from pathlib import Path

import click

SYSTEM = Path("/etc/systemd/system")
_EXAMPLES = """Examples:

\b
  edgeseq service --config /etc/edgeseq/run.toml
  sudo edgeseq service --config /etc/edgeseq/run.toml --user minknow --install
  sudo systemctl enable --now edgeseq-watch
"""


@click.command("service", short_help="Print or install a systemd unit for watch.", epilog=_EXAMPLES)
@click.option(
    "--config",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The configuration to run.",
)
@click.option("--user", metavar="NAME", help="The user to run as; default: the owner of the output folder.")
@click.option("--memory", default="1G", show_default=True, metavar="SIZE", help="The most memory that it may use.")
@click.option("--name", default="edgeseq-watch", show_default=True, metavar="NAME", help="The name of the unit.")
@click.option("--install", "installed", is_flag=True, help=f"Write it to {SYSTEM}, or to --to, instead of printing it.")
@click.option("--to", "folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", default=SYSTEM)
def command(config: Path, user: str | None, memory: str, name: str, installed: bool, folder: Path) -> None:
    """Print the unit that runs edgeseq watch --config FILE with a watchdog and with no more rights than it needs."""
    from edgeseq.watch.config import read_configuration
    from edgeseq.watch.unit import Service, install, owner, unit

    configuration = read_configuration(config)
    user = user or owner(configuration.out)
    service = Service(config, user, memory)
    text = unit(configuration, service)
    if not installed:
        click.echo(text, nl=False)
        return
    path = install(text, name, folder, configuration.out, service)
    click.echo(f"{path} is written. Next: systemctl enable --now {name}", err=True)
