"""Work overlaps, in order and within bounds; errors arrive once and every thread ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from edgeseq.pipeline import overlap, with_pauses


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 5
    while left := [thread for thread in threading.enumerate() if thread not in before]:
        assert time.monotonic() < deadline, f"threads left: {left}"
        time.sleep(0.01)


def square(item: int) -> int:
    return item * item


def failing_after(count: int) -> Iterator[int]:
    yield from range(count)
    raise OSError("unplugged")


def test_results_come_in_the_order_of_the_items(threads: int) -> None:
    def slow_when_even(item: int) -> int:
        time.sleep(0.002 * (item % 2 == 0))
        return square(item)

    assert list(overlap(iter(range(50)), slow_when_even, threads=threads)) == [(n, n * n) for n in range(50)]


def test_nothing_in_nothing_out(threads: int) -> None:
    assert list(overlap(iter(()), square, threads=threads)) == []


def test_an_error_of_the_items_comes_after_the_items_before_it(threads: int) -> None:
    seen: list[tuple[int, int]] = []
    with pytest.raises(OSError, match="unplugged"):
        seen.extend(overlap(failing_after(20), square, threads=threads))
    assert [item for item, _ in seen] == list(range(20))


def test_an_error_of_the_work_comes_after_the_items_before_it(threads: int) -> None:
    def fails_at_seven(item: int) -> int:
        if item == 7:
            raise ZeroDivisionError
        return item

    seen: list[tuple[int, int]] = []
    with pytest.raises(ZeroDivisionError):
        seen.extend(overlap(iter(range(1000)), fails_at_seven, threads=threads))
    assert [item for item, _ in seen] == list(range(7))


def test_a_slow_consumer_bounds_what_is_read_ahead(threads: int) -> None:
    drawn = 0

    def items() -> Iterator[int]:
        nonlocal drawn
        for item in range(1000):
            drawn = item + 1
            yield item

    for item, _ in overlap(items(), square, threads=threads, ahead=4):
        time.sleep(0.001)
        assert drawn <= item + 1 + 4 + 2
        if item == 50:
            break


def test_leaving_early_ends_items_and_threads(threads: int) -> None:
    ended = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            ended.set()

    running = overlap(endless(), square, threads=threads)
    assert next(running) == (1, 1)
    running.close()
    assert ended.wait(5)


def test_a_consumer_that_fails_ends_everything(threads: int) -> None:
    def consume() -> None:
        for _ in overlap(iter(range(10_000)), square, threads=threads):
            raise KeyError("sink")

    with pytest.raises(KeyError):
        consume()


def test_work_overlaps() -> None:
    both = threading.Barrier(2, timeout=10)
    assert len(list(overlap(iter(range(4)), lambda _: both.wait(), threads=2))) == 4


def test_a_pause_is_told_once() -> None:
    more = threading.Event()

    def stutter() -> Iterator[str]:
        yield "a"
        yield "b"
        more.wait(10)
        yield "c"

    items = with_pauses(stutter(), 0.05)
    assert [next(items), next(items), next(items)] == ["a", "b", None]
    more.set()
    assert list(items) == ["c"]


def test_a_live_source_that_fails() -> None:
    items = with_pauses(failing_after(3), 5)
    assert [next(items), next(items), next(items)] == [0, 1, 2]
    with pytest.raises(OSError, match="unplugged"):
        next(items)


def test_a_live_source_is_read_ahead_within_bounds() -> None:
    drawn = 0

    def counted() -> Iterator[int]:
        nonlocal drawn
        for item in range(10_000):
            drawn = item + 1
            yield item

    items = with_pauses(counted(), 5, ahead=10)
    assert next(items) == 0
    time.sleep(0.05)
    assert drawn <= 30
    items.close()
