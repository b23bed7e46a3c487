"""``python -m export`` on one small published checkpoint, whole and damaged in every way: what is said, and that
nothing is written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from esm_checkpoint import ESM2, published, write
from safetensors.numpy import load_file, save_file

import edgeseq
from edgeseq.bundle import read_bundle

torch = pytest.importorskip("torch")

from export.__main__ import main  # noqa: E402

EMBEDDING = ("--task", "embedding", "--licence", "MIT", "--max-length", "64")
WEIGHTS, CONFIG = "model.safetensors", "config.json"


class Ran:
    """Opens a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.path), "w")


def run(*arguments: object) -> tuple[int, list[str]]:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return done.exit_code, done.output.splitlines()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "esm-tiny"
    write(folder, ESM2, published(ESM2))
    return folder


def set_config(folder: Path, **changes: Any) -> None:
    config = {**json.loads((folder / CONFIG).read_text()), **changes}
    (folder / CONFIG).write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def set_tensors(folder: Path, **changes: Any) -> None:
    tensors = {**load_file(folder / WEIGHTS), **{name.replace("__", "."): value for name, value in changes.items()}}
    save_file({name: value for name, value in tensors.items() if value is not None}, folder / WEIGHTS)


def cut(folder: Path, name: str, size: int) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:size])


def flip(folder: Path) -> None:
    """Another length of the header: the first eight bytes of the format."""
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[:8] = (1 << 40).to_bytes(8, "little")
    (folder / WEIGHTS).write_bytes(data)


def as_pickle(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    torch.save({"esm.x": torch.zeros(1), "code": Ran(folder.parent / "ran")}, folder / "pytorch_model.bin")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_checkpoint_becomes_a_bundle_the_same_one_each_time(checkpoint: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.edgeseq", tmp_path / "second.edgeseq"
    code, lines = run(checkpoint, "-o", first, *EMBEDDING)
    assert code == 0, lines
    assert lines[:4] == [
        f"{step} …"
        for step in ("reading the checkpoint", "making the graph", "comparing graph and module", "writing the bundle")
    ]
    assert lines[4].startswith(f"{first}: ESM")
    assert "graph and module differ by at most" in lines[4]
    code, lines = run(checkpoint, "-o", second, *EMBEDDING)
    assert code == 0, lines
    assert first.read_bytes() == second.read_bytes()
    bundle = read_bundle(first)
    assert (bundle.manifest.name, bundle.manifest.licence, bundle.manifest.task.kind) == (
        "esm-tiny",
        "MIT",
        "embedding",
    )
    with edgeseq.load(first) as scorer:
        prediction = scorer.score_one(edgeseq.Read("p", b"MKTAYIAKQR"))
    assert prediction.scores.probabilities.shape == (24,)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut in the header": (lambda folder: cut(folder, WEIGHTS, 100), f"{WEIGHTS}: not a whole safetensors file"),
    "cut in the data": (lambda folder: cut(folder, WEIGHTS, 20_000), f"{WEIGHTS}: not a whole safetensors file"),
    "empty": (lambda folder: cut(folder, WEIGHTS, 0), f"{WEIGHTS}: not a whole safetensors file"),
    "a byte of the header": (flip, f"{WEIGHTS}: not a whole safetensors file"),
    "code": (as_pickle, "pytorch_model.bin: holds Python objects"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "no weights"),
    "no configuration": (lambda folder: (folder / CONFIG).unlink(), "no configuration"),
    "cut configuration": (lambda folder: cut(folder, CONFIG, 40), f"{CONFIG}: not JSON"),
    "no tokenizer": (lambda folder: (folder / "vocab.txt").unlink(), "vocab.txt"),
    "tensor missing": (
        lambda folder: set_tensors(folder, esm__encoder__layer__1__output__dense__bias=None),
        "tensor esm.encoder.layer.1.output.dense.bias is missing",
    ),
    "tensor too many": (
        lambda folder: set_tensors(folder, esm__encoder__layer__2__output__dense__bias=np.zeros(24, np.float32)),
        "tensor esm.encoder.layer.2.output.dense.bias is not expected by this configuration",
    ),
    "tensor of another shape": (
        lambda folder: set_tensors(folder, lm_head__dense__weight=np.zeros((24, 23), np.float32)),
        "tensor lm_head.dense.weight has shape (24, 23); the configuration asks for (24, 24)",
    ),
    "tensor of whole numbers": (
        lambda folder: set_tensors(folder, lm_head__dense__bias=np.zeros(24, np.int64)),
        "tensor lm_head.dense.bias is torch.int64, not torch.float32",
    ),
    "not finite": (
        lambda folder: set_tensors(folder, lm_head__dense__bias=np.full(24, np.inf, np.float32)),
        "tensor lm_head.dense.bias holds values that are not finite",
    ),
    "another width": (lambda folder: set_config(folder, hidden_size=30), "the configuration asks for"),
    "key missing": (lambda folder: set_config(folder, num_attention_heads=None), "num_attention_heads is missing"),
    "key of another kind": (
        lambda folder: set_config(folder, num_hidden_layers="two"),
        "num_hidden_layers is 'two', not a whole number",
    ),
    "unknown switch": (
        lambda folder: set_config(folder, position_embedding_type="spiral"),
        "position_embedding_type is 'spiral'",
    ),
    "unknown family": (
        lambda folder: set_config(folder, model_type="mysterious", architectures=["MysteriousModel"]),
        "model type 'mysterious' is of no family that this version knows",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_named_and_nothing_is_written(checkpoint: Path, tmp_path: Path, case: str) -> None:
    damage, message = REFUSED[case]
    damage(checkpoint)
    before = sorted(tmp_path.rglob("*"))
    code, lines = run(checkpoint, "-o", tmp_path / "x.edgeseq")
    assert code == 1
    assert lines[0] == "reading the checkpoint …"
    assert lines[-1].startswith("export: ")
    assert message in lines[-1]
    assert len(lines) == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_what_was_asked_for_and_cannot_be(checkpoint: Path, tmp_path: Path) -> None:
    asked: dict[str, tuple[tuple[object, ...], str]] = {
        "task": (
            ("--task", "sequence-classification"),
            "has no trained classifier: sequence-classification needs classifier.dense.bias",
        ),
        "outputs": (("--outputs", "attentions"), "attentions: the model has no such output; it has"),
        "option": (("--option", "fp8=dequantize"), "--option fp8: no option of ESM"),
        "not an option": (("--option", "fp8"), "fp8: an option is written KEY=VALUE"),
    }
    for options, message in asked.values():
        code, lines = run(checkpoint, "-o", tmp_path / "x.edgeseq", *options)
        assert (code, message in lines[-1]) == (1, True), lines
    assert sorted(path.name for path in tmp_path.iterdir()) == ["esm-tiny"]


def test_an_output_that_cannot_be_written(checkpoint: Path, tmp_path: Path) -> None:
    code, lines = run(checkpoint, "-o", tmp_path)
    assert (code, "is a directory" in lines[-1]) == (2, True)


def test_the_command_is_a_module_with_a_list(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "export", "list"], capture_output=True, text=True, check=True)
    for family in ("HyenaDNA", "Caduceus", "ESM", "Nucleotide Transformer", "DNABERT", "GPN"):
        assert family in done.stdout
    done = subprocess.run(
        [sys.executable, "-m", "export", str(tmp_path / "absent"), "-o", str(tmp_path / "x.edgeseq")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"export: {tmp_path / 'absent'}: there is no such file or folder"
    assert list(tmp_path.iterdir()) == []
