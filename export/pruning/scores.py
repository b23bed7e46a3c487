"""Scores of every published tensor's entries: by the gradient of the loss on calibration rows, or by size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from export.checkpoint import Checkpoint
from export.network import Model
from export.networks.joint import JointLinear
from export.pruning.objective import scoring_loss
from export.pruning.rows import Row, batches, inputs_of, together
from quantize.prune.importance import Taylor, magnitude

Importance = Literal["taylor", "magnitude"]


def entry_scores(
    checkpoint: Checkpoint, model: Model, rows: Sequence[Row], how: Importance, seed: int
) -> dict[str, torch.Tensor]:
    """Published name → a score for each entry, those of second copies left out."""
    if how == "magnitude":
        return magnitude(
            {name: checkpoint.tensors[name] for name in model.loaded.names.values() if name in checkpoint.tensors}
        )
    taylor, network = Taylor(), model.network
    generator = torch.Generator().manual_seed(seed)
    for batch in batches(rows, together(model)):
        network.zero_grad(set_to_none=True)
        scoring_loss(model, network(*inputs_of(model, batch)), batch, generator).backward()
        weights, gradients = _published(model)
        taylor.add(weights, gradients)
    network.zero_grad(set_to_none=True)
    return taylor.scores()


def _published(model: Model) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Weights and gradients under their published names, in the published shapes."""
    weights: dict[str, torch.Tensor] = {}
    gradients: dict[str, torch.Tensor] = {}
    joint = {name: module for name, module in model.network.named_modules() if isinstance(module, JointLinear)}
    for own, parameter in model.network.named_parameters():
        gradient = parameter.grad
        if gradient is None:
            continue
        holder, _, kind = own.rpartition(".")
        if holder in joint:
            sizes = tuple(joint[holder].sizes.values())
            parts = zip(joint[holder].sizes, parameter.detach().split(sizes), gradient.split(sizes), strict=True)
            pieces = [(f"{holder}.{name}.{kind}", weight, part) for name, weight, part in parts]
        else:
            pieces = [(own, parameter.detach(), gradient)]
        for name, weight, part in pieces:
            published = model.loaded.names.get(name)
            if published is not None:
                rows = model.network.rows.get(own)
                back = slice(None) if rows is None else rows.argsort()
                weights[published], gradients[published] = weight[back], part[back]
    return weights, gradients
