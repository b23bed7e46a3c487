"""The commands of ``python -m quantize``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from devices.profiles import Profile, device_names, load_profile
from edgeseq.errors import UsageError
from edgeseq.manifest import Task
from quantize.budget import METRICS, TRUTHFUL, Budget
from quantize.calibrate import METHODS, Method, usual_method
from quantize.sample import Sample, has_labels, labelled, unlabelled
from quantize.sites import read_sites


@click.command("compress")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--device", required=True, help=f"A device ({', '.join(device_names())}), or a profile ending in .toml.")
@click.option("--calibrate", "calibration", required=True, type=click.Path(path_type=Path), help="Reads; no labels.")
@click.option(
    "--evaluate",
    "evaluation",
    required=True,
    type=click.Path(path_type=Path),
    help="Reads; labelled, if classes count.",
)
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    help="Truth table of the reads [default: their truth.tsv]; for models of single bases a BED file of true sites.",
)
@click.option("--rename", multiple=True, metavar="TRUTH=LABEL", help="What a truth is called in the model. Repeatable.")
@click.option("--budget", "budgets", multiple=True, metavar="METRIC=LIMIT", help=f"Of {', '.join(METRICS)}.")
@click.option(
    "--threshold",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0, 1, True, True),
    help="Of single bases: the float model's score that makes a site, where no truth is given.",
)
@click.option("--background", default="", metavar="LABEL", help="Of single bases: the label that means no site.")
@click.option("--confidence", default=0.95, show_default=True, type=click.FloatRange(0.5, 1, True, True))
@click.option(
    "--looks",
    default=4,
    show_default=True,
    type=click.IntRange(1),
    help="Mixtures that may be judged, the best first. Each takes its part of the allowed error.",
)
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
@click.option(
    "--method",
    type=click.Choice(METHODS),
    help="Activation ranges. [default: percentile; for models of single bases min-max]",
)
@click.option(
    "--calibration-reads", default=2000, show_default=True, type=click.IntRange(1), help="Use at most so many."
)
@click.option("--scheme", "schemes", multiple=True, help="Try this format only. Repeatable.")
@click.option("--force", "forced", multiple=True, metavar="OPERATOR", help="Compress what had better stay float.")
@click.option(
    "--narrow",
    "narrowed",
    multiple=True,
    metavar="[OPERATOR=]SHARE",
    help="Remove this share of hidden channels first, and fit what reads them anew. Repeatable.",
)
@click.option("--full-range", is_flag=True, help="8-bit weights use all 8 bits (default: 7, which never clip).")
@click.option("--per-tensor", is_flag=True, help="One scale for all weights of an operator (default: per channel).")
@click.option("--count", is_flag=True, help="Count instructions on the device's emulated processor; they decide speed.")
@click.option("--drop-leaks", is_flag=True, help="Leave calibration reads out that the evaluation has too.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The bundle to write.")
@click.pass_context
def compress_command(
    context: click.Context,
    bundle: Path,
    device: str,
    calibration: Path,
    evaluation: Path,
    truth: Path | None,
    rename: Sequence[str],
    budgets: Sequence[str],
    threshold: float,
    background: str,
    confidence: float,
    looks: int,
    seed: int,
    method: Method | None,
    calibration_reads: int,
    schemes: tuple[str, ...],
    forced: tuple[str, ...],
    narrowed: tuple[str, ...],
    full_range: bool,
    per_tensor: bool,
    count: bool,
    drop_leaks: bool,
    output: Path,
) -> None:
    """Write a smaller BUNDLE that provably stays inside of an accuracy budget, or write nothing.

    Exit code 1: nothing was written, because the budget cannot be met (OVER) or the reads are too few to tell
    (UNDECIDABLE, with the number that would do); the table says which operators do the harm.
    """
    from edgeseq import read_bundle
    from quantize.budget import parse_budgets
    from quantize.compress import Wish, compress
    from quantize.pareto import pareto_path, write_csv
    from quantize.sensitivity import as_table
    from quantize.trial import Evaluation

    source = read_bundle(bundle)
    if output.exists() and output.samefile(bundle):
        raise UsageError(f"-o {output}: this is the bundle itself; name another file")
    task = source.manifest.task
    profile = load_profile(device)
    wish = Wish(
        profile=profile,
        budgets=parse_budgets(budgets, task.kind, task.activation),
        confidence=confidence,
        looks=looks,
        seed=seed,
        method=method or usual_method(task.kind),
        reduce_range=not full_range,
        per_channel=not per_tensor,
        schemes=schemes,
        forced=forced,
        drop_leaks=drop_leaks,
        narrow=narrowed,
        count=count,
    )
    _warn(profile, full_range)
    if background and background not in task.labels:
        raise UsageError(f"--background {background}: the model's labels are {', '.join(task.labels) or 'none'}")
    by_base = task.kind == "token-classification"
    held = _evaluation(evaluation, task, wish.budgets, None if by_base else truth, _renamed(rename))
    known = "labelled reads" if held.has_truth else "reads"
    say(f"{evaluation}: {len(held):,} {known} of {held.files} files ({held.left_out:,} left out)")
    seen = unlabelled(calibration, most=calibration_reads, seed=seed)
    sites = read_sites(truth) if by_base and truth is not None else None
    result = compress(source, seen, Evaluation(held, sites, background, threshold), wish, output, say)
    if result.written is None:
        click.echo(f"{result.outcome}: nothing was written to {output}")
        for look in result.looks:
            for verdict in look.verdicts:
                click.echo(f"  {look.point.name}: {verdict}")
        if not result.looks:
            click.echo("  no mixture is smaller than the float graph and as fast")
        click.echo(f"\nWhat harms most, each operator alone:\n{as_table(result.ranked)}")
        context.exit(1)
    table = write_csv(pareto_path(output), result)
    size = result.evidence["bytes"]
    click.echo(f"{output}: {result.written.name}, graph {size['graph']:,} of {size['source graph']:,} bytes")
    for each in result.looks[-1].verdicts:
        click.echo(f"  {each}")
    click.echo(f"  {table}: every mixture with bytes, time and damage")


@click.command("report")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The HTML page to write.")
def report_command(bundle: Path, output: Path) -> None:
    """Write one HTML page about the compression of BUNDLE, with its plots and tables."""
    from edgeseq import read_bundle
    from quantize.report import write_report

    write_report(read_bundle(bundle), output)
    click.echo(str(output))


def say(text: str) -> None:
    """A line of progress, on standard error."""
    click.echo(text, file=sys.stderr)


def _warn(profile: Profile, full_range: bool) -> None:
    if full_range and profile.cpu.saturates:
        say(f"{profile.title} clips sums of full-range weights; --full-range will cost accuracy there")


def _evaluation(
    path: Path, task: Task, budgets: Sequence[Budget], truth: Path | None, renamed: dict[str, str]
) -> Sample:
    """The evaluation's reads, with labels where there are any or a budget cannot do without."""
    shortest = task.abstention.minimum_length
    classes = task.kind == "sequence-classification"
    needed = task.kind == "regression" or any(budget.metric in TRUTHFUL for budget in budgets)
    if needed or (classes and has_labels(path, truth)):
        return labelled(path, task, truth=truth, renamed=renamed, shortest=shortest)
    return unlabelled(path, shortest=shortest)


def _renamed(pairs: Sequence[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        truth, equals, label = pair.partition("=")
        if not equals or not truth or not label:
            raise UsageError(f"--rename {pair}: write TRUTH=LABEL")
        found[truth] = label
    return found
