"""The engine: one graph, quiet, from several threads, and errors in words."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseq.bundle import read_bundle
from edgeseq.errors import EngineError
from edgeseq.session import Session, available_providers


@pytest.fixture
def graph(bundle_path: Path) -> bytes:
    return read_bundle(bundle_path).graph


def ids(*rows: list[int]) -> dict[str, NDArray[Any]]:
    return {"input_ids": np.array(rows, np.int64)}


def test_a_batch_gives_its_logits_by_name(graph: bytes) -> None:
    session = Session(graph)
    assert (session.provider, session.inputs, session.outputs) == ("cpu", ("input_ids",), ("logits",))
    logits = session.run(ids([0] * 8, [1] * 8, [3] * 8))["logits"]
    assert logits.dtype == np.float32
    assert logits.shape == (3, 3)
    assert logits.argmax(axis=1).tolist() == [0, 1, 2]


def test_padding_changes_nothing(graph: bytes) -> None:
    session = Session(graph)
    alone = session.run(ids([0, 1, 1, 0, 2, 3]))["logits"]
    padded = session.run(ids([0, 1, 1, 0, 2, 3] + [5] * 58))["logits"]
    np.testing.assert_allclose(padded, alone, atol=1e-6)


def test_small_integers_are_widened(graph: bytes) -> None:
    session = Session(graph)
    wide = session.run(ids([0, 1, 2, 3]))["logits"]
    for kind in (np.uint8, np.int8, np.int32):
        assert (session.run({"input_ids": np.array([[0, 1, 2, 3]], kind)})["logits"] == wide).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_several_threads_may_run_it_at_a_time(threads: int, graph: bytes) -> None:
    session = Session(graph, threads=threads)
    batches = [ids(*np.random.default_rng(seed).integers(0, 6, (4, 20 + seed)).tolist()) for seed in range(40)]
    alone = [session.run(batch)["logits"] for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda batch: session.run(batch)["logits"], batches))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({}, "the graph takes input_ids; got nothing"),
        ({"ids": np.zeros((1, 4), np.int64)}, "the graph takes input_ids; got ids"),
        ({"input_ids": np.zeros((1, 4))}, "input_ids is float64; the graph takes int64"),
        ({"input_ids": np.zeros((1, 4), np.uint64)}, "input_ids is uint64; the graph takes int64"),
        ({"input_ids": np.zeros((1, 4), np.bool_)}, "input_ids is bool; the graph takes int64"),
        ({"input_ids": np.zeros(4, np.int64)}, "input_ids has shape (4,); the graph takes ('batch', 'length')"),
        ({"input_ids": np.zeros((0, 4), np.int64)}, "input_ids has shape (0, 4): there is nothing to run"),
        ({"input_ids": [[1, 2]]}, "input_ids is a list, not an array"),
    ],
)
def test_wrong_inputs_are_named(inputs: Any, problem: str, graph: bytes) -> None:
    with pytest.raises(EngineError) as caught:
        Session(graph).run(inputs)
    assert str(caught.value) == problem


def test_what_the_engine_cannot_compute_is_an_error(graph: bytes) -> None:
    with pytest.raises(EngineError, match=r"the engine cannot run the graph: .*idx=99"):
        Session(graph).run(ids([99]))


def test_an_absent_provider_is_named_with_those_that_are_there(graph: bytes) -> None:
    assert "cpu" in available_providers()
    with pytest.raises(EngineError, match=r"provider 'npu' is not available; this engine has .*cpu"):
        Session(graph, providers=["npu"])


@pytest.mark.parametrize("name", ["cpu", "CPU", "CPUExecutionProvider"])
def test_a_provider_has_a_short_and_a_full_name(name: str, graph: bytes) -> None:
    assert Session(graph, providers=[name]).provider == "cpu"


def test_no_threads_is_an_error(graph: bytes) -> None:
    with pytest.raises(EngineError, match="0 threads"):
        Session(graph, threads=0)


@pytest.mark.parametrize("bytes_", [b"", b"not a graph", b"\x08\x08"])
def test_what_is_no_graph_is_refused(bytes_: bytes) -> None:
    with pytest.raises(EngineError, match="the engine refuses the graph"):
        Session(bytes_)


def test_errors_are_raised_and_not_printed(bundle_path: Path) -> None:
    """Neither a good run nor a failing one writes anything of its own."""
    script = (
        "import sys, numpy\n"
        "from edgeseq.bundle import read_bundle\n"
        "from edgeseq.errors import EngineError\n"
        "from edgeseq.session import Session\n"
        "session = Session(read_bundle(sys.argv[1]).graph)\n"
        "session.run({'input_ids': numpy.zeros((1, 4), int)})\n"
        "for graph, ids in ((b'x', 0), (read_bundle(sys.argv[1]).graph, 99)):\n"
        "    try:\n"
        "        Session(graph).run({'input_ids': numpy.full((1, 4), ids)})\n"
        "    except EngineError:\n"
        "        print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(bundle_path)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("refused\nrefused\n", "")
