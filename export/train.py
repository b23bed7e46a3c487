"""Training of a panel net on simulated windows: seeded, resumable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from export.ahead import Plan, batches
from export.dataset import Sampler


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
