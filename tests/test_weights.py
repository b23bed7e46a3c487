"""Published tensors into a module: every one used or explained, every parameter filled."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from export.errors import TensorsError
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
