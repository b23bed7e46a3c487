"""Published tensors into a module: every one used or explained, every parameter filled."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pruned_families import FAMILIES
from torch import nn

from edgeseq.manifest import TaskKind
from export.checkpoint import open_checkpoint
from export.errors import TensorsError
from export.families import find
from export.network import Request
from export.weights import Layout, load_weights

LAYOUT = Layout(
    renames=((r"model\.(.+)", r"\1"),),
    aliases=((r"decoder\.bias", "model.bias"),),
    unused={r".*\.inv_freq": "recomputed from the base"},
)


def tensors(**others: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"model.weight": torch.ones(2, 3), "model.bias": torch.tensor([4.0, 5.0]), **others}


def load(found: dict[str, torch.Tensor], layout: Layout = LAYOUT) -> nn.Linear:
    module = nn.Linear(3, 2)
    load_weights(module, found, layout, "checkpoint")
    return module


def test_names_are_translated_and_values_taken() -> None:
    module = load(tensors())
    assert torch.equal(module.weight, torch.ones(2, 3))
    assert torch.equal(module.bias, torch.tensor([4.0, 5.0]))


def test_half_precision_becomes_float32_without_loss() -> None:
    found = {name: tensor.to(torch.bfloat16) for name, tensor in tensors().items()}
    assert load(found).weight.dtype == torch.float32


def test_the_report_says_what_was_used_and_why_the_rest_was_not() -> None:
    loaded = load_weights(nn.Linear(3, 2), tensors(**{"rotary.inv_freq": torch.ones(2)}), LAYOUT, "checkpoint")
    assert loaded.used == 2
    assert loaded.explained == {r".*\.inv_freq": "recomputed from the base"}
    assert loaded.precisions == ("float32",)


def test_an_alias_stands_in_for_the_first_copy() -> None:
    found = tensors()
    found["decoder.bias"] = found.pop("model.bias")
    assert torch.equal(load(found).bias, torch.tensor([4.0, 5.0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.bias": None}, "checkpoint: tensor model.bias is missing"),
        ({"model.extra": torch.ones(1)}, "checkpoint: tensor model.extra is not expected by this configuration"),
        (
            {"model.weight": torch.ones(3, 2)},
            "checkpoint: tensor model.weight has shape (3, 2); the configuration asks for (2, 3)",
        ),
        (
            {"model.bias": torch.tensor([1.0, float("nan")])},
            "checkpoint: tensor model.bias holds values that are not finite",
        ),
        ({"model.bias": torch.tensor([1, 2])}, "checkpoint: tensor model.bias is torch.int64, not torch.float32"),
        (
            {"decoder.bias": torch.tensor([4.0, 6.0])},
            "checkpoint: tensors decoder.bias and model.bias should be one, but differ",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(change: dict[str, torch.Tensor | None], message: str) -> None:
    found = {name: tensor for name, tensor in {**tensors(), **change}.items() if tensor is not None}
    with pytest.raises(TensorsError) as caught:
        load(found)
    assert str(caught.value) == message


def test_what_may_be_absent_says_where_it_comes_from() -> None:
    layout = Layout(renames=LAYOUT.renames, optional={"bias": "zero, as in the published code"})
    module = nn.Linear(3, 2)
    loaded = load_weights(module, {"model.weight": torch.ones(2, 3)}, layout, "checkpoint")
    assert loaded.explained == {"bias": "zero, as in the published code"}


@pytest.mark.parametrize(
    ("name", "task", "head", "needs"),
    [
        ("ESM-2", "sequence-classification", "classifier", "classifier.dense classifier.out_proj"),
        ("DNABERT", "token-classification", "classifier of tokens", "classifier"),
        ("MxDNA", "sequence-classification", "classifier", "task_head.dense task_head.out_proj"),
        ("native BERT", "sequence-classification", "classifier", "classifier"),
        ("NT v1", "regression", "regression head", "classifier.dense classifier.out_proj"),
    ],
)
def test_a_language_model_is_no_classifier_and_the_message_says_what_to_do(
    tmp_path: Path, name: str, task: TaskKind, head: str, needs: str
) -> None:
    checkpoint = open_checkpoint(FAMILIES[name](tmp_path / "model"))
    with pytest.raises(TensorsError) as raised:
        find(checkpoint).read(checkpoint, Request(task=task))
    missing = ", ".join(f"{part}.{kind}" for part in needs.split() for kind in ("bias", "weight"))
    assert raised.value.problem == f"has no trained {head}: {task} needs {missing}"
    assert raised.value.remedy.startswith("fine-tune it for the task and export what that saves, or leave --task out")
