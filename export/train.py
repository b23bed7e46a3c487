"""Training of a panel net on simulated windows: seeded, resumable, the simulator in a process of its own.

The batch of step n depends only on the seed and on n, so that a resumed run and an uninterrupted one see the same
windows.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from export.dataset import Sampler

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast to train."""

    steps: int = 9000
    tokens: int = 131_072
    """Bases per step, padding included."""
    widths: tuple[int, ...] = (256, 384, 512, 768, 1024)
    width_shares: tuple[float, ...] = (0.35, 0.2, 0.2, 0.125, 0.125)
    table_rate: float = 1e-2
    """Highest learning rate of the seed tables (Adam); the dense layers' is ``dense_rate``."""
    dense_rate: float = 2e-3
    warm_up: int = 100
    checkpoint_every: int = 250
    seed: int = 1


def batch_of(sampler: Sampler, plan: Plan, step: int) -> Batch:
    """The windows and labels of one step."""
    rng = np.random.default_rng((plan.seed, step))
    width = int(rng.choice(plan.widths, p=np.array(plan.width_shares) / sum(plan.width_shares)))
    return sampler.batch(rng, max(64, plan.tokens // width), width)


def _produce(sampler: Sampler, plan: Plan, first: int, queue: Queue[Batch]) -> None:
    for step in range(first, plan.steps):
        queue.put(batch_of(sampler, plan, step))


def _next(queue: Queue[Batch], worker: BaseProcess) -> Batch:
    while True:
        try:
            return queue.get(timeout=2)
        except Empty:
            if not worker.is_alive():
                raise RuntimeError("the simulator's process ended early; it wrote why to standard error") from None


def batches(sampler: Sampler, plan: Plan, first: int) -> Iterator[Batch]:
    """Batches from step ``first`` on, simulated ahead by another process.

    Raises RuntimeError when that process has ended before its last batch.
    """
    context = multiprocessing.get_context("fork")
    queue: Queue[Batch] = context.Queue(maxsize=6)
    worker = context.Process(target=_produce, args=(sampler, plan, first, queue), daemon=True)
    worker.start()
    try:
        for _ in range(first, plan.steps):
            yield _next(queue, worker)
    finally:
        worker.terminate()
        worker.join()


def learning_rate(plan: Plan, step: int) -> float:
    """Share of the highest rate at a step: linear warm-up, then half a cosine down to 1 %."""
    warm = min(1.0, (step + 1) / plan.warm_up)
    return warm * (0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * step / plan.steps))))


def optimiser(net: nn.Module, plan: Plan) -> torch.optim.Adam:
    tables = [parameter for name, parameter in net.named_parameters() if name.startswith("tables")]
    dense = [parameter for name, parameter in net.named_parameters() if not name.startswith("tables")]
    groups = [{"params": dense, "lr": plan.dense_rate, "top": plan.dense_rate}]
    if tables:
        groups.append({"params": tables, "lr": plan.table_rate, "top": plan.table_rate})
    return torch.optim.Adam(groups, fused=True)


def train(
    net: nn.Module,
    sampler: Sampler,
    plan: Plan,
    state: Path,
    progress: Callable[[int, int, float], None] | None = None,
) -> None:
    """Trains ``net`` in place.

    ``state`` is the checkpoint: read when it exists, rewritten as training goes on. ``progress`` is called with the
    step, the number of steps and the smoothed loss. Raises ValueError for a checkpoint of another plan.
    """
    adam = optimiser(net, plan)
    first = 0
    smooth = float("nan")
    if state.exists():
        saved = torch.load(state, weights_only=True)
        if saved.get("plan", repr(plan)) != repr(plan):
            raise ValueError(f"{state} belongs to another plan: {saved['plan']}; name an empty work folder")
        net.load_state_dict(saved["net"])
        adam.load_state_dict(saved["adam"])
        first, smooth = int(saved["step"]), float(saved["loss"])
    net.train()
    for step, (windows, targets) in enumerate(batches(sampler, plan, first), start=first):
        share = learning_rate(plan, step)
        for group in adam.param_groups:
            group["lr"] = group["top"] * share
        loss = nn.functional.cross_entropy(net(torch.from_numpy(windows)), torch.from_numpy(targets))
        adam.zero_grad()
        loss.backward()
        adam.step()
        value = float(loss.detach())
        smooth = value if smooth != smooth else 0.98 * smooth + 0.02 * value
        if (step + 1) % plan.checkpoint_every == 0 or step + 1 == plan.steps:
            partial = state.with_suffix(".partial")
            torch.save(
                {
                    "net": net.state_dict(),
                    "adam": adam.state_dict(),
                    "step": step + 1,
                    "loss": smooth,
                    "plan": repr(plan),
                },
                partial,
            )
            partial.replace(state)
        if progress is not None:
            progress(step + 1, plan.steps, smooth)
    net.eval()
