"""How far a graph computes beyond the rows that it gets: what short rows cost.

A convolution that looks far pads each row with as many positions as it sees, and computes them all. A row of *n* tokens
then costs as much as *n* + reach. The reach is measured: the values of all intermediate results of a row are counted at
two lengths, and what does not grow with the length is expressed in tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeseq.session import Session

SHORT, LONG = 16, 80
"""Tokens of the rows that are counted."""
LEAST = 256
"""A smaller reach makes no difference."""
MOST_BYTES = 64 << 20
"""Larger graphs are not measured: they get few tokens at a time anyway."""
_NO_TENSORS = ("Sequence", "SplitToSequence", "Optional")

Feed = Callable[[int, int], Mapping[str, NDArray[Any]]]
"""The graph's inputs for so many rows of so many tokens."""


def measured_reach(graph: bytes, feed: Feed) -> int:
    """Tokens' worth of positions that each row takes beyond its own; 0 for less than `LEAST`.

    Raises EngineError where the graph does not run.
    """
    if len(graph) > MOST_BYTES:
        return 0
    model = onnx.load_from_string(graph)
    own = {value.name for value in model.graph.output}
    inner = [
        name
        for node in model.graph.node
        if not node.op_type.startswith(_NO_TENSORS)
        for name in node.output
        if name and name not in own
    ]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    session = Session(model.SerializeToString(deterministic=True))

    def values(rows: int, length: int) -> int:
        return sum(np.asarray(each).size for each in session.run(feed(rows, length)).values())

    short, long = (values(2, length) - values(1, length) for length in (SHORT, LONG))
    if long <= short:
        return 0
    fixed = (short * LONG - long * SHORT) / (LONG - SHORT)
    found = round(fixed * (LONG - SHORT) / (long - short))
    return found if found >= LEAST else 0
