"""``edgeseq results``: the rows that ``edgeseq watch`` has stored."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from edgeseq.errors import ReadError, UsageError

_EXAMPLES = """Examples:

\b
  edgeseq results out -o calls.tsv
  edgeseq results out --barcode barcode03 --class ebola-zaire
  edgeseq results out -o calls.parquet
  edgeseq results out --split by_class/

It may run while edgeseq watch does.
"""
_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet", ".pq": "parquet"}


@click.command("results", short_help="Write the rows that watch has stored.", epilog=_EXAMPLES)
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Default: stdout."
)
@click.option(
    "--format", "kind", type=click.Choice(["tsv", "jsonl", "parquet"]), help="Default: as FILE is called, or tsv."
)
@click.option("--barcode", "barcodes", multiple=True, metavar="NAME", help="Only reads of this barcode (repeatable).")
@click.option("--class", "labels", multiple=True, metavar="LABEL", help="Only reads that were called so (repeatable).")
@click.option("--extra", is_flag=True, help="Add run, part, policy, bundle and time to the columns of a TSV.")
@click.option(
    "--split", metavar="DIR", type=click.Path(path_type=Path, file_okay=False), help="Write the reads of each class."
)
def command(
    out: Path,
    output: Path | None,
    kind: str | None,
    barcodes: tuple[str, ...],
    labels: tuple[str, ...],
    extra: bool,
    split: Path | None,
) -> int:
    """Write the rows in OUT, the output folder of edgeseq watch, in the columns of edgeseq score."""
    from edgeseq.watch.results import ResultFormat, Selection, export_results, split_reads

    problems: list[ReadError] = []
    if split is not None:
        if output is not None or kind or barcodes or labels or extra:
            raise UsageError("--split writes all reads, and no rows: give it alone")
        written = split_reads(out, split, problems.append)
        for problem in problems:
            click.echo(f"edgeseq: {problem}", err=True)
        click.echo(f"edgeseq: {written:,} reads in {split}", err=True)
        return 1 if problems else 0
    kind = kind or (_SUFFIXES.get(output.suffix.lower(), "tsv") if output is not None else "tsv")
    count = export_results(out, output, cast(ResultFormat, kind), Selection(barcodes, labels), extra=extra)
    if output is not None:
        click.echo(f"edgeseq: {count:,} rows in {output}", err=True)
    return 0
