"""Batches of simulated windows, made ahead of the training by a process of its own.

The batch of step n depends only on the seed and on n, so that a resumed run and an uninterrupted one see the same
windows. Nothing here needs torch: the process starts in a moment.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from queue import Empty

import numpy as np
from numpy.typing import NDArray

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
    context = multiprocessing.get_context("spawn")  # a fork would take locks along that threads hold
    queue: Queue[Batch] = context.Queue(maxsize=6)
    worker = context.Process(target=_produce, args=(sampler, plan, first, queue), daemon=True)
    worker.start()
    try:
        for _ in range(first, plan.steps):
            yield _next(queue, worker)
    finally:
        worker.terminate()
        worker.join()
