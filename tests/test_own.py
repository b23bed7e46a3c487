"""A torch module of one's own: packed as it computes, or refused with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import own_nets
import pytest
import torch
from click.testing import CliRunner

import edgeseq
from edgeseq.bundle import read_bundle
from edgeseq.errors import UsageError
from edgeseq.read import Read
from export.__main__ import main
from export.errors import CheckpointError, ExportError, FamilyError, ParityError, TensorsError
from export.letters import read_letters
from export.own import Reading, read_own

LETTERS = read_letters("ACGT", one_hot=True)
IDS = read_letters("ACGTN", one_hot=False, pad=5)
BASES = Reading("token-classification", 40, LETTERS, one_hot=True, labels=("x", "y", "z"))
MEAN = Reading("sequence-classification", 40, IDS, labels=("x", "y"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weight files of the modules in `own_nets`."""
    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("weights")
    for module in (own_nets.PerBase(3), own_nets.Mean(), own_nets.Level()):
        torch.save(module.state_dict(), folder / f"{type(module).__name__}.pt")
    return folder


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return done.exit_code, done.output


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_bases_get_what_the_module_gives_them(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "bases.edgeseq"
    options = ("--tokenizer", "one-hot", "--task", "token-classification", "--labels", "x,y,z", "--window", 40)
    code, text = run("own_nets:per_base", "--checkpoint", folder / "PerBase.pt", *options, "--stride", 20, "-o", output)
    assert (code, "own module (own_nets:per_base), token-classification" in text) == (0, True), text
    weight, bias = (value.double().numpy() for value in torch.load(folder / "PerBase.pt").values())
    sequence = b"ACGTNACCGGTTTNAGATTACA" * 4
    table = dict(zip(b"ACGTN", np.eye(5)[:, :4], strict=True))
    rows = np.pad(np.array([table[letter] for letter in sequence]), ((1, 1), (0, 0)))
    logits = np.array([np.einsum("oik,ki->o", weight, rows[at : at + 3]) + bias for at in range(len(sequence))])
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    with edgeseq.load(output) as scorer:
        found = np.concatenate([stretch.values for stretch in scorer.tracks([Read("a", sequence)])])
    known = np.frombuffer(sequence, np.uint8) != ord("N")
    np.testing.assert_allclose(found[known], wanted[known], atol=1e-5)
    assert np.isnan(found[~known]).all()
    manifest = read_bundle(output).manifest
    assert (manifest.input.window, manifest.input.stride, manifest.input.mixed_lengths) == (40, 20, True)
    assert manifest.provenance["exporter"] == "torch.onnx (dynamo)"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_mask_lets_rows_of_several_lengths_share_a_batch(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "mean.edgeseq"
    options = ("--task", "sequence-classification", "--labels", "x,y", "--window", 200, "--pad", 5, "--name", "m")
    code, text = run("own_nets:mean", "--checkpoint", folder / "Mean.pt", *options, "-o", output)
    assert code == 0, text
    manifest = read_bundle(output).manifest
    assert (manifest.name, manifest.input.buckets, manifest.input.mixed_lengths) == ("m", (64, 128, 200), True)
    assert [tensor.name for tensor in manifest.graph.inputs] == ["input_ids", "attention_mask"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_raw_signal_is_run_as_a_library(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "level.edgeseq"
    options = ("--tokenizer", "signal", "--task", "sequence-classification", "--labels", "x,y", "--window", 300)
    code, text = run("own_nets:level", "--checkpoint", folder / "Level.pt", *options, "--minimum", 9, "-o", output)
    assert code == 0, text
    weight, bias = (value.numpy() for value in torch.load(folder / "Level.pt").values())
    signal = np.random.default_rng(2).normal(size=(2, 50)).astype(np.float32)
    with edgeseq.load(output) as scorer:
        found = scorer.run({"signal": signal})["logits"]
        with pytest.raises(UsageError, match="takes raw signal, not reads"):
            list(scorer.score([]))
    np.testing.assert_allclose(found, signal[:, 4:].mean(axis=1, keepdims=True) @ weight.T + bias, atol=1e-6)


FACTORIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "no module": ("nowhere.nets:make", {}, "No module named 'nowhere'; run from its folder, or set PYTHONPATH"),
    "no function": ("own_nets:make", {}, "has no attribute 'make'; run from its folder, or set PYTHONPATH"),
    "unknown argument": ("own_nets:mean", {"width": 3}, "own_nets:mean: cannot be called with width"),
    "missing argument": ("own_nets:PerBase", {}, "cannot be called with nothing: missing a required argument"),
    "refuses": ("own_nets:per_base", {}, "own_nets:per_base: refuses the checkpoint: 'conv.weight'"),
    "no torch module": ("pathlib:PurePath", {}, "gives a PurePosixPath, not a torch.nn.Module"),
}


@pytest.mark.parametrize("case", FACTORIES)
def test_a_factory_that_makes_no_module(folder: Path, case: str) -> None:
    factory, arguments, message = FACTORIES[case]
    reading = Reading("sequence-classification", 40, IDS, arguments=arguments)
    with pytest.raises(FamilyError) as refused:
        read_own(factory, folder / "Mean.pt", reading)
    assert message in str(refused.value)


def test_weights_have_to_be_those_of_the_module(folder: Path, tmp_path: Path) -> None:
    state = torch.load(folder / "Mean.pt")
    changes: dict[str, tuple[dict[str, Any], str]] = {
        "head.bias is missing": ({name: state[name] for name in state if name != "head.bias"}, "head.bias is missing"),
        "extra": ({**state, "extra": torch.zeros(1)}, "tensor extra is not expected"),
        "shape": ({**state, "head.weight": torch.zeros(2, 5)}, r"head\.weight has shape \(2, 5\).*\(2, 4\)"),
        "finite": ({**state, "head.weight": torch.full((2, 4), float("nan"))}, r"head\.weight .*not finite"),
    }
    for name, (tensors, message) in changes.items():
        torch.save(tensors, tmp_path / f"{name}.pt")
        with pytest.raises(TensorsError, match=message):
            read_own("own_nets:mean", tmp_path / f"{name}.pt", MEAN)


def test_weights_are_data(tmp_path: Path) -> None:
    torch.save({"code": Path("x")}, tmp_path / "code.pt")
    with pytest.raises(CheckpointError, match=r"code\.pt: .*holds Python objects"):
        read_own("own_nets:mean", tmp_path / "code.pt", MEAN)
    with pytest.raises(CheckpointError, match=r"absent\.pt: "):
        read_own("own_nets:mean", tmp_path / "absent.pt", MEAN)


OUTPUTS: dict[str, tuple[str, str, Reading, type[ExportError], str]] = {
    "channels first": (
        "own_nets:turned",
        "PerBase",
        BASES,
        FamilyError,
        "logits has shape (1, 3, 7); token-classification needs (1, 7, 3); turn channels-first outputs round",
    ),
    "labels": (
        "own_nets:mean",
        "Mean",
        Reading("sequence-classification", 40, IDS, labels=("x", "y", "z")),
        FamilyError,
        "logits has shape (1, 2); sequence-classification needs (1, 3)",
    ),
    "task": (
        "own_nets:mean",
        "Mean",
        Reading("token-classification", 40, IDS, labels=("x", "y")),
        FamilyError,
        "token-classification needs (1, 7, 2)",
    ),
    "neighbours": ("own_nets:unfair", "Mean", MEAN, ParityError, "with its neighbours in a batch"),
    "too few outputs": (
        "own_nets:mean",
        "Mean",
        Reading("sequence-classification", 40, IDS, labels=("x", "y"), outputs=("logits", "last_hidden_state")),
        FamilyError,
        "the module: gives no logits, last_hidden_state: a tensor, a tuple in this order or a dictionary",
    ),
    "letters where channels go in": (
        "own_nets:per_base",
        "PerBase",
        Reading("token-classification", 40, IDS, labels=("x", "y", "z")),
        FamilyError,
        "a row of 7: the net fails: ",
    ),
    "vocabulary": (
        "own_nets:mean",
        "Mean",
        Reading("sequence-classification", 40, read_letters("A=7,C=8,G=9,T=10,N=11", one_hot=False)),
        FamilyError,
        "the net fails: index out of range",
    ),
}


@pytest.mark.parametrize("case", OUTPUTS)
def test_a_module_that_gives_something_else(folder: Path, case: str) -> None:
    factory, weights, reading, error, message = OUTPUTS[case]
    with pytest.raises(error) as refused:
        read_own(factory, folder / f"{weights}.pt", reading)
    assert message in str(refused.value)


OPTIONS: dict[str, tuple[tuple[object, ...], str]] = {
    "stride": (("--stride", 41), "--stride: 41 is more than the window"),
    "minimum": (("--minimum", 5), "only signals may be too short"),
    "vocabulary": (("--vocabulary", "ACGT"), "ACGT: has no N"),
    "words": (("--vocabulary", "A=x"), "a vocabulary is written ACGTN"),
    "lower case": (("--vocabulary", "acgtn"), "upper-case letters"),
    "prefix": (("--prefix", "a"), "ids are whole numbers"),
    "argument": (("--argument", "width"), "width: this is written KEY=VALUE"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_are_refused_by_name_and_nothing_is_written(folder: Path, tmp_path: Path, case: str) -> None:
    options, message = OPTIONS[case]
    base = ("--task", "sequence-classification", "--window", 40, "-o", tmp_path / "x.edgeseq")
    code, text = run("own_nets:mean", "--checkpoint", folder / "Mean.pt", *base, *options)
    assert code == 1
    assert message in text
    assert len(text.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
