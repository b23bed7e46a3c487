"""The commands of ``python -m devices``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from devices.profiles import Format, Profile, load_profile, profiles

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("list")
@click.argument("device", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def list_command(device: str | None, as_json: bool) -> None:
    """Print the devices that are known, or all about DEVICE (a name, or a file that ends in .toml)."""
    if device is None:
        found = profiles()
        if as_json:
            click.echo(json.dumps({name: asdict(each) for name, each in found.items()}, indent=2, ensure_ascii=False))
            return
        for name, each in found.items():
            click.echo(f"{name:18}{each.cpu.cores} × {each.cpu.name}, {each.cpu.gigahertz:g} GHz; {each.summary}")
        return
    profile = load_profile(device)
    click.echo(json.dumps(asdict(profile), indent=2, ensure_ascii=False) if as_json else _described(profile))


@click.command(
    "emulate",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="""Examples:

\b
  python -m devices emulate --cpu cortex-a76 -- edgeseq score reads.fastq -o calls.tsv
  python -m devices emulate --cpu raspberry-pi-4 -- python -c "import onnxruntime"
  python -m devices emulate --build-only
""",
)
@click.option("--cpu", default="cortex-a72", show_default=True, help="A processor, or a device by its name.")
@click.option("--build-only", is_flag=True, help="Build what is needed, and run nothing.")
@click.option("--rebuild", is_flag=True, help="Build it again, even if it is cached.")
@click.option("--list", "listed", is_flag=True, help="Print the processors, and what is cached.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def emulate_command(
    context: click.Context, cpu: str, build_only: bool, rebuild: bool, listed: bool, command: tuple[str, ...]
) -> None:
    """Run COMMAND (edgeseq … or python …) with the aarch64 wheels of a device, on an emulated processor.

    The first run builds what it needs below $XDG_CACHE_HOME/edgeseq/aarch64, in a minute or two, without rights of an
    administrator. Results are those of the device; speed is not. The exit code is the command's own.
    """
    from devices.arm import core_name
    from devices.emulate import emulate, program
    from devices.environment import environment

    if listed:
        _list_emulation()
        return
    core = core_name(cpu)
    if not build_only:
        program(command)
    built = environment(_say, rebuild=rebuild)
    if build_only:
        click.echo(str(built.folder))
        return
    context.exit(emulate(built, core, command))


@click.command(
    "count",
    epilog="""Examples:

\b
  python -m devices count panel.edgeseq
  python -m devices count panel.edgeseq --cpu raspberry-pi-5 --length 1000 --batch 4 --json
""",
)
@click.argument("bundle", type=_FILE)
@click.option("--cpu", "cpus", multiple=True, help="A processor, or a device by its name; repeatable.  [default: both]")
@click.option("--length", type=click.IntRange(min=1), help="Bases of each made-up read.  [default: a full window]")
@click.option(
    "--batch", type=click.IntRange(min=1), help="Reads that run together.  [default: 8,192 tokens, at most 8]"
)
@click.option("--times", type=click.IntRange(min=1), default=3, show_default=True, help="Inferences that are counted.")
@click.option("--graph", type=_FILE, help="Count this ONNX file in place of the bundle's own graph.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def count_command(
    bundle: Path,
    cpus: tuple[str, ...],
    length: int | None,
    batch: int | None,
    times: int,
    graph: Path | None,
    as_json: bool,
) -> None:
    """Print the instructions that BUNDLE takes per kilobase, by class, on Arm processors.

    Start-up and loading are not in it. Needs a C compiler.
    """
    from devices.arm import DEFAULT, core_name
    from devices.count import count, described, table
    from devices.environment import environment

    cores = tuple(dict.fromkeys(core_name(cpu) for cpu in cpus or DEFAULT))
    counts = count(bundle, cores=cores, length=length, batch=batch, times=times, graph=graph, built=environment(_say))
    if as_json:
        click.echo(json.dumps(described(counts, bundle), indent=2))
        return
    first = counts[0]
    click.echo(f"{bundle.name}: million instructions per kilobase, {first.bases:,} bases as {first.tokens:,} tokens\n")
    click.echo(table(counts))


@click.command(
    "compare",
    epilog="""Examples:

\b
  python -m devices compare panel.edgeseq reads.fastq
  python -m devices compare panel.edgeseq reads/*.fastq.gz --most 500 --cpu raspberry-pi-5
""",
)
@click.argument("bundle", type=_FILE)
@click.argument("reads", nargs=-1, type=click.Path(exists=True))
@click.option("--cpu", "cpus", multiple=True, help="A processor, or a device by its name; repeatable.  [default: both]")
@click.option("--most", type=click.IntRange(min=1), default=200, show_default=True, help="Reads, spread over READS.")
@click.option("--least", type=click.FloatRange(0, 1), default=0.0, help="Exit with 1 where fewer calls are equal.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.pass_context
def compare_command(
    context: click.Context,
    bundle: Path,
    reads: tuple[str, ...],
    cpus: tuple[str, ...],
    most: int,
    least: float,
    as_json: bool,
) -> None:
    """Compare what BUNDLE says about READS (files or folders) here and on Arm processors.

    Its golden cases are compared too; without READS, they alone.
    """
    from devices.arm import DEFAULT, core_name
    from devices.compare import compare, table
    from devices.environment import environment

    cores = tuple(dict.fromkeys(core_name(cpu) for cpu in cpus or DEFAULT))
    found = compare(bundle, reads, cores=cores, most=most, built=environment(_say))
    if as_json:
        click.echo(json.dumps(found.described(), indent=2))
    else:
        click.echo(f"{bundle.name}: {found.reads:,} reads, {found.bases:,} bases\n")
        click.echo(table(found))
    if any(pair.share < least for pair in found.pairs):
        context.exit(1)


def _list_emulation() -> None:
    from devices.arm import CORES
    from devices.environment import cached_environment, environments_folder

    for name, core in CORES.items():
        devices = ", ".join(each.name for each in profiles().values() if each.cpu.qemu == name)
        click.echo(f"{name:14}{'dot products' if 'asimddp' in core.features else '':14}{devices}")
    found = cached_environment()
    if found is None:
        click.echo(f"\nNothing is cached in {environments_folder()}; the next command builds it.")
        return
    wheels = ", ".join(f"{name} {version}" for name, version in found.facts["wheels"].items())
    click.echo(
        f"\n{found.folder}: {found.facts['bytes'] / 1e6:.0f} MB, built in {found.facts['seconds']:.0f} s\n{wheels}"
    )


def _say(text: str) -> None:
    click.echo(f"aarch64: {text}", file=sys.stderr)


def _described(profile: Profile) -> str:
    cpu, memory, engine = profile.cpu, profile.memory, profile.engine
    lines = [
        f"{profile.title}: {profile.summary}",
        "",
        f"processor  {cpu.cores} × {cpu.name}, {cpu.gigahertz:g} GHz, {cpu.architecture}: {', '.join(cpu.features)}",
        f"peak       {cpu.float_gflops:g} GFLOP/s in float32, "
        + (f"{cpu.int8_gops:g} GOP/s in int8" if cpu.int8_gops else "no dot products in int8"),
        f"memory     {memory.gigabytes:g} GB and more, {memory.bandwidth:g} GB/s",
        f"engine     {', '.join(engine.providers)}{': ' + engine.note if engine.note else ''}",
        f"emulated   {cpu.qemu or 'not'}",
    ]
    for title, formats in (("prefers", profile.prefer), ("refuses", profile.refuse)):
        lines += ["", f"{title} (activations × weights)", *(f"  {_sentence(each)}" for each in formats)]
    return "\n".join([*lines, "", "sources", *(f"  {each}" for each in profile.sources)])


def _sentence(each: Format) -> str:
    return f"{each.name}: {each.reason} ({each.source})"
