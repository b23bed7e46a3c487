"""Overlapped work: items are produced, worked on and consumed at the same time, in order and within bounds.

    items ─(producer thread)─▶ bounded ─(worker threads: work)─▶ in order ─▶ the caller's thread

The steps on either side know nothing about threads.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

PAUSE = 0.5
"""Seconds without a new item after which a live source counts as paused."""


def overlap(
    items: Iterator[Item], work: Callable[[Item], Result], *, threads: int = 1, ahead: int | None = None
) -> Generator[tuple[Item, Result]]:
    """Each item with ``work(item)``, in the order of ``items``.

    ``items`` runs in a thread of its own and ``work`` in ``threads`` others. At most ``ahead`` items (default: two for
    each thread, and two) are between ``items`` and the caller, so memory is bounded however slow either end is. An
    error of ``items`` or of ``work`` is raised once, after all items before it were yielded. Closing the generator
    stops all threads; one that is blocked inside ``items`` ends as soon as that returns.
    """
    runner = _Runner(items, work, threads, ahead if ahead is not None else 2 * threads + 2)
    try:
        yield from runner.results()
    finally:
        runner.stop()


class _Runner(Generic[Item, Result]):
    """The threads and queues of one `overlap`."""

    def __init__(self, items: Iterator[Item], work: Callable[[Item], Result], threads: int, ahead: int) -> None:
        self._items = items
        self._work = work
        self._permits = threading.Semaphore(ahead)
        self._todo: queue.SimpleQueue[tuple[int, Item] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[int, _Outcome[Item, Result]]] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._producer = threading.Thread(target=self._produce, name="edgeseq-reader", daemon=True)
        self._workers = [
            threading.Thread(target=self._run, name=f"edgeseq-worker-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in (self._producer, *self._workers):
            thread.start()

    def results(self) -> Iterator[tuple[Item, Result]]:
        early: dict[int, _Outcome[Item, Result]] = {}
        number = 0
        while True:
            while number not in early:
                at, outcome = self._done.get()
                early[at] = outcome
            outcome = early.pop(number)
            number += 1
            if outcome.error is not None:
                raise outcome.error
            if outcome.pair is None:
                return
            self._permits.release()
            yield outcome.pair
            del outcome

    def stop(self) -> None:
        self._stopped.set()
        self._permits.release()
        for _ in self._workers:
            self._todo.put(None)
        for worker in self._workers:
            worker.join()
        self._producer.join(timeout=PAUSE)

    def _produce(self) -> None:
        number = 0
        end: _Outcome[Item, Result] = _Outcome()
        try:
            for item in self._items:
                self._permits.acquire()
                if self._stopped.is_set():
                    break
                self._todo.put((number, item))
                number += 1
                del item
        except BaseException as error:  # noqa: BLE001  # it is raised in the caller's thread
            end = _Outcome(error=error)
        finally:
            if isinstance(self._items, Generator):
                self._items.close()
        self._done.put((number, end))

    def _run(self) -> None:
        while (task := self._todo.get()) is not None and not self._stopped.is_set():
            number, item = task
            try:
                outcome = _Outcome(pair=(item, self._work(item)))
            except BaseException as error:  # noqa: BLE001  # it is raised in the caller's thread
                outcome = _Outcome(error=error)
            self._done.put((number, outcome))
            del task, item, outcome


class _Outcome(Generic[Item, Result]):
    """What became of an item: a pair, an error, or (neither) the end of all items."""

    __slots__ = ("error", "pair")

    def __init__(self, *, pair: tuple[Item, Result] | None = None, error: BaseException | None = None) -> None:
        self.pair = pair
        self.error = error


def with_pauses(items: Iterable[Item], seconds: float = PAUSE, *, ahead: int = 4096) -> Generator[Item | None]:
    """The items in order, and a single ``None`` each time that none came for ``seconds``.

    The items are taken in a thread of its own, at most ``ahead`` of them in advance. An error of ``items`` is raised
    after the items before it.
    """
    source = _LiveSource(items, ahead)
    try:
        waiting = False
        while True:
            batch, ended = source.take(None if waiting else seconds)
            yield from batch
            if ended:
                source.check()
                return
            waiting = not batch
            if waiting:
                yield None
    finally:
        source.stop()


class _LiveSource(Generic[Item]):
    """A buffer that a thread fills with items."""

    def __init__(self, items: Iterable[Item], ahead: int) -> None:
        self._items = items
        self._ahead = ahead
        self._changed = threading.Condition()
        self._buffer: list[Item] = []
        self._ended = False
        self._error: BaseException | None = None
        threading.Thread(target=self._fill, name="edgeseq-live-input", daemon=True).start()

    def take(self, seconds: float | None) -> tuple[list[Item], bool]:
        """All items in the buffer once there are any, none after ``seconds``; and whether these were the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._buffer or self._ended, seconds)
            taken, self._buffer = self._buffer, []
            self._changed.notify_all()
            return taken, self._ended

    def check(self) -> None:
        """Raises what ended the items, if it was an error."""
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _fill(self) -> None:
        try:
            iterator = iter(self._items)
            if isinstance(iterator, Generator):
                with closing(iterator):
                    self._append_all(iterator)
            else:
                self._append_all(iterator)
        except BaseException as error:  # noqa: BLE001  # it is raised in the taker's thread
            self._error = error
        self.stop()

    def _append_all(self, iterator: Iterator[Item]) -> None:
        for item in iterator:
            with self._changed:
                self._changed.wait_for(lambda: len(self._buffer) < self._ahead or self._ended)
                if self._ended:
                    return
                self._buffer.append(item)
                self._changed.notify_all()
