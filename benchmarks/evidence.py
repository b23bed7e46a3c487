"""How often the answers of `edgeseq watch` are wrong: simulated samples, asked after every read.

    python benchmarks/evidence.py [--samples 2000] [--reads 20000] [--plot docs/evidence.png]

A sample is a stream of reads, each called a class with a fixed probability. The question is asked after every single
read, and a sample counts as wrong if the wrong answer is given at any of these moments:

    false alarm   "detected" where the share is the background's
    miss          "ruled out" where the share is the least one that must not be missed

Families of questions (22 classes in 12 barcodes, and with a negative control) count as wrong if any answer in any
barcode is. Exits with 1 where the lower end of a 95 % interval of a realised rate lies above its stated bound. The
vectorised answers are compared with those of `edgeseq.watch.evidence` on random samples before anything is counted.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln

from edgeseq.watch.evidence import PRIOR, Answer, Bounds, upper, weigh
from export.measure import wilson

Flags = NDArray[np.bool_]
Reals = NDArray[np.float64]
CLASSES, BARCODES = 22, 12


@dataclass(frozen=True, slots=True)
class Setting:
    """A question and the share of reads that is true."""

    name: str
    share: float
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class Rate:
    """How many of the samples got a wrong answer, and how often they may."""

    name: str
    wrong: int
    samples: int
    bound: float

    @property
    def interval(self) -> tuple[float, float]:
        _, low, high = wilson(self.wrong, self.samples)
        return low, high

    @property
    def kept(self) -> bool:
        """Whether the bound is compatible with what was seen."""
        return self.interval[0] <= self.bound


def log_mixture(hits: Reals, reads: Reals, share: float | Reals) -> Reals:
    """`edgeseq.watch.evidence.log_mixture` of arrays."""
    a, b = PRIOR
    misses = reads - hits
    found: Reals = betaln(hits + a, misses + b) - betaln(a, b) - hits * np.log(share) - misses * np.log1p(-share)
    return found


def streams(share: float, samples: int, reads: int, rng: np.random.Generator) -> tuple[Reals, Reals]:
    """Hits so far after each read (samples × reads), and the number of reads."""
    hits = np.cumsum(rng.random((samples, reads), dtype=np.float32) < share, axis=1).astype(np.float64)
    return hits, np.arange(1, reads + 1, dtype=np.float64)


def detected(hits: Reals, reads: Reals, background: float | Reals, alpha: float) -> Flags:
    """Where the answer is "detected"."""
    return np.asarray((log_mixture(hits, reads, background) >= -math.log(alpha)) & (hits > background * reads))


def ruled_out(hits: Reals, reads: Reals, bounds: Bounds) -> Flags:
    """Where the class is ruled out at the least share."""
    return np.asarray(
        (log_mixture(hits, reads, bounds.least) >= -math.log(bounds.beta)) & (hits < bounds.least * reads)
    )


def check(settings: Sequence[Setting], rng: np.random.Generator) -> None:
    """Compares the arrays with the answers of the daemon. Raises AssertionError."""
    for setting in settings:
        hits, reads = streams(setting.share * rng.uniform(0.5, 3), 20, 500, rng)
        found = detected(hits, reads, setting.bounds.background, setting.bounds.alpha)
        out = ruled_out(hits, reads, setting.bounds)
        for sample, read in zip(rng.integers(0, 20, 200).tolist(), rng.integers(0, 500, 200).tolist(), strict=True):
            evidence = weigh(int(hits[sample, read]), read + 1, setting.bounds)
            assert (evidence.answer is Answer.DETECTED) == bool(found[sample, read]), (setting, evidence)
            assert evidence.ruled_out == bool(out[sample, read]), (setting, evidence)


def wrong_at_any_time(setting: Setting, samples: int, reads: int, rng: np.random.Generator) -> tuple[int, list[float]]:
    """Samples with a wrong answer at any time, and the reads after which the right one came (infinite: it did not)."""
    wrong = 0
    times: list[float] = []
    for _ in range(0, samples, 100):
        hits, counts = streams(setting.share, min(100, samples), reads, rng)
        alarm = detected(hits, counts, setting.bounds.background, setting.bounds.alpha)
        miss = ruled_out(hits, counts, setting.bounds)
        bad, good = (miss, alarm) if setting.share >= setting.bounds.least else (alarm, miss)
        wrong += int(bad.any(axis=1).sum())
        times += np.where(good.any(axis=1), good.argmax(axis=1) + 1.0, math.inf).tolist()
    return wrong, times


def family(samples: int, reads: int, alpha: float, background: float, rng: np.random.Generator) -> int:
    """Samples of `BARCODES` × `CLASSES` questions in which any class is detected anywhere at any time."""
    each = alpha / (CLASSES * BARCODES)
    wrong = 0
    for _ in range(samples):
        hits, counts = streams(background, CLASSES * BARCODES, reads, rng)
        wrong += bool(detected(hits, counts, background, each).any())
    return wrong


def with_control(samples: int, reads: int, alpha: float, rng: np.random.Generator) -> int:
    """Samples in which a class is detected that is no more frequent than in the negative control, though the stated
    background is far too low: the control alone keeps the bound."""
    stated, true = 0.001, 0.02
    looks = np.unique(np.geomspace(10, reads, 60).astype(int)) - 1
    wrong = 0
    for _ in range(samples):
        (mine, control), counts = streams(true, 2, reads, rng)
        for look in looks.tolist():
            limit = max(stated, upper(int(control[look]), look + 1, alpha / 2))
            if detected(mine[look : look + 1], counts[look : look + 1], limit, alpha / 2)[0]:
                wrong += 1
                break
    return wrong


def settings() -> list[Setting]:
    """Questions over the range that laboratories ask, at the background's share and at the least one."""
    found = []
    for background, least in ((0.001, 0.01), (0.003, 0.02), (0.01, 0.05), (0.0001, 0.002)):
        for alpha, beta in ((0.05, 0.05), (0.01, 0.05)):
            bounds = Bounds(background, least, alpha, beta)
            name = f"background {background:g}, least {least:g}, α {alpha:g}, β {beta:g}"
            found += [Setting(name, background, bounds), Setting(name, least, bounds)]
    return found


def plot(path: Path, rates: Sequence[Rate], curves: Sequence[tuple[str, list[float]]]) -> None:
    """Realised rates beside their bounds, and how soon the right answer comes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 0.28 * len(rates) + 2.2), width_ratios=(3, 2))
    for at, rate in enumerate(reversed(rates)):
        low, high = rate.interval
        left.plot([100 * low, 100 * high], [at, at], color="#1f6f8b", linewidth=2)
        left.plot(100 * rate.wrong / rate.samples, at, "o", color="#1f6f8b", markersize=4)
        left.plot(100 * rate.bound, at, "|", color="#c0392b", markersize=12, markeredgewidth=2)
    left.set_yticks(range(len(rates)), [rate.name for rate in reversed(rates)], fontsize=7)
    left.set_xlabel("samples with a wrong answer at any time, % (95 % interval); red: stated bound")
    left.set_xlim(left=0)
    for name, times in curves:
        ordered = np.sort(times)
        right.step(ordered, np.arange(1, len(ordered) + 1) / len(ordered), label=name, where="post")
    right.set_xscale("log")
    right.set_xlabel("reads until the right answer")
    right.set_ylabel("share of samples")
    right.legend(fontsize=7, frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110, bbox_inches="tight")


def main() -> None:
    """The table, the plot, and whether all bounds are kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--reads", type=int, default=20_000)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    check(settings(), rng)
    rates: list[Rate] = []
    curves: list[tuple[str, list[float]]] = []
    print("| question | truth | wrong at any time (95 %) | bound | median reads to the right answer |")
    print("|---|---|--:|--:|--:|")
    for setting in settings():
        wrong, times = wrong_at_any_time(setting, options.samples, options.reads, rng)
        present = setting.share >= setting.bounds.least
        bound = setting.bounds.beta if present else setting.bounds.alpha
        rate = Rate(f"{'missed' if present else 'false alarm'}: {setting.name}", wrong, options.samples, bound)
        rates.append(rate)
        low, high = rate.interval
        print(
            f"| {setting.name} | share {setting.share:g} | {wrong / options.samples:.2%} ({low:.2%}–{high:.2%}) | "
            f"{bound:.0%} | {np.median(times):,.0f} |",
            flush=True,
        )
        if setting.bounds.alpha == 0.01:
            curves.append((f"{'detected' if present else 'ruled out'} at {setting.share:g}", times))
    fewer = max(100, options.samples // 10)
    found = family(options.samples, fewer, 0.05, 0.003, rng)
    rates.append(
        Rate(f"false alarm anywhere: {CLASSES} classes × {BARCODES} barcodes, α 0.05", found, options.samples, 0.05)
    )
    found = with_control(options.samples, options.reads // 10, 0.05, rng)
    rates.append(Rate("false alarm against a contaminated control, α 0.05", found, options.samples, 0.05))
    for rate in rates[-2:]:
        low, high = rate.interval
        print(f"| {rate.name} | | {rate.wrong / rate.samples:.2%} ({low:.2%}–{high:.2%}) | {rate.bound:.0%} | |")
    broken = [rate.name for rate in rates if not rate.kept]
    if options.plot:
        plot(options.plot, rates, curves)
    print(f"{len(rates) - len(broken)} of {len(rates)} bounds kept, {options.samples:,} samples each")
    for name in broken:
        print(f"broken: {name}")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
