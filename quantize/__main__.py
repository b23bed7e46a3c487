"""``python -m quantize``: a smaller bundle inside a proven accuracy budget."""

from __future__ import annotations

import sys
from typing import Any

import click

from edgeseq.errors import EdgeseqError, UsageError
from quantize.commands import compress_command, report_command


class _Commands(click.Group):
    """The first word is a command, or else a bundle to compress. Errors that edgeseq raises on purpose are one sentence
    and an exit code: 1 for data, 2 for usage."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["compress", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EdgeseqError as error:
            click.echo(f"quantize: {error}", err=True)
            ctx.exit(2 if isinstance(error, UsageError) else 1)


@click.group(cls=_Commands)
def main() -> None:
    """Make a bundle smaller, inside of a proven accuracy budget, for a named device.

    \b
    python -m quantize panel.edgeseq --device raspberry-pi-5 --calibrate seen.fastq.gz \\
        --evaluate labelled/ --budget mcc=0.01 --budget flips=0.02 -o panel.int8.edgeseq
    python -m quantize report panel.int8.edgeseq -o report.html
    """


for _command in (compress_command, report_command):
    main.add_command(_command)

if __name__ == "__main__":
    sys.exit(main())
