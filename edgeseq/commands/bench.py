"""``edgeseq bench``: how fast is this machine with this bundle?"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING

import click

from edgeseq.commands import options
from edgeseq.interrupts import Interrupts

if TYPE_CHECKING:
    from edgeseq.read import Read
    from edgeseq.scorer import Scorer

LIVE_BASES = 400
"""About one second of a nanopore: the shortest stretch that live decisions are made on."""
SINGLES = 200

_EXAMPLES = """Examples:

\b
  edgeseq bench
  edgeseq bench -m my.edgeseq --threads 1 --json
"""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a run of the benchmark found."""

    bundle: str
    sha256: str
    provider: str
    threads: int
    seconds: float
    reads: int
    bases: int
    bases_per_second: float
    reads_per_second: float
    macs_per_base: float | None
    engine_share: float
    """Share of the workers' wall time that was spent inside the engine."""
    latency_p50_ms: float
    """Of a single read of `LIVE_BASES` bases, from read to decision."""
    latency_p99_ms: float
    peak_memory_mb: float


@click.command("bench", short_help="Measure speed and memory on this machine.", epilog=_EXAMPLES)
@options.bundle
@options.threads
@options.provider
@click.option("--seconds", type=click.FloatRange(0.1), default=10.0, show_default=True, help="How long to score.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the list.")
def command(bundle: str | None, threads: int | None, provider: str | None, seconds: float, as_json: bool) -> None:
    """Score simulated reads (seeded, 200 to 30,000 bases) and print the speed."""
    from edgeseq.scorer import load

    with Interrupts(), load(bundle, threads=threads, providers=[provider] if provider else None) as scorer:
        found = measure(scorer, seconds)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2))
        return
    macs = "unknown" if found.macs_per_base is None else f"{found.macs_per_base:,.0f}"
    for name, value in (
        ("bundle", f"{found.bundle} (sha256 {found.sha256[:12]})"),
        ("engine", f"{found.provider}, {found.threads} workers"),
        ("speed", f"{found.bases_per_second / 1e6:,.2f} Mb/s, {found.reads_per_second:,.0f} reads/s"),
        ("work", f"{macs} multiply–accumulates per base"),
        (f"one {LIVE_BASES}-b read", f"{found.latency_p50_ms:.2f} ms (p50), {found.latency_p99_ms:.2f} ms (p99)"),
        ("inside the engine", f"{found.engine_share:.0%} of the workers' time"),
        ("peak memory", f"{found.peak_memory_mb:,.0f} MB"),
    ):
        click.echo(f"{name:<20}{value}")


def measure(scorer: Scorer, seconds: float) -> Measurement:
    """Scores simulated reads for about that many seconds, then single short ones."""
    from edgeseq.simulate import simulated_reads

    source = simulated_reads()
    for _ in scorer.score_batches(islice(source, 64)):
        pass
    in_engine = scorer.engine_seconds
    began = time.perf_counter()
    reads = bases = 0
    for predictions in scorer.score_batches(_until(source, began + seconds)):
        reads += len(predictions)
        bases += sum([len(prediction.read.sequence) for prediction in predictions])
    took = time.perf_counter() - began
    in_engine = scorer.engine_seconds - in_engine
    latencies = sorted(_latencies(scorer, source))
    manifest = scorer.manifest
    return Measurement(
        bundle=f"{manifest.name} {manifest.version}",
        sha256=scorer.bundle.sha256,
        provider=scorer.provider,
        threads=scorer.threads,
        seconds=took,
        reads=reads,
        bases=bases,
        bases_per_second=bases / took,
        reads_per_second=reads / took,
        macs_per_base=manifest.graph.macs_per_base,
        engine_share=in_engine / (took * scorer.threads),
        latency_p50_ms=1e3 * latencies[len(latencies) // 2],
        latency_p99_ms=1e3 * latencies[len(latencies) * 99 // 100],
        peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def _until(source: Iterator[Read], end: float) -> Iterator[Read]:
    while time.perf_counter() < end:
        yield from islice(source, 32)


def _latencies(scorer: Scorer, source: Iterator[Read]) -> Iterator[float]:
    from edgeseq.read import Read

    for read in islice((read for read in source if len(read) >= LIVE_BASES), SINGLES):
        prefix = Read(read.id, read.sequence[:LIVE_BASES])
        began = time.perf_counter()
        scorer.score_one(prefix)
        yield time.perf_counter() - began
