"""``python -m devices deploy``: a bundle to a device, over the system's ssh."""

from __future__ import annotations

from pathlib import Path

import click

from devices.deploy import LINK, PLACE, Deployment, deploy
from devices.remote import Remote


@click.command("deploy")
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("target", metavar="[USER@]HOST[:PORT]")
@click.option("--to", "place", default=PLACE, show_default=True, metavar="DIR", help="The folder on the device.")
@click.option("--link", default=LINK, show_default=True, metavar="NAME", help="What the configuration there names.")
@click.option("--service", default="", metavar="NAME", help="The systemd unit to reload.")
@click.option("--out", default="", metavar="OUT", help="The output folder of a daemon that is no service.")
@click.option("--sudo", is_flag=True, help="Run systemctl with sudo.")
@click.option("--edgeseq", default="edgeseq", show_default=True, metavar="PATH", help="The command on the device.")
@click.option(
    "-F",
    "--ssh-config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="As of ssh.",
)
def deploy_command(
    bundle: Path,
    target: str,
    place: str,
    link: str,
    service: str,
    out: str,
    sudo: bool,
    edgeseq: str,
    ssh_config: Path | None,
) -> None:
    """Send BUNDLE to a device, test it there, and have the daemon go on with it; roll back on any failure."""
    remote = Remote.parse(target, ssh_config)
    deployment = Deployment(bundle, place, link, service, out, sudo, edgeseq)
    click.echo(deploy(deployment, remote, lambda line: click.echo(f"{remote}: {line}", err=True)))
