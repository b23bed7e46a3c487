"""Windows of a row, chosen greedily: the best-scored one first, and none that overlaps one already taken.

The greedy rule takes candidates one by one. Here they are taken in rounds, all at once that outrank every candidate
which they overlap. Both give the same windows. No candidate before such a one can block it, so the greedy rule takes it
as well; two of them never overlap; and what overlaps one of them the greedy rule refuses, since it comes later. What is
left after a round is the same problem again. Random scores need a dozen rounds, whatever the length; at worst, scores
that rise along a row, there is a round for each window.

While a graph is made, the choice is a placeholder; `place_suppressions` exchanges it for an ONNX ``Scan`` that has a
turn for every round that might be needed, and does nothing in the turns behind the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from itertools import accumulate
from typing import Any, Protocol, TypeVar

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional

from export.operators.engine import exporting, node
from export.operators.placeholder import DOMAIN, exchange

TAKEN = float(1 << 24)
"""The rank of what can no longer be chosen; beyond it, float32 does not hold every whole number."""
_LAST = TAKEN - 1
_PLACEHOLDER = "GreedySuppression"
V = TypeVar("V")


def window_of(size: int) -> tuple[int, int]:
    """The first and the last base of a window of ``size`` bases, counted from its centre; the centre of an even one is
    right of the middle."""
    return -(size // 2), size - size // 2 - 1


def choose_windows(scores: torch.Tensor, lengths: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """For each position (batch × length, int64) the kind of the window that is centred there, or -1.

    ``scores`` (batch × length × kinds) rate a window of each kind at each position; kind ``j`` has ``sizes[j]``
    positions (`window_of`). Windows are taken from the best score down, if they lie between the first and the last of
    a row's ``lengths`` positions, both excluded, and overlap none that was taken. Of equal scores the earlier position
    comes first, then the earlier kind. Length times kinds must stay below `TAKEN` - 1.
    """
    if exporting():
        attributes = {"sizes": tuple(sizes)}
        return node(_PLACEHOLDER, (scores, lengths), scores.shape[:2], torch.int64, attributes, domain=DOMAIN)
    order = scores.flatten(1).argsort(dim=1, descending=True, stable=True)
    numbers = torch.arange(order.shape[1], dtype=torch.float32).expand(order.shape)
    ranks = torch.empty(order.shape).scatter(1, order, numbers).unflatten(1, scores.shape[1:])
    known = sorted(set(sizes))
    best_of = [ranks[:, :, [kind for kind, one in enumerate(sizes) if one == size]].amin(dim=2) for size in known]
    at = torch.arange(scores.shape[1])
    taken = torch.where((at > 0) & (at < lengths[:, None] - 1), 0.0, TAKEN)
    chosen = torch.full_like(taken, TAKEN)
    going = True
    while going:
        best, taken, chosen = _round(_Tensors(), best_of, taken, chosen, known)
        going = bool((best < _LAST).any())
    kinds = order.gather(1, chosen.clamp(max=order.shape[1] - 1).to(torch.int64)) % len(sizes)
    return torch.where(chosen < _LAST, kinds, -1)


class _Arithmetic(Protocol[V]):
    """What a round is made of: of tensors, or of the names of a graph's values."""

    def padded(self, x: V, reach: int, beyond: float) -> Callable[[int], V]:
        """What shifts ``x`` (batch × length) by at most ``reach``: the value at a position becomes the one so many
        positions to its right; ``beyond`` lies beyond the ends."""
        ...

    def least(self, values: Iterable[V]) -> V: ...

    def greatest(self, values: Iterable[V]) -> V: ...

    def equal(self, first: V, second: V) -> V: ...

    def choose(self, where: V, first: V, second: V) -> V: ...

    def number(self, value: float) -> V: ...


def _round(have: _Arithmetic[V], ranks: Sequence[V], taken: V, chosen: V, sizes: Sequence[int]) -> tuple[V, V, V]:
    """The best rank that is left over each position (`_LAST` if none) before the round; what is taken after it; and
    the ranks of the windows chosen so far, at their centres.

    ``ranks`` hold, for each of the ascending ``sizes``, the rank of the best window of that size at each position.
    """
    spread = zip(ranks, _around(have, have.greatest, taken, sizes, TAKEN), strict=True)
    left = [have.greatest((rank, blocked)) for rank, blocked in spread]
    best = have.least((_over(have, have.least, left, sizes, TAKEN), have.number(_LAST)))
    won = []
    for rank, around in zip(left, _around(have, have.least, best, sizes, _LAST), strict=True):
        wins = have.equal(rank, around)
        chosen = have.choose(wins, rank, chosen)
        won.append(have.choose(wins, have.number(TAKEN), have.number(0.0)))
    return best, have.greatest((taken, _over(have, have.greatest, won, sizes, 0.0))), chosen


def _around(
    have: _Arithmetic[V], extreme: Callable[[Iterable[V]], V], x: V, sizes: Sequence[int], beyond: float
) -> list[V]:
    """The extreme of ``x`` in the windows of each size around each position; each window holds the one before."""
    shifted = have.padded(x, sizes[-1] // 2, beyond)
    found: list[V] = []
    first, last = 1, 0
    for size in sizes:
        begin, end = window_of(size)
        new = [shifted(offset) for offset in (*range(begin, first), *range(last + 1, end + 1))]
        found.append(extreme([*found[-1:], *new]))
        first, last = begin, end
    return found


def _over(
    have: _Arithmetic[V], extreme: Callable[[Iterable[V]], V], x: Sequence[V], sizes: Sequence[int], beyond: float
) -> V:
    """The extreme of the values of all windows over each position; ``x`` holds those of each size, at the centres."""
    wider = list(accumulate(reversed(x), lambda one, other: extreme((one, other))))[::-1]
    found = []
    first, last = 1, 0
    for size, value in zip(sizes, wider, strict=True):
        begin, end = window_of(size)
        shifted = have.padded(value, sizes[-1] // 2, beyond)
        found += [shifted(-offset) for offset in (*range(begin, first), *range(last + 1, end + 1))]
        first, last = begin, end
    return extreme(found)


class _Tensors:
    """`_Arithmetic` of torch."""

    def padded(self, x: torch.Tensor, reach: int, beyond: float) -> Callable[[int], torch.Tensor]:
        wide = functional.pad(x, (reach, reach), value=beyond)
        return lambda shift: wide[:, reach + shift : reach + shift + x.shape[1]]

    def least(self, values: Iterable[torch.Tensor]) -> torch.Tensor:
        return reduce(torch.minimum, values)

    def greatest(self, values: Iterable[torch.Tensor]) -> torch.Tensor:
        return reduce(torch.maximum, values)

    def equal(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return first == second

    def choose(self, where: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return torch.where(where, first, second)

    def number(self, value: float) -> torch.Tensor:
        return torch.tensor(value)


class _Names:
    """`_Arithmetic` of a graph's values by their names, which begin with ``prefix``; collects the nodes."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[bytes, str], str] = {}

    def add(self, operator: str, inputs: Sequence[str], *, outputs: int = 1, **attributes: Any) -> list[str]:
        """The names of the outputs of a new node."""
        number = len(self.nodes)
        names = [f"{self.prefix}.{number}.{operator}" + (f".{at}" if at else "") for at in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names

    def one(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """The name of a new node's only output."""
        return self.add(operator, inputs, **attributes)[0]

    def constant(self, value: Any, dtype: Any) -> str:
        """The name of a constant, which is there once."""
        array = np.asarray(value, dtype)
        key = array.tobytes(), f"{array.dtype}{array.shape}"
        if key not in self._constants:
            self._constants[key] = self.one("Constant", value=numpy_helper.from_array(array))
        return self._constants[key]

    def whole(self, *numbers: int) -> str:
        """A constant row of whole numbers."""
        return self.constant(numbers, np.int64)

    def padded(self, x: str, reach: int, beyond: float) -> Callable[[int], str]:
        wide = self.one("Pad", x, self.whole(0, reach, 0, reach), self.number(beyond), mode="constant")

        def shifted(shift: int) -> str:
            end = shift - reach or np.iinfo(np.int64).max
            return self.one("Slice", wide, self.whole(reach + shift), self.whole(end), self.whole(1))

        return shifted

    def least(self, values: Iterable[str]) -> str:
        return self.one("Min", *values)

    def greatest(self, values: Iterable[str]) -> str:
        return self.one("Max", *values)

    def equal(self, first: str, second: str) -> str:
        return self.one("Equal", first, second)

    def choose(self, where: str, first: str, second: str) -> str:
        return self.one("Where", where, first, second)

    def number(self, value: float) -> str:
        return self.constant(value, np.float32)


def place_suppressions(model: onnx.ModelProto) -> None:
    """Exchanges every placeholder of `choose_windows` in a graph for the nodes that choose."""
    exchange(model, _PLACEHOLDER, _nodes)


def _nodes(placeholder: onnx.NodeProto) -> list[onnx.NodeProto]:
    (sizes,) = (tuple(each.ints) for each in placeholder.attribute if each.name == "sizes")
    scores, lengths = placeholder.input
    (output,) = placeholder.output
    have, known = _Names(output), sorted(set(sizes))
    shape = have.one("Shape", scores)
    length = have.one("Gather", shape, have.whole(1))
    flat = have.one("Flatten", scores)
    candidates = have.one("Shape", flat, start=1, end=2)
    _, order = have.add("TopK", [flat, candidates], outputs=2, axis=1)
    zero, one = have.constant(0, np.int64), have.constant(1, np.int64)
    every = have.one("Squeeze", candidates)
    numbers = have.one("Cast", have.one("Range", zero, every, one), to=TensorProto.FLOAT)
    numbers = have.one("Expand", numbers, have.one("Shape", flat))
    ranks = have.one("Reshape", have.one("ScatterElements", flat, order, numbers, axis=1), shape)
    kinds = have.add("Split", [ranks], outputs=len(sizes), axis=2, num_outputs=len(sizes))
    kinds = [have.one("Squeeze", kind, have.whole(2)) for kind in kinds]
    best_of = [have.least(kind for kind, one in zip(kinds, sizes, strict=True) if one == size) for size in known]
    at = have.one("Range", zero, have.one("Squeeze", length), one)
    last = have.one("Unsqueeze", have.one("Sub", lengths, one), have.whole(1))
    inside = have.one("And", have.one("Greater", at, zero), have.one("Less", at, last))
    taken = have.choose(inside, have.number(0.0), have.number(TAKEN))
    chosen = have.one("Expand", have.number(TAKEN), have.one("Shape", taken))
    turns = have.one("Range", zero, have.one("Squeeze", have.one("Div", length, have.whole(known[0]))), one)
    turns = have.one("Concat", turns, have.whole(0), axis=0)
    start = have.constant(True, np.bool_)
    body = _turn(f"{output}.turn", best_of, known)
    *_, chosen = have.add("Scan", [start, taken, chosen, turns], outputs=3, body=body, num_scan_inputs=1)
    place = have.one("Min", chosen, have.number(_LAST))
    most = have.one("Sub", every, one)
    place = have.one("Min", have.one("Cast", place, to=TensorProto.INT64), most)
    kind = have.one("Mod", have.one("GatherElements", order, place, axis=1), have.constant(len(sizes), np.int64))
    unchosen = have.constant(-1, np.int64)
    where = have.one("Less", chosen, have.number(_LAST))
    return [*have.nodes, helper.make_node("Where", [where, kind, unchosen], [output])]


def _turn(prefix: str, ranks: Sequence[str], sizes: Sequence[int]) -> onnx.GraphProto:
    """The body of the scan: whether to go on, what is taken, what is chosen, and a number that means nothing."""
    floats = [f"{prefix}.rows", f"{prefix}.length"]
    kinds: dict[str, tuple[int, Sequence[int | str]]] = {
        "going": (TensorProto.BOOL, []),
        "taken": (TensorProto.FLOAT, floats),
        "chosen": (TensorProto.FLOAT, floats),
        "turn": (TensorProto.INT64, []),
    }

    def values(stage: str, names: Iterable[str]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(f"{prefix}.{stage}.{name}", *kinds[name]) for name in names]

    kept = ("going", "taken", "chosen")
    have = _Names(f"{prefix}.round")
    best, taken, chosen = _round(have, ranks, f"{prefix}.before.taken", f"{prefix}.before.chosen", sizes)
    going = have.one("Less", have.one("ReduceMin", best, keepdims=0), have.number(_LAST))
    ends = zip(kept, (going, taken, chosen), strict=True)
    have.nodes += [helper.make_node("Identity", [value], [f"{prefix}.done.{name}"]) for name, value in ends]
    idle = [helper.make_node("Identity", [f"{prefix}.before.{name}"], [f"{prefix}.idle.{name}"]) for name in kept]
    choice = helper.make_node(
        "If",
        [f"{prefix}.before.going"],
        [f"{prefix}.after.{name}" for name in kept],
        then_branch=helper.make_graph(have.nodes, f"{prefix}.round", [], values("done", kept)),
        else_branch=helper.make_graph(idle, f"{prefix}.idle", [], values("idle", kept)),
    )
    return helper.make_graph([choice], prefix, values("before", (*kept, "turn")), values("after", kept))
