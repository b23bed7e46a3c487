"""``python -m devices``: what is known about devices, and what an emulated one computes."""

from __future__ import annotations

from typing import Any

import click

from devices.commands import compare_command, count_command, emulate_command, list_command
from devices.deploy_command import deploy_command
from edgeseq.errors import EdgeseqError, UsageError


class _Commands(click.Group):
    """Errors that edgeseq raises on purpose are one sentence and an exit code: 1 for data, 2 for usage."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EdgeseqError as error:
            click.echo(f"devices: {error}", err=True)
            ctx.exit(2 if isinstance(error, UsageError) else 1)


@click.group(cls=_Commands)
def main() -> None:
    """Know the device that a bundle is for.

    \b
    python -m devices deploy panel.edgeseq pi@sequencer               a bundle to a device that goes on scoring
    python -m devices list                                            the devices that are known
    python -m devices list raspberry-pi-5                             one of them, with every reason
    python -m devices emulate --cpu cortex-a76 -- edgeseq score r.fq  a command on an emulated Arm processor
    python -m devices count panel.edgeseq                             instructions per kilobase
    python -m devices compare panel.edgeseq reads.fastq               results here and on Arm
    """


for _command in (deploy_command, list_command, emulate_command, count_command, compare_command):
    main.add_command(_command)

if __name__ == "__main__":
    main()
