"""What a model is asked to keep: the loss that its weights are scored with, that recovery lowers, and its figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from export.measure import mcc
from export.network import Model, Outputs
from export.pruning.rows import Row, batches, inputs_of, together


def principal(model: Model, outputs: Outputs) -> torch.Tensor:
    """The output that the model is used for."""
    return outputs["last_hidden_state"] if model.task == "embedding" else outputs["logits"]


def is_scored(model: Model) -> bool:
    """Whether the output is numbers as they are, rather than logits."""
    return model.task in ("embedding", "regression")


def scoring_loss(model: Model, outputs: Outputs, batch: Sequence[Row], generator: torch.Generator) -> torch.Tensor:
    """The loss whose gradient scores weights.

    With labels, the cross-entropy of these. Without, that of labels drawn from the model's own predictions: against the
    predictions themselves the gradient would be 0 everywhere. Numbers are scored by their product with random signs.
    """
    given = principal(model, outputs)
    if batch[0].target is not None:
        return labelled_loss(given, batch)
    if is_scored(model):
        signs = torch.randint(0, 2, given.shape, generator=generator) * 2 - 1
        return (given * signs).sum() / len(batch)
    if model.activation == "sigmoid":
        drawn = torch.bernoulli(given.detach().sigmoid(), generator=generator)
        return functional.binary_cross_entropy_with_logits(given, drawn)
    flat = given.reshape(-1, given.shape[-1])
    drawn = torch.multinomial(flat.detach().softmax(-1), 1, generator=generator)[:, 0]
    return functional.cross_entropy(flat, drawn)


def labelled_loss(given: torch.Tensor, batch: Sequence[Row]) -> torch.Tensor:
    """The cross-entropy of the labels of a batch."""
    return functional.cross_entropy(given, torch.tensor([int(row.target or 0) for row in batch]))


def distance(model: Model, given: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """How far outputs are from those of the whole model: the divergence of their distributions, averaged over rows and
    positions; of numbers, the squared error as a part of their variance."""
    if is_scored(model):
        return functional.mse_loss(given, wanted) / wanted.var().clamp(min=1e-12)
    if model.activation == "sigmoid":
        target = wanted.sigmoid()
        entropy = functional.binary_cross_entropy_with_logits(wanted, target)
        return functional.binary_cross_entropy_with_logits(given, target) - entropy
    gap: torch.Tensor = functional.kl_div(
        given.log_softmax(-1).flatten(0, -2),
        wanted.log_softmax(-1).flatten(0, -2),
        log_target=True,
        reduction="batchmean",
    )
    return gap


def figures(model: Model, other: Model, rows: Sequence[Row]) -> dict[str, Any]:
    """What ``other`` makes of rows, beside ``model``: distance, share of agreeing calls, and MCC where labels are
    known."""
    total = calls = agreeing = 0
    gap = 0.0
    truth: list[str] = []
    found: list[str] = []
    with torch.inference_mode():
        for batch in batches(rows, together(model)):
            inputs = inputs_of(model, batch)
            wanted, given = principal(model, model.network(*inputs)), principal(other, other.network(*inputs))
            if wanted.shape != given.shape:
                return {"rows": len(rows), "comparable": False}
            gap += float(distance(model, given, wanted)) * len(batch)
            total += len(batch)
            if not is_scored(model):
                agreeing += int((_calls(model, given) == _calls(model, wanted)).sum())
                calls += _calls(model, given).numel()
            if batch[0].target is not None:
                found += [str(call) for call in given.argmax(-1).tolist()]
                truth += [str(int(row.target or 0)) for row in batch]
    result: dict[str, Any] = {"rows": total, "distance": gap / total}
    if calls:
        result["agreement"] = agreeing / calls
    if truth:
        result["mcc"] = mcc(np.array(truth, np.str_), np.array(found, np.str_))
        result["accuracy"] = float(np.mean(np.array(truth) == np.array(found)))
    return result


def _calls(model: Model, given: torch.Tensor) -> torch.Tensor:
    return given > 0 if model.activation == "sigmoid" else given.argmax(-1)
