"""An ONNX graph that exists already: packed under the names of a bundle, or refused with what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

import edgeseq
from edgeseq.bundle import read_bundle
from edgeseq.read import Read
from export.__main__ import main
from export.errors import CheckpointError, FamilyError, ParityError
from export.given import Names, read_given
from export.letters import read_letters
from export.own import Reading

WEIGHT = np.random.default_rng(3).normal(size=(2, 4, 3)).astype(np.float32)
TABLE = np.random.default_rng(4).normal(size=(5, 2)).astype(np.float32)
BASES = Reading("token-classification", 40, read_letters("ACGT", one_hot=True), one_hot=True, labels=("x", "y"))
IDS = Reading("sequence-classification", 40, read_letters("ACGTN", one_hot=False), labels=("x", "y"))
OPTIONS = ("--tokenizer", "one-hot", "--task", "token-classification", "--labels", "x,y", "--window", 40)


def save(
    path: Path, nodes: Sequence[onnx.NodeProto], inputs: dict[str, Any], outputs: dict[str, Any], **weights: Any
) -> Path:
    """A model of opset 15; an input is (type, axes), an output axes."""
    graph = helper.make_graph(
        nodes,
        "given",
        [helper.make_tensor_value_info(name, kind, axes) for name, (kind, axes) in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name, axes in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def convolution(path: Path, *, axes: Sequence[Any] = ("n", 4, "l"), kind: int = TensorProto.FLOAT) -> Path:
    """Channels to two scores of each base; the second output is of no use."""
    nodes = [
        helper.make_node("Conv", ["dna", "w"], ["logits"], pads=[1, 1]),
        helper.make_node("Transpose", ["logits"], ["scores"], perm=[0, 2, 1]),
        helper.make_node("Relu", ["logits"], ["hidden"]),
    ]
    if kind != TensorProto.FLOAT:
        nodes.insert(0, helper.make_node("Cast", ["dna"], ["floats"], to=TensorProto.FLOAT))
        nodes[1].input[0] = "floats"
    batch, length = axes[0], axes[2]
    outputs = {"scores": [batch, length, 2], "hidden": [batch, 2, length]}
    return save(path, nodes, {"dna": (kind, list(axes))}, outputs, w=WEIGHT)


def lookup(
    path: Path, *, first: str = "input_ids", axes: Sequence[Any] = ("n", "l"), after: Sequence[Any] = ()
) -> Path:
    """Ids to the mean of the rows of a table."""
    nodes = [
        helper.make_node("Gather", ["table", first], ["rows"]),
        helper.make_node("ReduceMean", ["rows"], ["mean" if after else "logits"], axes=[1], keepdims=0),
        *after,
    ]
    return save(path, nodes, {first: (TensorProto.INT64, list(axes))}, {"logits": [axes[0], 2]}, table=TABLE)


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return done.exit_code, done.output


def test_channels_become_letters_and_tensors_get_their_names(tmp_path: Path) -> None:
    """A tensor inside that is called logits already steps aside for the output that is to be called so."""
    graph, output = convolution(tmp_path / "splice.onnx"), tmp_path / "splice.edgeseq"
    code, text = run(graph, "--input", "dna", "--rename", "logits=scores", *OPTIONS, "-o", output)
    assert code == 0, text
    manifest = read_bundle(output).manifest
    assert (manifest.name, manifest.graph.opset, manifest.input.mixed_lengths) == ("splice", 15, True)
    assert [(one.name, one.shape) for one in manifest.graph.inputs] == [("input_ids", ("batch", "length"))]
    assert [one.name for one in manifest.graph.outputs] == ["logits"]
    assert manifest.provenance["exporter"] == "none: the graph came as it is"
    sequence = b"ACGTNACCGGTTTA"
    channels = np.zeros((16, 4))
    for at, letter in enumerate(sequence, 1):
        if letter != ord("N"):
            channels[at, b"ACGT".index(letter)] = 1
    logits = np.array([np.einsum("oik,ki->o", WEIGHT, channels[at : at + 3]) for at in range(14)])
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    with edgeseq.load(output) as scorer:
        (stretch,) = scorer.tracks([Read("a", sequence)])
    known = np.arange(14) != 4
    np.testing.assert_allclose(stretch.values[known], wanted[known], atol=1e-5)


def test_packing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    graph = lookup(tmp_path / "g.onnx")
    options = ("--task", "sequence-classification", "--labels", "x,y", "--window", 40)
    for name in ("a", "b"):
        code, text = run(graph, *options, "-o", tmp_path / f"{name}.edgeseq")
        assert code == 0, text
    assert (tmp_path / "a.edgeseq").read_bytes() == (tmp_path / "b.edgeseq").read_bytes()
    assert graph.read_bytes() == lookup(tmp_path / "again.onnx").read_bytes()


def test_padding_that_shows_keeps_lengths_apart(tmp_path: Path) -> None:
    assert read_given(lookup(tmp_path / "g.onnx"), IDS, Names()).pads_exactly is False


def test_one_output_of_several_is_taken_in_order_or_by_name(tmp_path: Path) -> None:
    model = read_given(convolution(tmp_path / "g.onnx"), BASES, Names("dna"))
    assert [one.name for one in model.network.inputs] == ["input_ids"]
    reading = Reading("embedding", 40, BASES.letters, one_hot=True, outputs=("last_hidden_state",))
    graph = convolution(tmp_path / "h.onnx")
    assert read_given(graph, reading, Names("dna", outputs={"last_hidden_state": "scores"})).task == "embedding"


def test_files_that_are_no_graph(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent\.onnx: cannot be read: No such file"):
        read_given(tmp_path / "absent.onnx", IDS, Names())
    for name, content in {"empty": b"", "text": b"hello, this is no model", "cut": None}.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(lookup(tmp_path / "whole.onnx").read_bytes()[:90] if content is None else content)
        with pytest.raises(CheckpointError, match=rf"{name}\.onnx: "):
            read_given(path, IDS, Names())


def test_weights_in_another_file_are_refused(tmp_path: Path) -> None:
    model = onnx.load(lookup(tmp_path / "g.onnx"))
    onnx.save(model, tmp_path / "out.onnx", save_as_external_data=True, location="out.data", size_threshold=0)
    with pytest.raises(CheckpointError, match=r"another file; save it with its weights inside"):
        read_given(tmp_path / "out.onnx", IDS, Names())


@pytest.mark.parametrize("axes", [("n", 40), (1, "l"), ("n", "l", 1)])
def test_fixed_axes_are_refused(tmp_path: Path, axes: Sequence[Any]) -> None:
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["logits"])]
    graph = save(
        tmp_path / "g.onnx", nodes, {"input_ids": (TensorProto.INT64, axes)}, {"logits": [*axes, 2]}, table=TABLE
    )
    with pytest.raises(ParityError, match=r"input_ids has the axes .*both free; export it again with dynamic axes"):
        read_given(graph, IDS, Names())


def test_a_length_that_is_fixed_inside_is_found_by_running_it(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Add", ["rows", "places"], ["sum"]),
        helper.make_node("ReduceMean", ["sum"], ["logits"], axes=[1], keepdims=0),
    ]
    graph = save(
        tmp_path / "g.onnx",
        nodes,
        {"input_ids": (TensorProto.INT64, ["n", "l"])},
        {"logits": ["n", 2]},
        table=TABLE,
        places=np.zeros((24, 2), np.float32),
    )
    with pytest.raises(ParityError, match=r"g\.onnx: .*export it with free batch and length axes"):
        read_given(graph, IDS, Names())


def test_rows_that_see_each_other_are_refused(tmp_path: Path) -> None:
    after = [
        helper.make_node("ReduceMean", ["mean"], ["of_batch"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["mean", "of_batch"], ["logits"]),
    ]
    with pytest.raises(ParityError, match=r"a row's outputs change by .* with its neighbours in a batch"):
        read_given(lookup(tmp_path / "g.onnx", after=after), IDS, Names())


def test_names_that_the_graph_does_not_have_are_listed_with_those_it_has(tmp_path: Path) -> None:
    graph = lookup(tmp_path / "g.onnx")
    known = "it has inputs input_ids, outputs logits"
    for names in (Names("dna"), Names(mask="mask"), Names(outputs={"logits": "scores"})):
        with pytest.raises(FamilyError, match=rf"the graph has no (dna|mask|scores); {known}"):
            read_given(graph, IDS, names)
    two = Reading("sequence-classification", 40, IDS.letters, outputs=("logits", "last_hidden_state"))
    with pytest.raises(FamilyError, match=rf"the graph has no more outputs; {known}"):
        read_given(graph, two, Names())


def test_inputs_that_no_read_has_are_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gather", ["table", "ids"], ["rows"]), helper.make_node("Mul", ["rows", "t"], ["logits"])]
    inputs = {"ids": (TensorProto.INT64, ["n", "l"]), "t": (TensorProto.FLOAT, ["n", "l", 1])}
    graph = save(tmp_path / "g.onnx", nodes, inputs, {"logits": ["n", "l", 2]}, table=TABLE)
    with pytest.raises(FamilyError, match="the input t is nothing that a bundle supplies"):
        read_given(graph, IDS, Names())


def test_channels_of_another_number_or_type(tmp_path: Path) -> None:
    five = Reading("token-classification", 40, read_letters("ACGTN", one_hot=True), one_hot=True, labels=("x", "y"))
    with pytest.raises(FamilyError, match=r"one-hot letters need one of 5 behind the batch"):
        read_given(convolution(tmp_path / "g.onnx"), five, Names("dna"))
    with pytest.raises(FamilyError, match="one-hot letters need an input of float32"):
        read_given(convolution(tmp_path / "h.onnx", kind=TensorProto.INT8), BASES, Names("dna"))


def test_nothing_is_written_for_a_graph_that_is_refused(tmp_path: Path) -> None:
    graph = convolution(tmp_path / "g.onnx")
    code, text = run(graph, "--input", "bases", *OPTIONS, "-o", tmp_path / "x.edgeseq")
    assert (code, text.splitlines()) == (
        1,
        [f"export: {graph}: the graph has no bases; it has inputs dna, outputs scores, hidden"],
    )
    assert list(tmp_path.iterdir()) == [graph]
