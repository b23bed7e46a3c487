"""The nets that were compared for the outbreak panel, trained for the same processor time on windows of the same kind.

    python benchmarks/architectures.py --data ../shared/data --minutes 7 conv k11 codon10 both hybrid

One thread, simulation included. Judged on simulated windows of held-out clusters, never on real reads: MCC without
abstention, and the share of virus windows given the right label at the threshold where 0.3 % of the background is
called a virus.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from export.ahead import Plan, batch_of
from export.architectures import ConvNet, SeedNet, parameter_count
from export.dataset import Sampler
from export.measure import mcc
from export.panel import prepare
from export.seeds import Seed
from export.train import learning_rate, optimiser

CODON10 = Seed("11011011011011", 98_299)
CONTIGUOUS11 = Seed("1" * 11, 98_299)
NETS: dict[str, Callable[[int], nn.Module]] = {
    "conv": ConvNet,
    "k11": lambda labels: SeedNet((CONTIGUOUS11,), 24, 192, labels),
    "codon8": lambda labels: SeedNet((Seed("11011011011", 65_537),), 32, 192, labels),
    "codon10": lambda labels: SeedNet((CODON10,), 24, 192, labels),
    "codon12": lambda labels: SeedNet((Seed("11011011011011011"[:17], 98_299),), 24, 192, labels),
    "both": lambda labels: SeedNet((Seed("1" * 11, 73_727), Seed("11011011011011", 73_727)), 16, 192, labels),
    "hybrid": lambda labels: SeedNet((CONTIGUOUS11,), 24, 160, labels, context=5),
}


def train_for(net: nn.Module, sampler: Sampler, minutes: float, seed: int) -> int:
    """Trains for the given processor minutes; returns the number of windows seen."""
    began, budget, windows = time.process_time(), minutes * 60, 0
    plan = Plan(steps=1_000_000, seed=seed)
    adam = optimiser(net, plan)
    for step in range(plan.steps):
        spent = (time.process_time() - began) / budget
        if spent >= 1:
            break
        share = min(1.0, (step + 1) / plan.warm_up) * learning_rate(Plan(steps=1000, warm_up=1), round(spent * 1000))
        for group in adam.param_groups:
            group["lr"] = group["top"] * share
        rows, targets = batch_of(sampler, plan, step)
        loss = nn.functional.cross_entropy(net(torch.from_numpy(rows)), torch.from_numpy(targets))
        adam.zero_grad()
        loss.backward()
        adam.step()
        windows += len(targets)
    net.eval()
    return windows


def judge(net: nn.Module, held: Sampler, width: int, windows: int = 8_192) -> tuple[float, float]:
    """MCC, and the share of virus windows right at 0.3 % false virus calls, on held-out windows of one width."""
    rng = np.random.default_rng((7, width))
    truths, outputs = [], []
    with torch.no_grad():
        for _ in range(windows // 256):
            rows, truth = held.batch(rng, 256, width)
            outputs.append(torch.softmax(net(torch.from_numpy(rows)), 1).numpy())
            truths.append(truth)
    truth, probability = np.concatenate(truths), np.concatenate(outputs)
    other = probability.shape[1] - 1
    best = probability[:, :other].max(1)
    threshold = np.quantile(best[truth == other], 0.997)
    right = (probability[:, :other].argmax(1) == truth) & (best > threshold)
    return mcc(truth.astype(str), probability.argmax(1).astype(str)), float(right[truth != other].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="*", default=list(NETS), metavar="NET", help=", ".join(NETS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=7.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    panel = prepare(options.data, seed=options.seed, progress=lambda *_: None)
    held, train = panel.sampler("held"), panel.sampler("train")
    print("| net | parameters | MACs per base | windows | MCC at 256 / 512 / 1024 b | right at 0.3 % false calls |")
    print("|---|---|---|---|---|---|")
    for name in options.nets:
        torch.manual_seed(options.seed)
        net = NETS[name](len(panel.labels))
        windows = train_for(net, train, options.minutes, options.seed)
        figures = [judge(net, held, width) for width in (256, 512, 1024)]
        assert isinstance(net, ConvNet | SeedNet)
        print(
            f"| {name} | {parameter_count(net):,} | {net.macs_per_base():,.0f} | {windows:,} | "
            f"{' / '.join(f'{m:.3f}' for m, _ in figures)} | {' / '.join(f'{r:.3f}' for _, r in figures)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
