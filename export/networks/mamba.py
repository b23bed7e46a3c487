"""Mamba's mixer (Gu and Dao 2023), along one direction of a row or along both.

Rows are time-major here (length × rows × width): what differs between steps lies in contiguous blocks, so that shifting
and reversing rows, and stepping through them, copy nothing or whole blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from export.operators.gated import silu
from export.operators.scan import selective_scan

Strategy = Literal["add", "ew_multiply"]


@dataclass(frozen=True, slots=True)
class MambaShape:
    """The sizes of a mixer."""

    width: int
    inner: int
    states: int
    taps: int
    rank: int
    """Channels that the step size is made of."""
    bias: bool
    """Whether the projections into and out of the mixer have one."""
    convolution_bias: bool


class Direction(nn.Module):
    """The weights of one direction; those of its projections are None where it shares the other direction's."""

    def __init__(self, shape: MambaShape, *, projects: bool) -> None:
        super().__init__()
        self.in_proj = nn.Linear(shape.width, 2 * shape.inner, bias=shape.bias) if projects else None
        self.out_proj = nn.Linear(shape.inner, shape.width, bias=shape.bias) if projects else None
        self.conv1d = nn.Conv1d(shape.inner, shape.inner, shape.taps, groups=shape.inner, bias=shape.convolution_bias)
        self.x_proj = nn.Linear(shape.inner, shape.rank + 2 * shape.states, bias=False)
        self.dt_proj = nn.Linear(shape.rank, shape.inner)
        self.A_log = nn.Parameter(torch.zeros(shape.inner, shape.states))
        self.D = nn.Parameter(torch.ones(shape.inner))
        self.sizes = (shape.rank, shape.states, shape.states)

    def convolve(self, x: torch.Tensor, *, reverse: bool) -> torch.Tensor:
        """Each channel of ``x`` (length × rows × inner) under its taps, the last of which stands at the step itself and
        the others before it; with ``reverse`` behind it."""
        weights = self.conv1d.weight[:, 0].T
        reach = len(weights) - 1
        length = x.shape[0]
        found = x * weights[reach]
        padded = functional.pad(x, (0, 0, 0, 0, 0, reach) if reverse else (0, 0, 0, 0, reach, 0))
        for at in range(reach):
            first = reach - at if reverse else at
            found = found + padded[first : first + length] * weights[at]
        return found if self.conv1d.bias is None else found + self.conv1d.bias

    def parameters_of(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """For each step of ``x``: its size, how it drives the states, and how they are seen."""
        rank, inward, outward = self.x_proj(x).split(self.sizes, dim=-1)
        return functional.softplus(self.dt_proj(rank)), inward, outward


class Mamba(nn.Module):
    """One mixer: ``mamba_fwd`` runs up the row, ``mamba_rev``, where it exists, down; what they give is combined."""

    rates: torch.Tensor

    def __init__(self, shape: MambaShape, *, both: bool, tied: bool, strategy: Strategy) -> None:
        super().__init__()
        self.mamba_fwd = Direction(shape, projects=True)
        self.mamba_rev = Direction(shape, projects=not tied) if both else None
        self.strategy, self.biased = strategy, shape.bias
        ways = 2 if both else 1
        self.register_buffer("rates", torch.zeros(ways, 1, shape.states, shape.inner), persistent=False)

    def fold(self) -> None:
        """Computes once what depends on weights alone. Call it when they are loaded, and after every change."""
        with torch.no_grad():
            self.rates.copy_(torch.stack([-way.A_log.exp().T[None] for way in self._ways()]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Length × rows × width, as ``x``."""
        ways = self._ways()
        inner: list[torch.Tensor] = []
        gates: list[torch.Tensor] = []
        for way in ways:
            if way.in_proj is None:
                inner.append(inner[0])
                gates.append(gates[0])
            else:
                projected, gate = way.in_proj(x).chunk(2, dim=-1)
                inner.append(projected)
                gates.append(silu(gate))
        seen = [
            silu(way.convolve(each, reverse=at == 1)) for at, (way, each) in enumerate(zip(ways, inner, strict=True))
        ]
        scanned = self._scan(seen)
        found = [y + way.D * c for way, y, c in zip(ways, scanned, seen, strict=True)]
        if len(ways) == 2 and ways[1].out_proj is None and self.strategy == "add":
            together = self._out(0, (found[0] + found[1]) * gates[0])
            return together + self._projection(0).bias if self.biased else together
        results = [self._out(at, y * gates[at]) for at, y in enumerate(found)]
        if len(results) == 1:
            return results[0]
        return results[0] + results[1] if self.strategy == "add" else results[0] * results[1]

    def _ways(self) -> list[Direction]:
        return [self.mamba_fwd] if self.mamba_rev is None else [self.mamba_fwd, self.mamba_rev]

    def _projection(self, at: int) -> nn.Linear:
        """Out of the mixer, from this direction; the second one may share the first one's."""
        own = self._ways()[at].out_proj
        projection = self.mamba_fwd.out_proj if own is None else own
        assert projection is not None
        return projection

    def _out(self, at: int, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self._projection(at)(x)
        return result

    def _scan(self, seen: list[torch.Tensor]) -> list[torch.Tensor]:
        """What the states of each direction give, all in the order of the row; both run through one scan."""
        made = []
        for at, (way, x) in enumerate(zip(self._ways(), seen, strict=True)):
            delta, inward, outward = way.parameters_of(x)
            steps = (delta, delta * x, inward, outward)
            made.append(steps if at == 0 else tuple(each.flip(0) for each in steps))
        delta, driven, inward, outward = (torch.stack(each, dim=1) for each in zip(*made, strict=True))
        y = selective_scan(delta, driven, self.rates, inward, outward)
        return [y[:, 0], y[:, 1].flip(0)] if len(made) == 2 else [y[:, 0]]
