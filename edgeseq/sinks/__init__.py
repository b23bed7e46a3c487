"""Where predictions go. Each sink takes predictions in order and ends with `commit` or `abandon`."""

from __future__ import annotations

from typing import Protocol, TypeVar

from edgeseq.predictions import Predictions

Lot_contra = TypeVar("Lot_contra", contravariant=True)


class SinkOf(Protocol[Lot_contra]):
    """Takes one kind of results. What it wrote under a final name is complete: names are given by `commit` alone."""

    def write(self, lot: Lot_contra, /) -> None:
        """Takes results. Raises SinkError."""
        ...

    def flush(self) -> None:
        """Hands on what a reader may be waiting for. Raises SinkError."""
        ...

    def commit(self) -> None:
        """Completes everything. Raises SinkError."""
        ...

    def abandon(self, *, keep: bool = False) -> None:
        """Ends early. ``keep`` leaves whole rows under a partial name where the sink can."""
        ...


class Sink(SinkOf[Predictions], Protocol):
    """Takes predictions."""
