"""``edgeseq report``: a watched run as one HTML file, and as tables for MultiQC."""

from __future__ import annotations

from pathlib import Path

import click

from edgeseq.errors import UsageError

_EXAMPLES = """Examples:

\b
  edgeseq report out -o report.html
  edgeseq report out --multiqc qc/ && multiqc qc/

It may run while edgeseq watch does.
"""


@click.command("report", short_help="Write what watch found as one HTML file.", epilog=_EXAMPLES)
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="An HTML file.")
@click.option(
    "--multiqc", "folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False), help="Tables for MultiQC."
)
def command(out: Path, output: Path | None, folder: Path | None) -> None:
    """Write what edgeseq watch has found; OUT is its output folder.

    The HTML file needs nothing else: no network, no script, no folder beside it.
    """
    from edgeseq.watch.multiqc import write_multiqc
    from edgeseq.watch.report import read_run, write_report

    if output is None and folder is None:
        raise UsageError("name what to write: -o FILE.html, --multiqc DIR, or both")
    run = read_run(out)
    if output is not None:
        write_report(run, output)
        click.echo(f"edgeseq: {output}", err=True)
    if folder is not None:
        for path in write_multiqc(run, folder):
            click.echo(f"edgeseq: {path}", err=True)
