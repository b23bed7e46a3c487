"""Convolution with fewer products than taps × positions: minimal filtering (Winograd 1980, Lavin and Gray 2016).

A block of outputs needs a stretch of inputs. Both, and the taps, are exchanged for values at a few points, where a
convolution is one product for each point; the way back is linear as well. ``F(m, r)``, ``m`` outputs of ``r`` taps,
needs ``m + r - 1`` products of channels by channels rather than ``m r``. Nine taps are three threes: outputs that stand
three apart see the threes as taps of their own, so that filtering within filtering leaves 20 of 54 products.

Points are 0, 1, -1, 2, -2 and ½, of small powers, and infinity: rounding stays near that of the plain
sum, at worst about twice as large (five taps, 128 channels).

The graph holds the weights at the points, computed in double precision, 1.4 times as many for five taps and 2.2 times
for nine: an engine that computed them at its start would keep both, and all that lies between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch.nn import functional

from export.operators.engine import node
from export.operators.long_convolution import product, reshape
from export.operators.placeholder import DOMAIN, exchange

Matrix = NDArray[np.floating[Any]]

FEWEST_CHANNELS = 128
"""Below, what is saved in products is spent on the way to the points and back."""
SHORT = 96
"""Positions of a row that has to need fewer products than without filtering."""
MOST = 0.8
"""Their share of the products without."""
_WEIGHTS = "FilterWeights"
_POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5)
_OPSET = 18


@dataclass(frozen=True, slots=True)
class Filtering:
    """How blocks of outputs are computed. In double precision; ``points`` are the rows of ``into`` and ``weighed``."""

    into: Matrix
    """Points × inputs of a block."""
    weighed: Matrix
    """Points × taps."""
    back: Matrix
    """Outputs of a block × points."""

    @property
    def outputs(self) -> int:
        """Of a block."""
        return len(self.back)

    @property
    def points(self) -> int:
        """Products of channels by channels for a block."""
        return len(self.into)


def filtering(taps: int, dilation: int) -> Filtering | None:
    """The way to compute so many taps, so far apart; None where none saves enough.

    The further apart, the longer are blocks, and the more of them lies beyond the end of short rows: a row of `SHORT`
    positions has to need at most `MOST` of the plain sum's products.
    """
    plan = _plan(taps)
    if plan is None:
        return None
    rows = -(-SHORT // (plan.outputs * dilation)) * min(SHORT, dilation)
    return plan if rows * plan.points <= MOST * SHORT * taps else None


def filter_rows(
    x: torch.Tensor, weight: torch.Tensor, dilation: int, ends: tuple[int, int], plan: Filtering
) -> torch.Tensor:
    """The convolution of ``x`` (batch × length × in) with ``weight`` (out × in × taps, ``dilation`` positions apart),
    as if rows had ``ends`` zeros more before and behind: batch × length × out. Only in a graph.

    One position in ``dilation`` belongs to a block, so that as many blocks interleave; blocks that start beyond the end
    of a row are left out. `place_filters` has to follow.
    """
    batch, length, channels = x.shape
    outputs, points, made = plan.outputs, plan.points, weight.shape[0]
    span, stretch = outputs * dilation, plan.into.shape[1]
    rows = length  # as the exporter is told: blocks end behind the row, but their number would keep it thinking
    whole = torch.full((1,), length, dtype=torch.int64)
    many = _divided(whole + (span - 1), span)[0]
    zero, one = torch.tensor(0), torch.tensor(1)
    blocks = node("Range", (zero, many[0], one), (length,), torch.int64, domain="", version=_OPSET)
    side = torch.minimum(whole, torch.tensor([dilation]))
    starts = node(
        "Slice", (torch.arange(dilation), torch.tensor([0]), whole), (dilation,), torch.int64, domain="", version=_OPSET
    )
    seen = dilation * torch.arange(stretch)[:, None, None] + span * blocks[:, None] + starts
    seen = reshape(torch.minimum(seen, whole + (sum(ends) - 1)), (-1,), (stretch * length,))
    padded = functional.pad(x, (0, 0, *ends))
    stage = node(
        "Gather", (padded, seen), (batch, stretch * rows, channels), x.dtype, {"axis": 1}, domain="", version=_OPSET
    )
    stage = reshape(stage, (0, stretch, -1), (batch, stretch, rows * channels))
    stage = product(torch.from_numpy(plan.into.astype(np.float32)), stage, (batch, points, rows * channels))
    stage = reshape(stage, (0, points, -1, channels), (batch, points, rows, channels))
    found = []
    for at in range(points):
        weights = node(_WEIGHTS, (weight,), (channels, made), weight.dtype, {"point": at}, domain=DOMAIN)
        part = (stage, torch.tensor([at]), torch.tensor([at + 1]), torch.tensor([1]), torch.tensor([1]))
        at_point = node("Slice", part, (batch, 1, rows, channels), x.dtype, domain="", version=_OPSET)
        found.append(product(at_point, weights, (batch, 1, rows, made)))
    stage = node("Concat", found, (batch, points, rows, made), x.dtype, {"axis": 1}, domain="", version=_OPSET)
    stage = reshape(stage, (0, points, -1), (batch, points, rows * made))
    stage = product(torch.from_numpy(plan.back.astype(np.float32)), stage, (batch, outputs, rows * made))
    stage = reshape(stage, (0, -1, made), (batch, outputs * rows, made))
    place = torch.arange(length)
    block, inside = _divided(place, span)
    output, first = _divided(inside, dilation)
    order = output * (many * side) + block * side + first
    return node("Gather", (stage, order), (batch, length, made), x.dtype, {"axis": 1}, domain="", version=_OPSET)


def place_filters(model: onnx.ModelProto) -> None:
    """Exchanges the placeholders that `filter_rows` leaves in a graph for stored weights, and drops the plain ones."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    plain: set[str] = set()

    def store(placeholder: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
        (weight,), (name,) = placeholder.input, placeholder.output
        plain.add(weight)
        taps = numpy_helper.to_array(stored[weight]).astype(np.float64)
        plan = _plan(taps.shape[2])
        assert plan is not None
        found = taps @ plan.weighed[helper.get_attribute_value(placeholder.attribute[0])]
        model.graph.initializer.append(numpy_helper.from_array(found.T.astype(np.float32), name))
        return ()

    exchange(model, _WEIGHTS, store)
    plain -= {name for each in model.graph.node for name in each.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in plain]
    if plain:
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)


def _plan(taps: int) -> Filtering | None:
    if 3 <= taps <= 5:
        return _single(3, taps)
    return _nested(_single(2, -(-taps // 3)), _single(3, 3), taps) if 6 <= taps <= 15 else None


def _divided(x: torch.Tensor, by: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Quotient and rest of whole numbers that are not negative."""
    quotient = node("Div", (x, torch.tensor(by)), x.shape, x.dtype, domain="", version=_OPSET)
    return quotient, x - by * quotient


def _single(outputs: int, taps: int) -> Filtering:
    """``F(outputs, taps)`` by Lagrange's interpolation through the points (Toom and Cook), transposed."""
    used = _POINTS[: outputs + taps - 2]
    points = len(used) + 1
    into, scale = np.zeros((points, points)), np.ones(points)
    for at, point in enumerate(used):
        others = [other for other in used if other != point]
        into[at, : points - 1] = np.poly(others)[::-1]
        scale[at] = np.prod([point - other for other in others])
    into[-1] = np.poly(used)[::-1]
    return Filtering(into, _powers(used, taps) / scale[:, None], _powers(used, outputs).T)


def _nested(outer: Filtering, inner: Filtering, taps: int) -> Filtering:
    """Filtering whose taps are groups of as many taps as ``inner`` has outputs, each filtered by ``inner``; the last
    of them are left out beyond ``taps``."""
    step, stretch = inner.outputs, inner.into.shape[1]
    groups = outer.into.shape[1]
    into = np.zeros((outer.points, inner.points, (groups - 1) * step + stretch))
    for at in range(groups):
        into[:, :, at * step : at * step + stretch] += outer.into[:, at, None, None] * inner.into
    reach = taps + outer.outputs * step - 1
    into = into.reshape(outer.points * inner.points, -1)[:, :reach]
    return Filtering(into, np.kron(outer.weighed, inner.weighed)[:, :taps], np.kron(outer.back, inner.back))


def _powers(points: tuple[float, ...], count: int) -> Matrix:
    """Points, infinity as the last, × the first so many powers."""
    return np.array([[point**power for power in range(count)] for point in points] + [[0.0] * (count - 1) + [1.0]])
