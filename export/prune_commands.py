"""``python -m export prune``: a checkpoint with real smaller shapes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import click

from edgeseq.manifest import TaskKind

if TYPE_CHECKING:
    from export.pruning.recover import Towards
    from export.pruning.scores import Importance

_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command("prune")
@click.argument("source", metavar="CHECKPOINT", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path, file_okay=False), help="The folder to write."
)
@click.option(
    "--calibrate",
    required=True,
    type=click.Path(path_type=Path, exists=True),
    help="Sequences of the task: reads, or a table with a column 'sequence'; .npz where the model takes more than "
    "sequences. A quarter is only measured on.",
)
@click.option("--labels", type=click.Path(path_type=Path, exists=True), help="Truth table of the reads.")
@click.option(
    "--labelled", is_flag=True, help="Take labels from the table of sequences, or the truth.tsv beside reads."
)
@click.option("--ffn", type=_SHARE, metavar="SHARE", help="Channels of the feed-forwards.")
@click.option("--heads", type=_SHARE, metavar="SHARE", help="Attention heads of each layer.")
@click.option("--channels", type=_SHARE, metavar="SHARE", help="Channels: GPN's, HyenaDNA's, inside Mamba's mixers.")
@click.option("--width", type=_SHARE, metavar="SHARE", help="Channels between the layers, with as many of their heads.")
@click.option("--states", type=_SHARE, metavar="SHARE", help="Caduceus: states of each mixer.")
@click.option("--layers", type=click.IntRange(1), metavar="N", help="Whole layers.")
@click.option("--vocabulary", type=click.Choice(["unused"]), help="Rows that the sequences never use.")
@click.option("--modes", type=click.IntRange(1), metavar="N", help="Evo: exponentials that long filters keep.")
@click.option("--taps", type=click.IntRange(1), metavar="N", help="Evo 2: taps that long filters keep.")
@click.option("--importance", type=click.Choice(["taylor", "magnitude"]), default="taylor", show_default=True)
@click.option("--recover", type=click.Choice(["distil", "labelled"]), help="Train afterwards, towards what.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=10, show_default=True)
@click.option("--steps", type=click.IntRange(1), help="End of the recovery: the same weights each time.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=3e-4, show_default=True)
@click.option("--rows", type=click.IntRange(16), default=256, show_default=True, help="Most windows to look at.")
@click.option("--window", type=click.IntRange(8), metavar="BASES", help="Default: 1024, or what the model takes.")
@click.option("--task", type=click.Choice(get_args(TaskKind)), help="Default: what the checkpoint was trained for.")
@click.option("--names", metavar="A,B,…", default="", help="Names of the classes, in the order of the logits.")
@click.option("--max-length", type=click.IntRange(1), metavar="N", help="Longest row in tokens. Default: the model's.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="A choice that only one family knows.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--no-speed", is_flag=True, help="Do not time the graphs.")
def prune_command(source: Path, output: Path, **given: Any) -> None:
    """Remove what matters least from a checkpoint: real smaller shapes, in the same published layout.

    SHARE is the part that leaves. What is left is a checkpoint of its family, which `python -m export CHECKPOINT` turns
    into a bundle; prune_report.json in it says what left, and what that costs and saves. The exit code is 1, and
    nothing is written, for a cut that the published configuration cannot express.

    \b
    Example:
      python -m export prune nt-v2-50m --calibrate train.tsv --labelled --ffn 0.3 --heads 0.25 \\
        --recover labelled --minutes 10 -o nt-v2-50m-pruned
    """
    from export.commands import pair
    from export.network import Request
    from export.pruning.prune import Cuts, Material, prune
    from export.pruning.recover import Course

    cuts = Cuts(
        shares={kind: given[kind] for kind in ("ffn", "heads", "channels", "width", "states") if given[kind]},
        layers=given["layers"] or 0,
        vocabulary=given["vocabulary"] == "unused",
        rewrites={name: given[name] for name in ("modes", "taps") if given[name]},
    )
    material = Material(
        given["calibrate"],
        labels=given["labels"],
        use_labels=given["labelled"],
        window=given["window"],
        rows=given["rows"],
        seed=given["seed"],
        importance=cast("Importance", given["importance"]),
    )
    course = None
    if given["recover"]:
        towards = cast("Towards", given["recover"])
        course = Course(towards, given["minutes"], given["steps"], given["rate"], given["seed"])
    request = Request(
        task=given["task"],
        labels=tuple(filter(None, given["names"].split(","))),
        max_length=given["max_length"],
        options=dict(pair(option) for option in given["options"]),
    )
    found = prune(
        source,
        output,
        request,
        cuts,
        material,
        course=course,
        timed=not given["no_speed"],
        progress=lambda step: click.echo(f"{step} …", err=True),
    )
    click.echo(summary(output, found), err=True)


def summary(output: Path, report: dict[str, Any]) -> str:
    """A few lines on what was written."""
    size = report["size"]
    lines = [f"{output}: {report['family']}, {report['task']}"]
    for unit in ("parameters", "bytes"):
        lines[0] += f"; {size[f'{unit}_before']:,} → {size[f'{unit}_after']:,} {unit}"
    for name in ("after", "recovered"):
        if name in report:
            figures = [f"{key} {value:.4g}" for key, value in report[name].items() if key not in ("rows", "comparable")]
            figures = figures or ["embeddings with other channels than before, which cannot be compared"]
            lines.append(f"{name} ({report[name]['rows']} held-out rows): {', '.join(figures)}")
    for name in ("modes", "taps"):
        if name in report:
            for layer, found in report[name]["layers"].items():
                lines.append(
                    f"{name}, layer {layer}: "
                    + ", ".join(f"{key} {value:.3g}" for key, value in found.items() if key != "taps")
                )
    if "speed" in report:
        speed = report["speed"]
        low, high = speed["ratio_95"]
        lines.append(
            f"graph, {speed['tokens']} tokens: {speed['before_ms']:.2f} → {speed['after_ms']:.2f} ms of the processor, "
            f"{speed['ratio']:.2f} ({low:.2f} to {high:.2f}, {speed['pairs']} pairs) times as fast: {speed['verdict']}"
        )
    return "\n".join(lines)
