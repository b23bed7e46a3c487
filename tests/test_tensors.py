"""Weight files are data: every published layout is read, code in a pickle never runs."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from export.errors import CheckpointError
from export.tensors import files_of, read_tensors

WEIGHTS = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.tensor([1.5, -2.0])}


def same(found: dict[str, torch.Tensor]) -> bool:
    return found.keys() == WEIGHTS.keys() and all(torch.equal(found[name], WEIGHTS[name]) for name in WEIGHTS)


def test_safetensors(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    assert same(read_tensors(tmp_path / "model.safetensors"))


@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict"])
def test_torch_file_with_its_tensors_at_the_top_or_one_level_down(tmp_path: Path, key: str | None) -> None:
    path = tmp_path / "weights.ckpt"
    torch.save(WEIGHTS if key is None else {key: WEIGHTS, "epoch": 3}, path)
    assert same(read_tensors(path))


def test_shards_are_one_checkpoint(tmp_path: Path) -> None:
    names = {"layer.weight": "model-00001-of-00002.safetensors", "layer.bias": "model-00002-of-00002.safetensors"}
    for name, file in names.items():
        save_file({name: WEIGHTS[name]}, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": names}))
    assert same(read_tensors(index))
    assert [file.name for file in files_of(index)] == [index.name, *sorted(names.values())]


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"layer.weight": "model-00001-of-00001.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"names the shard model-00001-of-00001\.safetensors"):
        read_tensors(index)


def test_a_shard_outside_of_the_folder_is_not_opened(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    save_file(WEIGHTS, tmp_path / "secret.safetensors")
    index = inside / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"layer.weight": "../secret.safetensors"}}))
    with pytest.raises(CheckpointError, match="not beside it"):
        read_tensors(index)


@pytest.mark.parametrize("cuts", [1, 2, 3, 11])
def test_byte_ranges_are_one_file(tmp_path: Path, cuts: int) -> None:
    stream = io.BytesIO()
    torch.save(WEIGHTS, stream)
    data = stream.getvalue()
    step = len(data) // cuts + 1
    for number in range(cuts):
        (tmp_path / f"evo.pt.part{number}").write_bytes(data[number * step : (number + 1) * step])
    assert same(read_tensors(tmp_path / "evo.pt.part0"))


def test_a_byte_range_that_is_missing_is_named(tmp_path: Path) -> None:
    for number in (0, 2):
        (tmp_path / f"evo.pt.part{number}").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="part 1 is missing"):
        read_tensors(tmp_path / "evo.pt.part0")


def test_blobs_of_bytes_are_kept_as_bytes(tmp_path: Path) -> None:
    path = tmp_path / "evo.pt"
    torch.save({**WEIGHTS, "projections._extra_state": io.BytesIO(b"calibration")}, path)
    assert bytes(read_tensors(path)["projections._extra_state"].tolist()) == b"calibration"


class Code:
    """What a pickle may hold: something that runs while it is loaded."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("ran"),)


@pytest.mark.parametrize("plain", [False, True])
def test_code_in_a_pickle_is_refused_and_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.bin"
    if plain:
        path.write_bytes(pickle.dumps(Code()))
    else:
        torch.save({"layer.weight": WEIGHTS["layer.weight"], "hook": Code()}, path)
    with pytest.raises(CheckpointError, match=r"holds Python objects|not a whole torch file"):
        read_tensors(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "model.bin"])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, name: str) -> None:
    whole = tmp_path / name
    if name.endswith(".bin"):
        torch.save(WEIGHTS, whole)
    else:
        save_file(WEIGHTS, whole)
    data = whole.read_bytes()
    for end in range(0, len(data), max(1, len(data) // 40)):
        whole.write_bytes(data[:end])
        with pytest.raises(CheckpointError, match=name):
            read_tensors(whole)


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    torch.save({"epoch": 3}, path)
    with pytest.raises(CheckpointError, match="holds no dictionary of tensors"):
        read_tensors(path)
