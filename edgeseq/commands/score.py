"""``edgeseq score``: reads in, one call for each out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

import click

from edgeseq.commands import options
from edgeseq.commands.formats import NAMED, Wanted, open_sinks, open_track_sinks, refuse_overwriting
from edgeseq.errors import NotReadsError, ReadError
from edgeseq.inputs import STDIN, Inputs
from edgeseq.interrupts import Interrupts
from edgeseq.progress import ProgressBar
from edgeseq.throughput import favoured

if TYPE_CHECKING:
    from edgeseq.sinks import SinkOf
    from edgeseq.summary import Summary

Lot = TypeVar("Lot")

_EXAMPLES = """Examples:

\b
  edgeseq score reads.fastq.gz > calls.tsv
  edgeseq score run_folder/ -o calls.tsv --split by_class/
  edgeseq score calls.bam -o calls.tagged.bam
  zcat reads.fastq.gz | edgeseq score - --format jsonl
  edgeseq score reads.bam -m embedder.edgeseq -o vectors.npz
  edgeseq score genome.fasta -m splice.edgeseq -o splice.bedgraph

Columns, reasons and exit codes: docs/score.md
"""


@click.command("score", short_help="Score reads: files, folders or standard input.", epilog=_EXAMPLES)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT…")
@options.bundle
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Write to FILE (.tsv, .jsonl, .bam, .npz, .bedgraph, .bed) instead of standard output.",
)
@click.option(
    "--format", "format_", type=click.Choice(NAMED), help="Default: by the name of FILE, else tsv (of tracks bedgraph)."
)
@click.option("--track", "tracks", multiple=True, metavar="LABEL", help="Write this track only; may be given again.")
@click.option("--min-score", type=float, metavar="X", help="Of tracks: leave lower scores out; call in .bed from X on.")
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
    tracks: tuple[str, ...],
    min_score: float | None,
    per_window: bool,
    split: str | None,
    early_stop: bool,
    min_length: int | None,
    threads: int | None,
    provider: str | None,
    no_progress: bool,
) -> None:
    """Say for each read what it is, in the order of the reads; or for each base, by what the bundle's model is for.

    INPUT is a file of reads (FASTQ, FASTA, SAM or BAM, compressed or not), a folder that holds such files, or "-".
    Files given twice are scored once. Damaged files are reported and the others scored; the exit code is then 1.
    """
    output = None if output == STDIN else output
    wanted = Wanted(output, format_, per_window, split, early_stop, tracks, min_score)
    whole = wanted.named in ("bam", "npz")
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
        refuse_overwriting(output, paths)
    with Interrupts() as interrupts:
        from edgeseq.scorer import load
        from edgeseq.summary import Summary

        providers = [provider] if provider else None
        with load(bundle, threads=threads, providers=providers, minimum_length=min_length) as scorer:
            summary = Summary()
            run = _Run(source, summary, interrupts, ProgressBar(source.size, wanted=not no_progress))
            bar = run.bar
            try:
                if scorer.manifest.task.kind == "token-classification":
                    track_sinks = open_track_sinks(scorer, wanted, paths)
                    run(scorer.tracks(source.reads(), live=source.live), track_sinks, summary.add_stretch)
                else:
                    lots = scorer.score_batches(source.reads(), early_stop=early_stop, live=source.live)
                    run(lots, open_sinks(scorer, wanted, paths), summary.add)
                code = 1 if damaged else 0
            except KeyboardInterrupt:
                code = interrupts.exit_code
                kept = f"; whole rows so far are in {output}.partial" if output is not None and not whole else ""
                bar.say(f"edgeseq: interrupted after {summary.reads:,} reads{kept}")
            except BrokenPipeError:
                context.exit(1 if split is not None else 0)
            if not source.files:
                bar.say("edgeseq: no files of reads found")
            for line in summary.lines(scorer.bundle, [error.source for error in damaged]):
                bar.say(line)
    context.exit(code)


class _Run:
    """Carries results into sinks, and commits or abandons them."""

    def __init__(self, source: Inputs, summary: Summary, interrupts: Interrupts, bar: ProgressBar) -> None:
        self.bar = bar
        self._source = source
        self._summary = summary
        self._interrupts = interrupts

    def __call__(self, lots: Generator[Lot], sinks: Sequence[SinkOf[Lot]], count: Callable[[Lot], object]) -> None:
        """Takes each lot into every sink and counts it."""
        with self.bar, favoured():
            try:
                with closing(lots):
                    for lot in lots:
                        self._take(lot, sinks, count)
                self._interrupts.hold()
                for sink in sinks:
                    sink.commit()
            except BaseException as error:
                self._interrupts.hold()
                for sink in sinks:
                    sink.abandon(keep=isinstance(error, KeyboardInterrupt))
                raise

    def _take(self, lot: Lot, sinks: Sequence[SinkOf[Lot]], count: Callable[[Lot], object]) -> None:
        self._interrupts.hold()
        for sink in sinks:
            sink.write(lot)
            sink.flush()
        count(lot)
        self._interrupts.release()
        self.bar.update(self._source.bytes_read, self._summary.reads, self._summary.bases)
