"""Rows of seeds in operators of the graph are those that the net was trained with, for every pattern and table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="training needs torch (extra `export`)")
onnx = pytest.importorskip("onnx", reason="graphs are made with onnx (extra `export`)")

from onnx import TensorProto, helper  # noqa: E402

from edgeseq.session import Session  # noqa: E402
from export.architectures import BLOCK  # noqa: E402
from export.graph_builder import GraphBuilder  # noqa: E402
from export.seed_codes import SeedCodes  # noqa: E402
from export.seeds import Seed, seed_rows  # noqa: E402


def rows_session(seeds: tuple[Seed, ...]) -> Session:
    """``codes`` float32 (batch × length) → ``row0``, ``row1`` … int32 (batch × blocks × 16), one for each seed."""
    graph = GraphBuilder()
    rows = SeedCodes(graph, seeds, "codes", BLOCK)
    names = [graph.add("Identity", [rows.rows(seed, f"seed{n}")], f"row{n}") for n, seed in enumerate(seeds)]
    proto = helper.make_graph(
        graph.nodes,
        "rows",
        [helper.make_tensor_value_info("codes", TensorProto.FLOAT, ["batch", "length"])],
        [helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", "blocks", BLOCK]) for name in names],
        list(graph.initialisers.values()),
    )
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return Session(model.SerializeToString())


def palindrome(half: str, middle: str) -> str:
    pattern = "1" + half + middle + half[::-1] + "1"
    return pattern if pattern.count("1") <= 12 else "1" + "0" * (len(pattern) - 2) + "1"


SEEDS = st.builds(
    Seed,
    st.builds(palindrome, st.text("01", max_size=8), st.sampled_from(["", "0", "1"])),
    st.sampled_from([2, 7, 997, 9973, 93997, 65521, 1 << 20, (1 << 24) - 3, (1 << 24) - 1]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(SEEDS, min_size=1, max_size=3), st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_rows_are_those_of_training(seeds: list[Seed], seed: int, blocks: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.choice(6, (3, blocks * BLOCK), p=[0.24, 0.24, 0.24, 0.24, 0.02, 0.02]).astype(np.uint8)
    found = rows_session(tuple(seeds)).run({"codes": codes.astype(np.float32)})
    for number, each in enumerate(seeds):
        assert found[f"row{number}"].reshape(3, -1).tolist() == seed_rows(torch.from_numpy(codes), each).tolist()


@pytest.mark.parametrize("rows", [4095, 4097, 65537, 699051, 8388607, 16777215])
def test_the_ends_of_twelve_bases_and_multiples_of_the_rows_are_exact(rows: int) -> None:
    """Codes beside multiples of the number of rows are where a rounded quotient would take another row."""
    seed = Seed("1" * 12, rows)
    multiples = np.arange(0, 4**12, rows, dtype=np.int64)
    codes = np.unique(np.concatenate([multiples[:: max(1, len(multiples) // 500)], multiples[-3:], [4**12 - 1]]))
    codes = np.unique(np.clip(np.concatenate([codes - 1, codes, codes + 1]), 0, 4**12 - 1))
    bases = np.full((len(codes), BLOCK), 5, np.uint8)
    bases[:, :12] = codes[:, None] >> (2 * np.arange(11, -1, -1)) & 3
    found = rows_session((seed,)).run({"codes": bases.astype(np.float32)})["row0"]
    assert found.reshape(-1, BLOCK).tolist() == seed_rows(torch.from_numpy(bases), seed).tolist()
    assert (found.reshape(-1, BLOCK)[:, 0] < rows).all()
