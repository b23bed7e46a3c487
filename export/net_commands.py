"""The commands that pack nets of no published family: a module of one's own, or a graph that exists already."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import click

from edgeseq.manifest import Activation, Alphabet, Strand, TaskKind
from export.errors import FamilyError

FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""``package.module:function``."""
Command = TypeVar("Command", bound=Callable[..., Any])

_SHARED = (
    click.option("-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False)),
    click.option("--task", type=click.Choice(get_args(TaskKind)), required=True, help="What the outputs mean."),
    click.option("--labels", metavar="A,B,…", default="", help="Names of the classes, in the order of the logits."),
    click.option(
        "--tokenizer",
        type=click.Choice(("nucleotide", "one-hot", "signal")),
        default="nucleotide",
        show_default=True,
        help="What the net takes: an id for each letter, a channel for each letter (batch × letters × length), or raw "
        "signal.",
    ),
    click.option(
        "--vocabulary",
        default="",
        metavar="LETTERS",
        help="ACGTN: ids from 0 on; or A=7,C=8,…. Letters that are not listed are N's; one-hot, they have no channel. "
        "Default: ACGTN, one-hot ACGT.",
    ),
    click.option("--pad", type=click.IntRange(0), help="Id of padding. Default: that of N."),
    click.option("--prefix", metavar="ID,…", default="", help="Ids before each sequence."),
    click.option("--suffix", metavar="ID,…", default="", help="Ids behind each sequence."),
    click.option(
        "--alphabet", type=click.Choice(("dna", "protein")), default="dna", show_default=True, help="What is read."
    ),
    click.option(
        "--window", type=click.IntRange(1), required=True, metavar="N", help="Bases (residues, samples) of a row."
    ),
    click.option("--stride", type=click.IntRange(1), metavar="N", help="From window to window. Default: the window."),
    click.option("--minimum", type=click.IntRange(1), default=1, metavar="N", help="Fewest samples of a signal."),
    click.option("--outputs", metavar="A,B", default="logits", show_default=True, help="What the net gives, in order."),
    click.option("--activation", type=click.Choice(get_args(Activation)), default="softmax", show_default=True),
    click.option("--strand", type=click.Choice(get_args(Strand)), default="forward", show_default=True),
    click.option("--name", help="Default: the name of the file."),
    click.option("--licence", default="unknown", show_default=True, help="Licence of the weights."),
    click.option("--version", default="1", show_default=True),
)


def _shared(command: Command) -> Command:
    for option in reversed(_SHARED):
        command = option(command)
    return command


@click.command("module")
@click.argument("factory", metavar="MODULE:FACTORY")
@click.option(
    "--checkpoint", "weights", required=True, type=click.Path(path_type=Path, dir_okay=False), help="File of tensors."
)
@click.option("--argument", "arguments", multiple=True, metavar="KEY=VALUE", help="For the factory; JSON or a word.")
@_shared
def module_command(
    factory: str, weights: Path, arguments: tuple[str, ...], output: Path, name: str | None, **options: Any
) -> None:
    """Pack a torch module of your own.

    MODULE:FACTORY names a function that gives the module; naming it runs its code. A factory with an argument called
    ``tensors`` gets the checkpoint's tensors by name. The weights are read as data: no code in them is ever run, and
    each tensor has to have its parameter.

    \b
    Example:
      python -m export export.nets.openspliceai:network --checkpoint model_10000nt_rs10.pt \\
        --tokenizer one-hot --task token-classification --labels neither,acceptor,donor \\
        --window 15000 --stride 5000 -o splice.edgeseq
    """
    from export.own import read_own
    from export.tensors import files_of

    reading = _reading(options, arguments=dict(_argument(one) for one in arguments))
    model = read_own(factory, weights, reading)
    digest = _sha256(files_of(weights))
    source = {"checkpoint": {"files": weights.name, "sha256": digest}, "family": f"own module ({factory})"}
    _pack(model, output, name or weights.stem, source, options)


@click.command("graph")
@click.argument("graph", metavar="FILE.onnx", type=click.Path(path_type=Path))
@click.option("--input", "first", default="", metavar="NAME", help="The graph's input of ids, channels or signal.")
@click.option("--mask", default="", metavar="NAME", help="The graph's attention mask.")
@click.option(
    "--rename",
    "renames",
    multiple=True,
    metavar="NEW=OLD",
    help="An output of the graph under the name it should have.",
)
@_shared
def graph_command(
    graph: Path, first: str, mask: str, renames: tuple[str, ...], output: Path, name: str | None, **options: Any
) -> None:
    """Pack an ONNX graph that you have already.

    The graph keeps its opset and its operators. It must hold its weights, have free batch and length axes, and give a
    row the same whatever its neighbours in a batch are.

    \b
    Example:
      python -m export promoter.onnx --input dna --tokenizer one-hot --task sequence-classification \\
        --labels other,promoter --window 600 -o promoter.edgeseq
    """
    from export.given import Names, read_given

    reading = _reading(options)
    model = read_given(graph, reading, Names(first, mask, dict(_pair(one) for one in renames)))
    source = {"checkpoint": {"files": graph.name, "sha256": _sha256([graph])}, "family": "ONNX graph"}
    _pack(model, output, name or graph.stem, source, options)


def _reading(options: dict[str, Any], *, arguments: dict[str, Any] | None = None) -> Any:
    """What the shared options say of a net."""
    from export.letters import read_letters
    from export.own import Reading

    one_hot, signal = options["tokenizer"] == "one-hot", options["tokenizer"] == "signal"
    letters = None
    if not signal:
        letters = read_letters(
            options["vocabulary"] or ("ACGT" if one_hot else "ACGTN"),
            one_hot=one_hot,
            alphabet=options["alphabet"],
            pad=options["pad"],
            prefix=_ids(options["prefix"]),
            suffix=_ids(options["suffix"]),
        )
        if options["minimum"] > 1:
            raise FamilyError(
                "--minimum", "only signals may be too short", remedy="let the net fill short rows up itself"
            )
    stride = options["stride"]
    if stride and stride > options["window"]:
        raise FamilyError("--stride", f"{stride} is more than the window: bases would go unseen")
    return Reading(
        task=cast(TaskKind, options["task"]),
        window=options["window"],
        letters=letters,
        one_hot=one_hot,
        stride=stride,
        minimum=options["minimum"],
        labels=tuple(filter(None, options["labels"].split(","))),
        outputs=tuple(filter(None, options["outputs"].split(","))),
        activation=cast(Activation, options["activation"]),
        alphabet=cast(Alphabet, options["alphabet"]),
        strand=cast(Strand, options["strand"]),
        arguments=arguments or {},
    )


def _pack(model: Any, output: Path, name: str, provenance: dict[str, Any], options: dict[str, Any]) -> None:
    from export.commands import report
    from export.convert import Naming, pack_model

    naming = Naming(name, options["version"], options["licence"])
    outputs = tuple(filter(None, options["outputs"].split(",")))
    report(
        pack_model(
            model,
            output,
            naming,
            provenance,
            outputs=outputs,
            progress=lambda step: click.echo(f"{step} …", err=True),
        )
    )


def _argument(written: str) -> tuple[str, Any]:
    key, value = _pair(written)
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _pair(written: str) -> tuple[str, str]:
    key, equals, value = written.partition("=")
    if not equals or not key or not value:
        raise FamilyError(written, "this is written KEY=VALUE")
    return key, value


def _ids(written: str) -> tuple[int, ...]:
    parts = [part for part in written.split(",") if part]
    if any(not part.isdecimal() for part in parts):
        raise FamilyError(written, "ids are whole numbers, separated by commas")
    return tuple(map(int, parts))


def _sha256(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
