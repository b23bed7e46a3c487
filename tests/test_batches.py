"""Rows become batches by length bucket, in an order that time and threads have no part in."""

from __future__ import annotations

from random import Random
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.batches import Batch, Batcher, Rows
from edgeseq.manifest import Input

BUCKETS = Input(window=64, stride=64, buckets=(16, 32, 64))


def rows(*lengths: int, first: int = 0, fill: int = 1) -> Rows:
    """Rows of so many ids, numbered from ``first`` on; all ids of a row are ``fill`` and its place among them."""
    sizes = np.array(lengths, np.int64)
    ids = np.repeat(np.arange(len(sizes), dtype=np.uint8) + np.uint8(fill), sizes)
    return Rows(ids, np.cumsum(sizes) - sizes, sizes, np.arange(first, first + len(sizes)))


def numbers(batches: list[Batch]) -> list[list[int]]:
    return [batch.numbers.tolist() for batch in batches]


def test_rows_of_one_bucket_share_a_batch_and_are_padded_to_it() -> None:
    batcher = Batcher(BUCKETS, tokens=64)
    assert batcher.add(rows(20)) == []
    (batch,) = batcher.add(rows(32, first=1, fill=2))
    assert batch.numbers.tolist() == [0, 1]
    padded = batch.input_ids(5, np.dtype(np.int64))
    assert padded.dtype == np.int64
    assert padded.tolist() == [[1] * 20 + [5] * 12, [2] * 32]
    assert batch.attention_mask(np.dtype(np.int64)).tolist() == [[1] * 20 + [0] * 12, [1] * 32]


def test_padding_on_the_left() -> None:
    batch = Batch([rows(2, 4)], 4)
    assert batch.input_ids(9, np.dtype(np.int32), "left").tolist() == [[9, 9, 1, 1], [2, 2, 2, 2]]
    assert batch.attention_mask(np.dtype(np.int32), "left").tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    order=st.randoms(use_true_random=False),
    side=st.sampled_from(["left", "right"]),
    kind=st.sampled_from([np.uint8, np.int16]),
    pad=st.sampled_from([0, 7, 300]),
)
def test_rows_are_cut_out_of_any_place_of_their_array(
    lengths: list[int], order: Random, side: Literal["left", "right"], kind: type, pad: int
) -> None:
    whole = rows(*lengths)
    places = list(range(len(lengths)))
    order.shuffle(places)
    part = Rows(whole.ids.astype(kind), whole.starts, whole.lengths, whole.numbers).take(np.array(places))
    batch = Batch([part, whole], 9)
    filled = batch.input_ids(pad, np.dtype(np.int64), side)
    assert filled.dtype == np.int64
    assert filled.flags.writeable
    for row, place in zip(filled.tolist(), [*places, *range(len(lengths))], strict=True):
        ids, padding = [place + 1] * lengths[place], [pad] * (9 - lengths[place])
        assert row == (ids + padding if side == "right" else padding + ids)
    for size, shares in ((filled.size, True), (filled.size - 1, False)):
        buffer = np.zeros(size, np.int64)
        again = batch.input_ids(pad, np.dtype(np.int64), side, buffer=buffer)
        np.testing.assert_array_equal(again, filled)
        assert np.shares_memory(again, buffer) == shares


def test_a_batch_without_rows() -> None:
    batch = Batch([], 0)
    assert len(batch) == len(batch.numbers) == 0
    assert batch.input_ids(0, np.dtype(np.int64)).shape == (0, 0)


def test_a_row_longer_than_every_bucket_goes_with_rows_of_its_own_length() -> None:
    batcher = Batcher(BUCKETS, tokens=1000)
    assert batcher.add(rows(64, 70, 70, 71)) == []
    assert [(batch.length, batch.numbers.tolist()) for batch in batcher.flush()] == [(64, [0]), (70, [1, 2]), (71, [3])]


def test_lengths_stay_apart_where_the_graph_has_no_mask() -> None:
    batcher = Batcher(Input(window=64, buckets=(64,), mixed_lengths=False))
    assert batcher.add(rows(40, 41, 40)) == []
    assert numbers(batcher.flush()) == [[0, 2], [1]]


def test_without_buckets_every_row_is_a_batch() -> None:
    batcher = Batcher(Input(buckets=()))
    assert numbers(batcher.add(rows(7, 7))) == [[0], [1]]
    assert batcher.flush() == []


def test_a_lone_row_does_not_wait_for_company_for_ever() -> None:
    batcher = Batcher(BUCKETS, tokens=640, patience=640)
    assert batcher.add(rows(10)) == []
    assert numbers(batcher.add(rows(*[64] * 11, first=1))) == [[*range(1, 11)], [0]]


def test_flush_empties() -> None:
    batcher = Batcher(BUCKETS)
    batcher.add(rows(3))
    assert len(batcher.flush()) == 1
    assert batcher.flush() == []


several = st.lists(st.lists(st.integers(1, 100), max_size=60), max_size=8)


@given(chunks=several, tokens=st.integers(1, 500), patience=st.integers(1, 2000))
def test_every_row_comes_out_once_within_limits(chunks: list[list[int]], tokens: int, patience: int) -> None:
    batcher = Batcher(BUCKETS, tokens=tokens, patience=patience)
    lengths: list[int] = []
    batches = []
    for chunk in chunks:
        batches += batcher.add(rows(*chunk, first=len(lengths)))
        lengths += chunk
    batches += batcher.flush()
    assert sorted(number for batch in numbers(batches) for number in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * batch.length <= tokens
        assert [size for part in batch.parts for size in part.lengths] == [lengths[number] for number in batch.numbers]
        assert batch.numbers.tolist() == sorted(batch.numbers)


@given(chunks=several, tokens=st.integers(1, 500), patience=st.integers(1, 2000))
def test_the_chunks_that_rows_come_in_change_nothing(chunks: list[list[int]], tokens: int, patience: int) -> None:
    in_chunks, one_by_one = (Batcher(BUCKETS, tokens=tokens, patience=patience) for _ in range(2))
    ours, theirs = [], []
    first = 0
    for chunk in chunks:
        ours += in_chunks.add(rows(*chunk, first=first))
        for length in chunk:
            theirs += one_by_one.add(rows(length, first=first))
            first += 1
    assert numbers([*ours, *in_chunks.flush()]) == numbers([*theirs, *one_by_one.flush()])


@pytest.mark.parametrize("length", [1, 16, 17, 64])
def test_the_smallest_bucket_that_holds_a_row(length: int) -> None:
    batcher = Batcher(BUCKETS)
    batcher.add(rows(length))
    assert batcher.flush()[0].length == min(bucket for bucket in BUCKETS.buckets if bucket >= length)
