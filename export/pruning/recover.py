"""Training after the cut: towards the whole model's outputs, or towards labels.

AdamW with a rate that falls to nothing; the weights with the lowest loss on rows set aside are kept. Parameters that
were laid out anew when the checkpoint was read are trained where their network knows the way back
(`Network.published`); others, and what was folded into tables, stay as they are.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from export.network import Model
from export.pruning.objective import distance, labelled_loss, principal
from export.pruning.rows import Row, batches, inputs_of, together

Towards = Literal["distil", "labelled"]
RATE = 3e-4
PATIENCE = 5
CHECKS = 20
"""Looks at the rows set aside in a course of so many steps; without steps, four in each turn through the rows."""
_WARMING = 0.05


@dataclass(frozen=True, slots=True)
class Course:
    """How long, and how: ``steps`` ends a course as surely as the minutes do, and gives the same weights each time."""

    towards: Towards
    minutes: float
    steps: int | None = None
    rate: float = RATE
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a course did: losses on the rows set aside, and the tensors that it changed, by their published names."""

    before: float
    after: float
    steps: int
    seconds: float
    stopped: str
    tensors: dict[str, torch.Tensor]
    trained: int

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        return {key: value for key, value in asdict(self).items() if key != "tensors"}


def recover(
    model: Model, teacher: Model, training: Sequence[Row], watched: Sequence[Row], course: Course, frozen: Sequence[str]
) -> Recovered:
    """Trains ``model``'s network in place and gives the best weights that it had."""
    network = model.network
    trained = {}
    for own, parameter in network.named_parameters():
        parameter.requires_grad_(is_known(model, own) and not any(re.fullmatch(pattern, own) for pattern in frozen))
        if parameter.requires_grad:
            trained[own] = parameter
    torch.manual_seed(course.seed)
    optimizer = torch.optim.AdamW(trained.values(), lr=course.rate, weight_decay=0.01)
    before = best = _watched_loss(model, teacher, watched, course.towards)
    kept = {own: parameter.detach().clone() for own, parameter in trained.items()}
    size = together(model)
    started, step, worse, epoch, stopped = time.monotonic(), 0, 0, 0, ""
    interval = max(1, course.steps // CHECKS) if course.steps else max(CHECKS, len(training) // (4 * size))
    while not stopped:
        for batch in batches(training, size, seed=course.seed + epoch):
            gone = _gone(course, step, time.monotonic() - started)
            if gone >= 1:
                stopped = "steps" if course.steps and step >= course.steps else "minutes"
                break
            for group in optimizer.param_groups:
                group["lr"] = course.rate * min(1.0, (gone + 1e-3) / _WARMING) * (1 + math.cos(math.pi * gone)) / 2
            optimizer.zero_grad(set_to_none=True)
            _loss(model, teacher, batch, course.towards).backward()
            torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
            optimizer.step()
            step += 1
            if step % interval == 0:
                now = _watched_loss(model, teacher, watched, course.towards)
                worse = 0 if now < best else worse + 1
                if now < best:
                    best, kept = now, {own: value.detach().clone() for own, value in trained.items()}
                if worse == PATIENCE:
                    stopped = "early"
                    break
        epoch += 1
    now = _watched_loss(model, teacher, watched, course.towards)
    if now >= best:
        with torch.no_grad():
            for own, parameter in trained.items():
                parameter.copy_(kept[own])
    changed = published_tensors(model, trained)
    count = sum(parameter.numel() for parameter in trained.values())
    return Recovered(before, min(best, now), step, time.monotonic() - started, stopped, changed, count)


def is_known(model: Model, own: str) -> bool:
    """Whether a parameter can be written back: under its own name, as a part of a joint weight, or laid out anew."""
    names = model.loaded.names
    if own in names or any(name.startswith(own.rpartition(".")[0]) for name in names):
        return True
    return bool(model.network.relaid) and re.fullmatch(model.network.relaid, own) is not None


def published_tensors(model: Model, trained: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The trained parameters by their published names, in the published layout."""
    names, state = model.loaded.names, model.network.state_dict()
    found = {names[own]: state[own].detach().clone() for own in names if own in state and _is_trained(own, trained)}
    relaid = model.network.relaid
    if relaid and any(re.fullmatch(relaid, own) for own in trained):
        found |= {names[own]: value for own, value in model.network.published().items() if own in names}
    return found


def _is_trained(own: str, trained: Mapping[str, torch.Tensor]) -> bool:
    """A projection that is stored jointly with others has the name of its joint weight with its own in between."""
    holder, _, kind = own.rpartition(".")
    return own in trained or f"{holder.rpartition('.')[0]}.{kind}" in trained


def _gone(course: Course, step: int, seconds: float) -> float:
    """The share of the course that is over."""
    by_time = seconds / max(60 * course.minutes, 1e-9)
    return step / course.steps if course.steps and by_time < 1 else by_time


def _loss(model: Model, teacher: Model, batch: Sequence[Row], towards: Towards) -> torch.Tensor:
    inputs = inputs_of(model, batch)
    given = principal(model, model.network(*inputs))
    if towards == "labelled":
        return labelled_loss(given, batch)
    with torch.no_grad():
        wanted = principal(teacher, teacher.network(*inputs))
    return distance(model, given, wanted)


def _watched_loss(model: Model, teacher: Model, rows: Sequence[Row], towards: Towards) -> float:
    with torch.no_grad():
        losses = [
            (float(_loss(model, teacher, batch, towards)), len(batch)) for batch in batches(rows, together(model))
        ]
    return sum(loss * count for loss, count in losses) / sum(count for _, count in losses)
