"""A checkpoint is a folder as published, or one weight file in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from export.checkpoint import open_checkpoint
from export.errors import CheckpointError
from export.settings import Settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file({"weight": torch.ones(2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["EsmForMaskedLM"], "hidden_size": 8}))
    return tmp_path


def test_folder(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    assert checkpoint.architecture == "EsmForMaskedLM"
    assert checkpoint.weights == folder / "model.safetensors"
    assert torch.equal(checkpoint.tensors["weight"], torch.ones(2))


def test_the_weight_file_itself_may_be_named(folder: Path) -> None:
    save_file({"weight": torch.zeros(2)}, folder / "best.safetensors")
    assert torch.equal(open_checkpoint(folder / "best.safetensors").tensors["weight"], torch.zeros(2))


def test_the_published_name_wins_over_other_weight_files(folder: Path) -> None:
    save_file({"weight": torch.zeros(2)}, folder / "another.safetensors")
    assert open_checkpoint(folder).weights.name == "model.safetensors"


def test_several_weight_files_of_no_published_name_are_not_guessed_at(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    save_file({"weight": torch.zeros(2)}, folder / "b.safetensors")
    with pytest.raises(CheckpointError, match=r"several weight files \(a\.safetensors, b\.safetensors\)"):
        open_checkpoint(folder)


def test_yaml_configuration_with_numbers_in_scientific_notation(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(2)}, tmp_path / "evo.safetensors")
    (tmp_path / "config.yml").write_text("eps: 1e-6\nlayers:\n- 1\n- 2\ntie: true\n")
    assert open_checkpoint(tmp_path).config == {"eps": 1e-6, "layers": [1, 2], "tie": True}


def test_the_hash_follows_weights_and_configuration(folder: Path) -> None:
    first = open_checkpoint(folder).sha256
    assert open_checkpoint(folder).sha256 == first
    (folder / "README.md").write_text("words")
    assert open_checkpoint(folder).sha256 == first
    (folder / "config.json").write_text("{}")
    assert open_checkpoint(folder).sha256 != first


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", "{", "not JSON"),
        ("config.json", "[1]", "holds no settings"),
        ("config.json", None, "no configuration"),
        ("model.safetensors", None, "no weights"),
    ],
)
def test_what_is_missing_or_damaged_is_named(folder: Path, file: str, content: str | None, message: str) -> None:
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(folder)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such file or folder"):
        open_checkpoint(tmp_path / "nowhere")


SETTINGS = Settings(
    {
        "layers": 3,
        "eps": 1e-5,
        "tied": False,
        "kind": "rotary",
        "none": None,
        "half": 0.5,
        "id2label": {"1": "b", "0": "a"},
    },
    "config.json",
)


def test_settings_are_taken_as_what_they_should_be() -> None:
    assert SETTINGS.whole("layers") == 3
    assert SETTINGS.whole("none", 7) == 7
    assert SETTINGS.number("eps") == 1e-5
    assert SETTINGS.flag("tied") is False
    assert SETTINGS.text("kind", choices=("rotary", "absolute")) == "rotary"
    assert SETTINGS.labels() == ("a", "b")


@pytest.mark.parametrize(
    ("take", "message"),
    [
        (lambda: SETTINGS.whole("heads"), "config.json: heads is missing"),
        (lambda: SETTINGS.whole("half"), "config.json: half is 0.5, not a whole number of 1 or more"),
        (lambda: SETTINGS.number("kind"), "config.json: kind is 'rotary', not a number"),
        (lambda: SETTINGS.flag("layers"), "config.json: layers is 3, neither true nor false"),
        (lambda: SETTINGS.text("kind", choices=("absolute",)), "config.json: kind is 'rotary'; known: absolute"),
    ],
)
def test_settings_that_are_something_else_are_refused_by_name(take: object, message: str) -> None:
    assert callable(take)
    with pytest.raises(CheckpointError) as caught:
        take()
    assert str(caught.value) == message
