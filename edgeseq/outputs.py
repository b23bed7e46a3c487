"""The model's output row by row: rows come in any order and leave in order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeseq.aggregate import Values


class OutputRows:
    """Rows of output by number, 0 and up, of which the first ones are taken out again and again.

    A row may have output (``given``) and may be closed: whatever it has, nothing more will come. ``complete`` is the
    number of the first row that is not closed.
    """

    def __init__(self) -> None:
        self.complete = 0
        self._first = 0
        self._values: Values = np.empty((0, 0), np.float32)
        self._given: NDArray[np.bool_] = np.empty(0, np.bool_)
        self._closed: NDArray[np.bool_] = np.empty(0, np.bool_)

    def put(self, numbers: NDArray[np.int64], outputs: Values, *, close: bool) -> None:
        """Takes the output of rows, and closes them or not."""
        at = numbers - self._first
        self._reach(int(at.max()) + 1, outputs.shape[1])
        self._values[at] = outputs
        self._given[at] = True
        if close:
            self._closed[at] = True
            self._advance()

    def close(self, numbers: NDArray[np.int64]) -> None:
        """Closes rows."""
        if len(numbers):
            at = numbers - self._first
            self._reach(int(at.max()) + 1, self._values.shape[1])
            self._closed[at] = True
            self._advance()

    def between(self, first: int, end: int) -> Values:
        """The output of the rows ``first`` to ``end`` (not included), all of which were given."""
        return self._values[first - self._first : end - self._first]

    def take(self, end: int) -> Values:
        """The output of all rows before number ``end`` that were given any. These rows are forgotten."""
        count = end - self._first
        if not count:
            return self._values[:0]
        given = self._given[:count]
        taken: Values = self._values[:count].copy() if given.all() else self._values[:count][given]
        for column in (self._values, self._given, self._closed):
            column[: len(column) - count] = column[count:]
            column[len(column) - count :] = 0
        self._first = end
        return taken

    def _advance(self) -> None:
        closed = self._closed[self.complete - self._first :]
        self.complete += len(closed) if closed.all() else int(closed.argmin())

    def _reach(self, rows: int, values: int) -> None:
        """Makes room for that many rows."""
        if rows <= len(self._given):
            return
        extra = max(rows - len(self._given), len(self._given))
        values_so_far = self._values.reshape(len(self._given), values)
        self._values = np.concatenate([values_so_far, np.zeros((extra, values), np.float32)])
        self._given = np.concatenate([self._given, np.zeros(extra, np.bool_)])
        self._closed = np.concatenate([self._closed, np.zeros(extra, np.bool_)])
