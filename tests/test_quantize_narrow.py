"""Hidden channels that leave for good: which can, and that what reads them is fitted to do without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled_reads import labelled_folder, unlabelled_file
from numpy.typing import NDArray
from tiny_bundle import _weights as tiny_weights
from tiny_bundle import tiny_bundle, tiny_graph

onnx = pytest.importorskip("onnx", reason="graphs are rewritten with onnx (extra `export`)")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from random_graphs import model_of  # noqa: E402

from edgeseq import read_bundle  # noqa: E402
from edgeseq.errors import UsageError  # noqa: E402
from quantize.__main__ import main  # noqa: E402
from quantize.calibrate import Rows, rows_of  # noqa: E402
from quantize.channels import Hidden, hidden_channels  # noqa: E402
from quantize.graph import operators  # noqa: E402
from quantize.judge import scorer_of  # noqa: E402
from quantize.narrow import narrow, wanted  # noqa: E402
from quantize.sample import unlabelled  # noqa: E402

Nodes = Sequence[tuple[str, Sequence[str], str, dict[str, Any]]]
RNG = np.random.default_rng(3)
CONSTANTS: dict[str, NDArray[Any]] = {
    "w1": RNG.normal(0, 1, (6, 16)).astype(np.float32),
    "b1": RNG.normal(0, 1, 16).astype(np.float32),
    "slope": RNG.normal(1, 0.1, 16).astype(np.float32),
    "half": np.array(0.5, np.float32),
    "axis1": np.array([1]),
    "last": np.array([-1]),
    "w2": RNG.normal(0, 1, (16, 3)).astype(np.float32),
    "w2_half": RNG.normal(0, 1, (8, 3)).astype(np.float32),
    "w2_twice": RNG.normal(0, 1, (32, 3)).astype(np.float32),
    "w2_more": RNG.normal(0, 1, (22, 3)).astype(np.float32),
}


def found(nodes: Nodes, result: list[int | str]) -> tuple[Hidden, ...]:
    """Hidden channels of ``x`` (batch × length × 6) → ``raw`` = x·w1 → … → ``y``."""
    first = helper.make_node("MatMul", ["x", "w1"], ["raw"])
    rest = [
        helper.make_node(kind, list(inputs), [output, *([more.pop("second")] if "second" in more else [])], **more)
        for kind, inputs, output, more in nodes
    ]
    read = {name for _, inputs, _, _ in nodes for name in inputs} | {"w1"}
    used = {name: value for name, value in CONSTANTS.items() if name in read}
    model = model_of([first, *rest], used, {"x": (TensorProto.FLOAT, ["batch", "length", 6])}, {"y": result})
    return hidden_channels(model, operators(model, "sequence-classification"))


def test_channels_between_two_dense_layers() -> None:
    nodes: Nodes = [
        ("Add", ("raw", "b1"), "sum", {}),
        ("Relu", ("sum",), "positive", {}),
        ("Mul", ("positive", "positive"), "square", {}),
        ("Mul", ("slope", "square"), "scaled", {}),
        ("Add", ("scaled", "half"), "lifted", {}),
        ("ReduceMean", ("lifted", "axis1"), "mean", {"keepdims": 0}),
        ("MatMul", ("mean", "w2"), "y", {}),
    ]
    (hidden,) = found(nodes, ["batch", 3])
    assert (hidden.maker, hidden.width) == ("raw", 16)
    assert [(each.node, each.place) for each in hidden.stored] == [("sum", 1), ("scaled", 0)]
    assert [(each.node, each.data) for each in hidden.readers] == [("y", "mean")]


def test_rows_side_by_side_repeat_the_channels() -> None:
    nodes: Nodes = [
        ("Relu", ("raw",), "positive", {}),
        ("Concat", ("raw", "positive"), "both", {"axis": 2}),
        ("MatMul", ("both", "w2_twice"), "y", {}),
    ]
    (hidden,) = found(nodes, ["batch", "length", 3])
    assert hidden.readers[0].layout.tolist() == [*range(16), *range(16)]


def test_columns_that_meet_again_are_one_channel() -> None:
    """A gated layer: its first eight columns steer the last eight."""
    nodes: Nodes = [
        ("Split", ("raw",), "gate", {"axis": -1, "num_outputs": 2, "second": "way"}),
        ("Sigmoid", ("gate",), "open", {}),
        ("Mul", ("open", "way"), "passed", {}),
        ("MatMul", ("passed", "w2_half"), "y", {}),
    ]
    (hidden,) = found(nodes, ["batch", "length", 3])
    assert hidden.width == 8
    assert hidden.columns.tolist() == [*range(8), *range(8)]
    assert hidden.readers[0].layout.tolist() == [*range(8)]


def test_what_stands_beside_channels_is_no_channel() -> None:
    nodes: Nodes = [
        ("Concat", ("x", "raw"), "both", {"axis": -1}),
        ("MatMul", ("both", "w2_more"), "y", {}),
    ]
    (hidden,) = found(nodes, ["batch", "length", 3])
    assert hidden.readers[0].layout.tolist() == [-1] * 6 + [*range(16)]


def test_two_layers_may_read_the_same_channels() -> None:
    nodes: Nodes = [
        ("MatMul", ("raw", "w2"), "left", {}),
        ("Tanh", ("raw",), "bent", {}),
        ("MatMul", ("bent", "w2"), "right", {}),
        ("Add", ("left", "right"), "y", {}),
    ]
    (hidden,) = found(nodes, ["batch", "length", 3])
    assert [each.node for each in hidden.readers] == ["left", "right"]


@pytest.mark.parametrize(
    "nodes",
    {
        "shares of all": [("Softmax", ("raw",), "h", {"axis": -1}), ("MatMul", ("h", "w2"), "y", {})],
        "a sum over them": [
            ("ReduceMean", ("raw", "last"), "mean", {"keepdims": 1}),
            ("Sub", ("raw", "mean"), "h", {}),
            ("MatMul", ("h", "w2"), "y", {}),
        ],
        "no reader": [("Relu", ("raw",), "y", {})],
        "another order": [
            ("Transpose", ("raw",), "turned", {"perm": [0, 2, 1]}),
            ("Transpose", ("turned",), "h", {"perm": [0, 2, 1]}),
            ("MatMul", ("h", "w2"), "y", {}),
        ],
    }.items(),
    ids=lambda each: each[0],
)
def test_channels_that_something_else_sees_stay(nodes: tuple[str, Nodes]) -> None:
    width = 16 if nodes[0] == "no reader" else 3
    assert not found(nodes[1], ["batch", "length", width])


def test_channels_that_choose_stay() -> None:
    """What an index is computed from is never fitted: an error there is another row."""
    first = [helper.make_node("MatMul", ["x", "w1"], ["raw"]), helper.make_node("MatMul", ["raw", "w2"], ["scores"])]
    last = [helper.make_node("ArgMax", ["scores"], ["best"], axis=-1), helper.make_node("Cast", ["best"], ["y"], to=1)]
    used = {name: CONSTANTS[name] for name in ("w1", "w2")}
    shape: list[int | str] = ["batch", "length", 1]
    model = model_of([*first, *last], used, {"x": (TensorProto.FLOAT, ["batch", "length", 6])}, {"y": shape})
    assert not hidden_channels(model, operators(model, "sequence-classification"))


def deep_graph(hidden: NDArray[np.float32], after: NDArray[np.float32]) -> bytes:
    """The tiny network with one more layer: ``pooled`` → ``hidden`` → Relu → ``after`` → ``logits``."""
    model = onnx.load_from_string(tiny_graph(tiny_weights(("a", "b", "other"), "forward")))
    last = model.graph.node[-1]
    last.input[0], last.input[1] = "active_hidden", "after"
    first = [
        helper.make_node("MatMul", ["pooled", "hidden"], ["hidden_raw"]),
        helper.make_node("Relu", ["hidden_raw"], ["active_hidden"]),
    ]
    for node in first:
        model.graph.node.insert(len(model.graph.node) - 1, node)
    kept = [tensor for tensor in model.graph.initializer if tensor.name != "dense"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    model.graph.initializer.extend([numpy_helper.from_array(hidden, "hidden"), numpy_helper.from_array(after, "after")])
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


@pytest.fixture
def deep(tmp_path: Path) -> Callable[[NDArray[np.float32]], Path]:
    """A bundle with 32 hidden channels, made of the weights of its first layer (4 × 32)."""

    def make(hidden: NDArray[np.float32]) -> Path:
        after = np.random.default_rng(8).normal(0, 1, (hidden.shape[1], 3)).astype(np.float32)
        return tiny_bundle(tmp_path / "deep.edgeseq", graph=deep_graph(hidden, after))

    return make


def calibration(path: Path, folder: Path) -> Rows:
    bundle = read_bundle(path)
    sample = unlabelled(unlabelled_file(folder / "seen.fasta", 60, seed=5), most=60, seed=1)
    return rows_of(bundle, scorer_of(bundle), sample, rows=200)


def outputs(path: Path, graph: bytes, rows: Rows) -> NDArray[np.float32]:
    scorer = scorer_of(read_bundle(path), graph)
    return np.concatenate([scorer.run_ids(batch)["logits"] for batch in rows.batches])


def test_channels_that_repeat_others_leave_without_loss(deep: Any, tmp_path: Path) -> None:
    """24 of 32 are multiples of the 8 others: readers fitted anew give what they gave."""
    rng = np.random.default_rng(4)
    eight = np.abs(rng.normal(0, 1, (4, 8)))
    path = deep(np.hstack([eight * factor for factor in (1.0, 0.3, 2.0, 0.7)]).astype(np.float32))
    rows = calibration(path, tmp_path)
    bundle = read_bundle(path)
    graph, (done,) = narrow(bundle, rows, {"hidden_raw": 0.75})
    assert (done.operator, done.kept, done.of) == ("hidden_raw", 8, 32)
    shapes = {tensor.name: list(tensor.dims) for tensor in onnx.load_from_string(graph).graph.initializer}
    assert sorted(shape for shape in shapes.values() if len(shape) == 2 and 8 in shape) == [[4, 8], [8, 3]]
    before, after = outputs(path, bundle.graph, rows), outputs(path, graph, rows)
    assert np.abs(after - before).max() < 0.02 * before.std()
    assert done.unexplained < 5e-3


def test_the_more_leave_the_more_is_lost_and_the_figure_says_so(deep: Any, tmp_path: Path) -> None:
    path = deep(np.random.default_rng(6).normal(0, 1, (4, 32)).astype(np.float32))
    rows = calibration(path, tmp_path)
    bundle = read_bundle(path)
    whole = outputs(path, bundle.graph, rows)
    lost = []
    for share in (0.25, 0.5, 0.75):
        graph, (done,) = narrow(bundle, rows, {"hidden_raw": share})
        error = float(((outputs(path, graph, rows) - whole) ** 2).sum() / ((whole - whole.mean(0)) ** 2).sum())
        assert error <= 2 * done.unexplained + 1e-4
        lost.append(done.unexplained)
    assert lost == sorted(lost)
    assert lost[0] < lost[2]
    assert narrow(bundle, rows, {"hidden_raw": 0.5}) == narrow(bundle, rows, {"hidden_raw": 0.5})


def test_layers_in_a_row_without_biases(tmp_path: Path) -> None:
    """The second layer gets a fitted bias while the first is narrowed; it can be narrowed all the same."""
    rng = np.random.default_rng(7)
    model = onnx.load_from_string(
        deep_graph(rng.normal(0, 1, (4, 32)).astype(np.float32), rng.normal(0, 1, (32, 3)).astype(np.float32))
    )
    last = model.graph.node[-1]
    more = [
        helper.make_node("MatMul", [last.input[0], "second"], ["second_raw"]),
        helper.make_node("Relu", ["second_raw"], ["second_active"]),
    ]
    last.input[0] = "second_active"
    for node in more:
        model.graph.node.insert(len(model.graph.node) - 1, node)
    second = rng.normal(0, 0.3, (32, 32)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(second, "second"))
    onnx.checker.check_model(model, full_check=True)
    path = tiny_bundle(tmp_path / "rows.edgeseq", graph=model.SerializeToString(deterministic=True))
    bundle = read_bundle(path)
    rows = calibration(path, tmp_path)
    graph, done = narrow(bundle, rows, wanted(["0.25"], bundle))
    assert [(each.operator, each.kept) for each in done] == [("hidden_raw", 24), ("second_raw", 24)]
    before, after = outputs(path, bundle.graph, rows), outputs(path, graph, rows)
    assert np.abs(after - before).max() < before.std()


def test_a_share_that_removes_nothing_is_refused(deep: Any, tmp_path: Path) -> None:
    path = deep(np.random.default_rng(6).normal(0, 1, (4, 32)).astype(np.float32))
    with pytest.raises(UsageError, match=r"hidden_raw=0\.05: no channel leaves, since a multiple of 8 stays"):
        narrow(read_bundle(path), calibration(path, tmp_path), {"hidden_raw": 0.05})


def test_shares_are_asked_for_by_operator_or_for_all(deep: Any) -> None:
    bundle = read_bundle(deep(np.ones((4, 32), np.float32)))
    assert wanted(["0.5"], bundle) == {"hidden_raw": 0.5}
    assert wanted(["0.5", "hidden_raw=0.25"], bundle) == {"hidden_raw": 0.25}
    assert wanted([], bundle) == {}
    for text, reason in (("1.5", "between 0 and 1"), ("half", "between 0 and 1"), ("logits=0.5", r"hidden_raw \(32\)")):
        with pytest.raises(UsageError, match=reason):
            wanted([text], bundle)


def test_the_gate_compares_with_the_whole_model(deep: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantize.compress.slower_from", lambda _: float("inf"))
    eight = np.abs(np.random.default_rng(4).normal(0, 1, (4, 8)))
    path = deep(np.hstack([eight, eight, eight, eight]).astype(np.float32))
    reads = unlabelled_file(tmp_path / "seen.fasta", 60, seed=5)
    held = labelled_folder(tmp_path / "held", 400, seed=6) / "reads"
    output = tmp_path / "narrow.edgeseq"
    argv = [path, "--device", "raspberry-pi-5", "--calibrate", reads, "--evaluate", held, "-o", output]
    argv += ["--budget", "flips=0.03", "--narrow", "0.75", "--scheme", "stored8"]
    assert not main([str(each) for each in argv], standalone_mode=False)
    small, source = read_bundle(output), read_bundle(path)
    assert len(small.graph) < len(source.graph)
    first = small.manifest.provenance["passes"][0]
    assert (first["pass"], first["kept"], first["of"]) == ("narrow", 8, 32)
    assert small.report["compression"]["source"]["sha256"] == source.sha256
    assert small.report["compression"]["products left"] < 1
    points = {point["mixture"]: point for point in small.report["compression"]["points"]}
    assert points["narrow"]["error"] > 0, "errors are beside the whole model"
    assert "8 of 32 channels stay" in small.card
