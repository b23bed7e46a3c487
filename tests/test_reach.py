"""Nets that look far compute many positions beyond every row: measured when they are packed, counted when they run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tiny_outputs import tiny_output

from edgeseq.bundle import read_bundle
from edgeseq.errors import BundleDamagedError
from edgeseq.manifest import Manifest
from edgeseq.read import Read
from edgeseq.scorer import RUN_TOKENS, Scorer
from edgeseq.session import Session
from quantize.reach import measured_reach

TABLE = np.random.default_rng(1).normal(size=(6, 2)).astype(np.float32)


def padded_graph(beyond: int, *, constant: int = 0) -> bytes:
    """Three convolutions over rows with ``beyond`` zeros on either side, of which the middle is kept; and a table of
    ``constant`` numbers that is computed once, whatever the rows are."""
    constants: dict[str, NDArray[Any]] = {
        "table": TABLE,
        "one": np.ones((2, 2, 1), np.float32),
        "start": np.array([beyond], np.int64),
        "end": np.array([-beyond if beyond else 1 << 40], np.int64),
        "axis": np.array([2], np.int64),
        "size": np.array([constant + 1], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("Transpose", ["tokens"], ["channels"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["channels", "one"], ["wide"], pads=[beyond, beyond]),
        helper.make_node("Relu", ["wide"], ["active"]),
        helper.make_node("Conv", ["active", "one"], ["again"]),
        helper.make_node("Slice", ["again", "start", "end", "axis"], ["inner"]),
        helper.make_node("ConstantOfShape", ["size"], ["positions"]),
        helper.make_node("ReduceMax", ["positions"], ["nothing"], keepdims=0),
        helper.make_node("Add", ["inner", "nothing"], ["sum"]),
        helper.make_node("Transpose", ["sum"], ["logits"], perm=[0, 2, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "padded",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "length", 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString(deterministic=True))


def ids(rows: int, length: int) -> dict[str, NDArray[Any]]:
    return {"input_ids": np.zeros((rows, length), np.int64)}


def test_what_a_row_takes_beyond_its_tokens() -> None:
    """Three of eight results (six numbers of 16 a token) go on for 1,000 zeros on either side."""
    assert measured_reach(padded_graph(1000), ids) == pytest.approx(2000 * 6 / 16, rel=0.01)
    assert measured_reach(padded_graph(4), ids) == 0


def test_what_is_computed_once_for_all_rows_does_not_count() -> None:
    assert measured_reach(padded_graph(0, constant=1 << 20), ids) == 0


def test_large_graphs_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantize.reach.MOST_BYTES", 100)
    assert measured_reach(padded_graph(1000), ids) == 0


def far_scorer(path: Path, reach: int) -> tuple[Scorer, list[tuple[int, ...]]]:
    """A scorer of a bundle that says so, and the shapes of what its engine gets."""
    bundle = read_bundle(tiny_output(path, TABLE, kind="embedding"))
    bundle = replace(bundle, manifest=replace(bundle.manifest, graph=replace(bundle.manifest.graph, reach=reach)))
    shapes: list[tuple[int, ...]] = []

    class Watched(Session):
        def run(self, inputs: Any) -> dict[str, NDArray[Any]]:
            shapes.append(inputs["input_ids"].shape)
            return super().run(inputs)

    return Scorer(bundle, Watched(bundle.graph), threads=1), shapes


@pytest.mark.parametrize(("reach", "together"), [(0, 100), (RUN_TOKENS // 10, 9), (10 * RUN_TOKENS, 1)])
def test_rows_run_together_as_far_as_all_they_cost_allows(tmp_path: Path, reach: int, together: int) -> None:
    scorer, shapes = far_scorer(tmp_path / "far.edgeseq", reach)
    sequences = [bytes(each) for each in np.random.default_rng(2).choice(list(b"ACGT"), (100, 60)).astype(np.uint8)]
    reads = [Read(str(number), sequence) for number, sequence in enumerate(sequences)]
    found = [prediction.scores.probabilities for prediction in scorer.score(reads)]
    assert max(shape[0] for shape in shapes) == together
    assert sum(shape[0] for shape in shapes) == 100
    alone, _ = far_scorer(tmp_path / "near.edgeseq", 0)
    np.testing.assert_allclose(found, [alone.score_one(read).scores.probabilities for read in reads], atol=1e-6)


def test_the_manifest_says_it_only_where_there_is_one(tmp_path: Path) -> None:
    manifest = read_bundle(tiny_output(tmp_path / "t.edgeseq", TABLE, kind="embedding")).manifest
    assert b"reach" not in manifest.to_json()
    assert Manifest.from_json(manifest.to_json()).graph.reach == 0
    far = replace(manifest, graph=replace(manifest.graph, reach=9866))
    assert Manifest.from_json(far.to_json()) == far
    for wrong in (-1, 1.5, True, "10"):
        values = json.loads(far.to_json())
        values["graph"]["reach"] = wrong
        with pytest.raises(BundleDamagedError, match=r"graph\.reach is .*, not a number of positions"):
            Manifest.from_json(json.dumps(values).encode())


def test_packing_measures_it(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from export.__main__ import main

    path = tmp_path / "far.onnx"
    model = onnx.load_from_string(padded_graph(1000))
    path.write_bytes(model.SerializeToString())
    options = ["--task", "token-classification", "--labels", "a,b", "--window", "200"]
    done = CliRunner().invoke(main, [str(path), *options, "-o", str(tmp_path / "far.edgeseq")])
    assert done.exit_code == 0, done.output
    assert read_bundle(tmp_path / "far.edgeseq").manifest.graph.reach == pytest.approx(750, rel=0.01)
