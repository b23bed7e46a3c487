"""``edgeseq score``: reads in, one call for each out."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import click

from edgeseq.commands import options
from edgeseq.errors import NotReadsError, ReadError, UsageError
from edgeseq.inputs import STDIN, Inputs
from edgeseq.interrupts import Interrupts
from edgeseq.progress import ProgressBar
from edgeseq.throughput import favoured

if TYPE_CHECKING:
    from edgeseq.scorer import Scorer
    from edgeseq.sinks import Sink
    from edgeseq.summary import Summary

Format = Literal["tsv", "jsonl", "bam"]

_EXAMPLES = """Examples:

\b
  edgeseq score reads.fastq.gz > calls.tsv
  edgeseq score run_folder/ -o calls.tsv --split by_class/
  edgeseq score calls.bam -o calls.tagged.bam
  zcat reads.fastq.gz | edgeseq score - --format jsonl

Columns, reasons and exit codes: docs/score.md
"""


@click.command("score", short_help="Score reads: files, folders or standard input.", epilog=_EXAMPLES)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT…")
@options.bundle
@click.option("-o", "--output", metavar="FILE", help="Write to FILE (.tsv, .jsonl or .bam) instead of standard output.")
@click.option(
    "--format", "format_", type=click.Choice(["tsv", "jsonl"]), help="Default: by the name of FILE, else tsv."
)
@click.option("--per-window", is_flag=True, help="One row for each window instead of each read.")
@click.option("--split", metavar="DIR", help="Also write the reads of each class to DIR/LABEL.fastq.gz.")
@click.option("--early-stop", is_flag=True, help="Do not score the rest of a read whose call can no longer change.")
@click.option("--min-length", type=click.IntRange(0), metavar="N", help="Never call reads shorter than N bases.")
@options.threads
@options.provider
@click.option("--no-progress", is_flag=True, help="No progress bar, even on a terminal.")
@click.pass_context
def command(
    context: click.Context,
    inputs: tuple[str, ...],
    bundle: str | None,
    output: str | None,
    format_: str | None,
    per_window: bool,
    split: str | None,
    early_stop: bool,
    min_length: int | None,
    threads: int | None,
    provider: str | None,
    no_progress: bool,
) -> None:
    """Say for each read what it is, in the order of the reads.

    INPUT is a file of reads (FASTQ, FASTA, SAM or BAM, compressed or not), a folder that holds such files, or "-".
    Files given twice are scored once. Damaged files are reported and the others scored; the exit code is then 1.
    """
    output = None if output == STDIN else output
    kind = _format(output, format_, per_window)
    damaged: list[ReadError] = []
    bar = ProgressBar(0, wanted=False)

    def report(error: ReadError) -> None:
        damaged.append(error)
        bar.say(f"edgeseq: {'skipped ' * isinstance(error, NotReadsError)}{error}")

    def note(path: str) -> None:
        bar.say(f"edgeseq: passed over {path}: it holds no reads")

    source = Inputs(inputs, report, note)
    paths = [file.path for file in source.files]
    if output is not None:
        _refuse_overwriting(output, paths)
    with Interrupts() as interrupts:
        from edgeseq.scorer import load
        from edgeseq.summary import Summary

        providers = [provider] if provider else None
        with load(bundle, threads=threads, providers=providers, minimum_length=min_length) as scorer:
            summary = Summary()
            sinks = _open_sinks(scorer, kind, output, per_window, split, paths)
            bar = ProgressBar(source.size, wanted=not no_progress)
            try:
                with bar, favoured():
                    _run(scorer, source, sinks, summary, interrupts, bar, early_stop)
                code = 1 if damaged else 0
            except KeyboardInterrupt:
                code = interrupts.exit_code
                kept = f"; whole rows so far are in {output}.partial" if output is not None and kind != "bam" else ""
                bar.say(f"edgeseq: interrupted after {summary.reads:,} reads{kept}")
            except BrokenPipeError:
                context.exit(1 if split is not None else 0)
            if not source.files:
                bar.say("edgeseq: no files of reads found")
            for line in summary.lines(scorer.bundle, [error.source for error in damaged]):
                bar.say(line)
    context.exit(code)


def _run(
    scorer: Scorer,
    source: Inputs,
    sinks: Sequence[Sink],
    summary: Summary,
    interrupts: Interrupts,
    bar: ProgressBar,
    early_stop: bool,
) -> None:
    """Scores everything into the sinks, and commits or abandons them."""
    batches = scorer.score_batches(source.reads(), early_stop=early_stop, live=source.live)
    try:
        with closing(batches):
            for predictions in batches:
                interrupts.hold()
                for sink in sinks:
                    sink.write(predictions)
                    sink.flush()
                summary.add(predictions)
                interrupts.release()
                bar.update(source.bytes_read, summary.reads, summary.bases)
        interrupts.hold()
        for sink in sinks:
            sink.commit()
    except BaseException as error:
        interrupts.hold()
        for sink in sinks:
            sink.abandon(keep=isinstance(error, KeyboardInterrupt))
        raise


def _format(output: str | None, format_: str | None, per_window: bool) -> Format:
    """The format of the output. Raises UsageError where options exclude each other."""
    suffix = Path(output).suffix.lower() if output is not None else ""
    if suffix == ".bam":
        if format_ is not None or per_window:
            raise UsageError(f"{output} is a BAM file: neither --format nor --per-window goes with it")
        return "bam"
    if suffix in (".gz", ".bgz", ".zst", ".xz", ".bz2"):
        raise UsageError(f"{output}: rows are written as plain text; use edgeseq score … | gzip > {output}")
    if format_ is not None:
        return cast(Format, format_)
    return "jsonl" if suffix in (".jsonl", ".ndjson", ".json") else "tsv"


def _refuse_overwriting(output: str, inputs: Sequence[str]) -> None:
    """Raises UsageError where the output is an input, or a folder."""
    target = Path(output)
    if target.is_dir():
        raise UsageError(f"{output} is a folder; name a file in it")
    for path in inputs:
        if path != STDIN and target.exists() and target.samefile(path):
            raise UsageError(f"{output} is an input as well; name another output")


def _open_sinks(
    scorer: Scorer, kind: Format, output: str | None, per_window: bool, split: str | None, inputs: Sequence[str]
) -> list[Sink]:
    """The sinks, the one for calls last. Raises UsageError."""
    from edgeseq.sinks.jsonl import JsonlSink
    from edgeseq.sinks.output import Output
    from edgeseq.sinks.split import SplitSink
    from edgeseq.sinks.tsv import TsvSink

    task = scorer.manifest.task
    sinks: list[Sink] = [SplitSink(split, task)] if split is not None else []
    if kind == "bam" and output is not None:
        from edgeseq.sinks.bam import BamSink

        sinks.append(BamSink(output, scorer.bundle, inputs=inputs, command=shlex.join(["edgeseq", *sys.argv[1:]])))
    elif kind == "jsonl":
        sinks.append(JsonlSink(Output(output), task, per_window=per_window))
    else:
        sinks.append(TsvSink(Output(output), task, per_window=per_window))
    return sinks
