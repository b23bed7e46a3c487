"""Rows become batches by length bucket, in an order that time and threads have no part in."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.batches import Batch, Batcher
from edgeseq.manifest import Input

BUCKETS = Input(window=64, stride=64, buckets=(16, 32, 64))


def ids(length: int, value: int = 1) -> np.ndarray:
    return np.full(length, value, np.uint8)


def test_rows_of_one_bucket_share_a_batch_and_are_padded_to_it() -> None:
    batcher: Batcher[str] = Batcher(BUCKETS, tokens=64)
    assert batcher.add(ids(20), "first") == []
    (batch,) = batcher.add(ids(32, 2), "second")
    assert batch.owners == ["first", "second"]
    padded = batch.input_ids(5, np.dtype(np.int64))
    assert padded.dtype == np.int64
    assert padded.tolist() == [[1] * 20 + [5] * 12, [2] * 32]
    assert batch.attention_mask(np.dtype(np.int64)).tolist() == [[1] * 20 + [0] * 12, [1] * 32]


def test_padding_on_the_left() -> None:
    batch = Batch([ids(2), ids(4)], ["a", "b"], 4)
    assert batch.input_ids(9, np.dtype(np.int32), "left").tolist() == [[9, 9, 1, 1], [1, 1, 1, 1]]
    assert batch.attention_mask(np.dtype(np.int32), "left").tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]


@given(rows=st.lists(st.binary(min_size=1, max_size=9), min_size=1), side=st.sampled_from(["left", "right"]))
def test_rows_of_bytes_are_as_rows_of_arrays(rows: list[bytes], side: Literal["left", "right"]) -> None:
    arrays = [np.frombuffer(row, np.uint8) for row in rows]
    from_bytes, from_arrays = Batch([*rows], rows, 9), Batch([*arrays], rows, 9)
    for dtype in (np.dtype(np.int64), np.dtype(np.uint8)):
        filled = from_bytes.input_ids(7, dtype, side)
        assert filled.dtype == dtype
        assert filled.flags.writeable
        np.testing.assert_array_equal(filled, from_arrays.input_ids(7, dtype, side))
    np.testing.assert_array_equal(
        from_bytes.attention_mask(np.dtype(np.int64), side), from_arrays.attention_mask(np.dtype(np.int64), side)
    )


def test_a_batch_without_rows() -> None:
    batch: Batch[str] = Batch([], [], 0)
    assert batch.input_ids(0, np.dtype(np.int64)).shape == (0, 0)


def test_a_row_longer_than_every_bucket_goes_with_rows_of_its_own_length() -> None:
    batcher: Batcher[str] = Batcher(BUCKETS, tokens=1000)
    for length, owner in ((64, "bucket"), (70, "long"), (70, "long too"), (71, "longer")):
        assert batcher.add(ids(length), owner) == []
    assert [(batch.length, batch.owners) for batch in batcher.flush()] == [
        (64, ["bucket"]),
        (70, ["long", "long too"]),
        (71, ["longer"]),
    ]


def test_lengths_stay_apart_where_the_graph_has_no_mask() -> None:
    batcher: Batcher[int] = Batcher(Input(window=64, buckets=(64,), mixed_lengths=False))
    for length in (40, 41, 40):
        batcher.add(ids(length), length)
    assert [batch.owners for batch in batcher.flush()] == [[40, 40], [41]]


def test_without_buckets_every_row_is_a_batch() -> None:
    batcher: Batcher[int] = Batcher(Input(buckets=()))
    assert [batch.owners for batch in batcher.add(ids(7), 1)] == [[1]]
    assert batcher.flush() == []


def test_a_lone_row_does_not_wait_for_company_for_ever() -> None:
    batcher: Batcher[str] = Batcher(BUCKETS, tokens=640, patience=640)
    batcher.add(ids(10), "lone")
    sent = [batch.owners for _ in range(11) for batch in batcher.add(ids(64), "many")]
    assert ["lone"] in sent


def test_flush_empties() -> None:
    batcher: Batcher[int] = Batcher(BUCKETS)
    batcher.add(ids(3), 1)
    assert len(batcher.flush()) == 1
    assert batcher.flush() == []


@given(lengths=st.lists(st.integers(1, 100), max_size=200), tokens=st.integers(1, 500), patience=st.integers(1, 2000))
def test_every_row_comes_out_once_within_limits(lengths: list[int], tokens: int, patience: int) -> None:
    batcher: Batcher[int] = Batcher(BUCKETS, tokens=tokens, patience=patience)
    batches = [batch for number, length in enumerate(lengths) for batch in batcher.add(ids(length), number)]
    batches += batcher.flush()
    assert sorted(owner for batch in batches for owner in batch.owners) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch.rows) == 1 or len(batch.rows) * batch.length <= tokens
        assert all(len(row) == lengths[owner] for row, owner in zip(batch.rows, batch.owners, strict=True))
        assert batch.owners == sorted(batch.owners)


@pytest.mark.parametrize("length", [1, 16, 17, 64])
def test_the_smallest_bucket_that_holds_a_row(length: int) -> None:
    batcher: Batcher[int] = Batcher(BUCKETS)
    batcher.add(ids(length), 0)
    assert batcher.flush()[0].length == min(bucket for bucket in BUCKETS.buckets if bucket >= length)
