"""Speed, memory, size and accuracy of `edgeseq score` beside its own engine, minimap2 and Kraken2, in one run.

    python benchmarks/score.py [--data ../shared/data] [-m BUNDLE] [--megabases 60] [--rounds 5] [--own] [--work FOLDER]

The contestants take turns, so that what else the machine does hits all alike; every run is a process of its own:

    edgeseq score   the command, from a FASTQ file to a file of calls
    library         the same pipeline inside one process, timed without start and loading
    bare engine     the very arrays that the pipeline gives the engine, from as many threads, and nothing else
    minimap2        through mappy, nanopore preset, one process per thread; calls the class of the best hit
    Kraken2         its defaults; calls the class of the taxon

minimap2 and Kraken2 get every genome of the panel's classes and all background as reference, also the genomes that the
panel's training leaves out because they are close to the test reads. Speeds are those beyond the start, which is a run
on a file of one read, or the loading. What cannot run here is left out, and the output says so.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.contestants import Contestant, Sample, Setting, own, peers
from benchmarks.process import first_row_seconds, measure
from benchmarks.workload import Workload, verified_reads, workload, write_fastq
from edgeseq import read_bundle

DATA = Path(__file__).resolve().parents[2] / "shared/data"
ENGINE_SHARE = 0.90
"""What `edgeseq score` should reach of the bare engine's speed."""
LEAST_SPEED = 4e6
"""Bases per second that it should reach on two cores."""

Samples = dict[str, list[Sample]]


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Median and range."""
    return f"{median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def print_speed(samples: Samples, able: Sequence[Contestant], load: Workload) -> None:
    """The table of speeds."""
    print("| | Mb/s | reads/s | Mb/s with start | processor s | peak memory | model or database |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for one in able:
        runs = samples[one.name]
        cells = [
            one.name,
            spread([load.bases / run.work / 1e6 for run in runs]),
            f"{load.count / median([run.work for run in runs]):,.0f}",
            f"{load.bases / median([run.whole for run in runs]) / 1e6:.2f}" if one.process else "",
            f"{median([run.cpu_seconds for run in runs]):.1f}",
            f"{max(run.peak_bytes for run in runs) / 1e6:,.0f} MB" if one.process else "",
            f"{one.bytes_on_disk / 1e6:.1f} MB",
        ]
        print("| " + " | ".join(cells) + " |")


def print_ratios(samples: Samples, able: Sequence[Contestant], load: Workload, threads: int) -> None:
    """Speeds as shares of each other's, round by round, and where the time goes."""
    print("\nSpeed of `edgeseq score` as a share of another's, round by round:\n")
    ours = samples["edgeseq score"]
    for one in able[1:]:
        ratios = [theirs.work / mine.work for mine, theirs in zip(ours, samples[one.name], strict=True)]
        wanted = f"; wanted: {ENGINE_SHARE}, {verdict(median(ratios) >= ENGINE_SHARE)}"
        print(f"- {one.name}: {spread(ratios, '.3f')}{wanted if one.name == 'bare engine' else ''}")
    speed = median([load.bases / run.work for run in ours])
    print(f"\nWanted: {LEAST_SPEED / 1e6:.0f} Mb/s; {verdict(speed >= LEAST_SPEED)}.")
    both = list(zip(samples["library"], samples["bare engine"], strict=True))
    print(f"Library as a share of the bare engine: {spread([bare.work / run.work for run, bare in both], '.3f')}.")
    used = [bare.cpu_seconds / run.cpu_seconds for run, bare in both]
    print(f"Processor time of the bare engine as a share of the library's: {spread(used, '.3f')}.")
    inside = [run.engine / (run.work * threads) for run in samples["library"]]
    print(f"Of the library's worker time inside the engine: {spread(inside)}.")


def verdict(good: bool) -> str:
    return "reached" if good else "MISSED"


def print_start(setting: Setting, load: Workload, repeats: int) -> None:
    """How long until something comes out."""
    whole = [measure(setting.score(load.single, "-o", setting.folder / "one.tsv")).seconds for _ in range(repeats)]
    first = [first_row_seconds(setting.score(load.reads)) for _ in range(repeats)]
    print(f"Start, one read, end: {spread(whole)} s. Start to the first row of the workload: {spread(first)} s.")


def print_accuracy(able: Sequence[Contestant], data: Path, folder: Path) -> None:
    """Calls on the real reads whose origin is known."""
    from export.measure import calls_of, summary

    reads, truth = verified_reads(data)
    path = folder / "verified.fastq"
    write_fastq(path, reads)
    print(f"\nReal reads with known origin, 200 b and longer ({len(reads):,}), with 95 % intervals:\n")
    print("| | MCC of called reads | virus reads called | virus reads right | background called a virus |")
    print("|---|--:|--:|--:|--:|")
    for one in able:
        if one.label is None:
            continue
        label = one.label(path)
        found = summary(
            calls_of([(true, label[str(n)], 0.0, len(reads[n]), "") for n, true in enumerate(truth)]),
        )
        cells = [f"{found['mcc']:.4f} ({found['mcc_95'][0]:.4f}–{found['mcc_95'][1]:.4f})"]
        for key in ("virus_called", "virus_right", "background_called_virus"):
            share, low, high = found[key]
            cells.append(f"{share:.2%} ({low:.2%}–{high:.2%})")
        print(f"| {one.name} | " + " | ".join(cells) + " |")


def main() -> None:
    """The tables, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("-m", "--bundle", help="Default: the embedded panel.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabases", type=float, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--own", action="store_true", help="Without minimap2 and Kraken2, which take long.")
    parser.add_argument("--work", type=Path, help="Keeps the database and the index for later runs.")
    options = parser.parse_args()
    bundle = read_bundle(options.bundle)
    with tempfile.TemporaryDirectory(prefix="edgeseq-bench-") as temporary:
        folder = Path(temporary)
        work = options.work or folder
        work.mkdir(parents=True, exist_ok=True)
        setting = Setting(folder, work, options.threads, options.bundle)
        load = workload(folder, options.data, int(options.megabases * 1e6))
        others: list[Contestant] = []
        left_out = ["minimap2 and Kraken2, as asked"]
        if not options.own:
            others, left_out = peers(setting, load, options.data, bundle.manifest.task.labels)
        able = [*own(setting, load, bundle), *others]
        samples: Samples = {one.name: [] for one in able}
        for number in range(options.rounds):
            for one in able:
                print(f"round {number + 1} of {options.rounds}: {one.name}", file=sys.stderr)
                samples[one.name].append(one.sample())
        print(
            f"{bundle.manifest.name} {bundle.manifest.version}, {load.count:,} {load.kind} reads, "
            f"{load.bases / 1e6:.1f} Mb, {options.threads} threads, {options.rounds} rounds; median (range).\n"
        )
        print_speed(samples, able, load)
        print_ratios(samples, able, load, options.threads)
        print_start(setting, load, options.rounds)
        if (options.data / "reads/truth.tsv").exists():
            print_accuracy(able, options.data, folder)
        else:
            left_out.append(f"accuracy: no reads/truth.tsv in {options.data}")
    for line in left_out:
        print(f"\nLeft out: {line}.")


if __name__ == "__main__":
    main()
