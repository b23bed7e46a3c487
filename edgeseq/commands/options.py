"""Options that several commands share."""

from __future__ import annotations

import click

bundle = click.option(
    "-m",
    "--model",
    "bundle",
    metavar="BUNDLE",
    type=click.Path(exists=True, dir_okay=False),
    help="Use this bundle instead of the embedded panel.",
)
threads = click.option("--threads", type=click.IntRange(1), metavar="N", help="Workers; default: one for each core.")
provider = click.option("--provider", metavar="P", help="Engine provider (cpu, cuda, tensorrt …) instead of the best.")
