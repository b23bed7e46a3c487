"""Causal convolution with taps as long as the row, for any length in one graph (Hyena, Poli et al. 2023).

The engine's DFT operator is slow, and wrong for most lengths, so the graph holds the fast Fourier transform as three
products with matrices, in the layout (batch × length × channels), without a transpose and without a separate turn of
phases (Dao et al. 2022, "Monarch"). With ``R`` the radix and ``n`` the smallest whole number with ``R² n / 2`` at least
the length, time is ``t = n (R a + b) + c`` and frequency ``f = f1 + R f2 + R² f3`` for the transform of ``R² n``
points, whose second half of times is zero: enough for what comes out not to wrap around.

``a → f1``   constant matrix; the numbers are real, so that ``f1`` up to ``R / 2`` is enough
``b → f2``   one constant matrix for each ``f1``, with the phase between the two steps in it
``c → f3``   one matrix for each ``(f1, f2)``, made in the graph from ``n``: the only thing that depends on the length

Phases are reduced as whole numbers before they become angles, so that they are exact at any length. The way back is
the same three products, transposed.

Rows of up to `SHORT` positions take a shorter way, whatever the longest row of the model is: there ``n`` is 1 and the
third product nothing, and the spectrum of the filter's first taps is a constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from export.operators.choice import choose, length_of
from export.operators.engine import exporting, node

SHORT = 512
"""Positions of a row that takes the shorter way."""
_RADICES = ((4096, 16), (65536, 32), (262144, 64))
_LARGEST_RADIX = 128
_SHORT_RADIX = 32
_OPSET = 18


@dataclass(frozen=True, slots=True)
class Spectrum:
    """What the convolutions of one pass over rows of one length share."""

    length: int
    radix: int
    points: int
    """``n``."""
    last: torch.Tensor | None
    """The matrices of the third product: (frequencies ``f1, f2``) × 2 n × 2 n. Only in a graph."""
    scale: torch.Tensor | None
    """One over ``n``."""


def radix_for(longest: int) -> int:
    """The radix that is fast for short rows of a model whose rows have up to ``longest`` tokens, and that keeps the
    matrices made in the graph well below the size of the activations at ``longest``."""
    return next((radix for upto, radix in _RADICES if longest <= upto), _LARGEST_RADIX)


def spectrum(x: torch.Tensor, radix: int) -> Spectrum:
    """What `long_convolution` needs for rows of the length of ``x`` (batch × length × …)."""
    length = x.shape[1]
    if not exporting():
        return Spectrum(length, radix, 1, None, None)
    points = (2 * length + radix * radix - 1) // (radix * radix)
    return Spectrum(length, radix, points, _last_matrices(radix, points), 1.0 / _count(points))


def long_convolution(
    x: torch.Tensor, taps: Callable[[int], torch.Tensor], first: torch.Tensor, shared: Spectrum
) -> torch.Tensor:
    """``y[t] = sum of taps[s] x[t - s]`` over ``s`` from 0 to ``t``: (batch × length × channels).

    ``taps`` gives as many taps as it is asked for (× channels); ``first`` is `first_taps` of the same filter.
    """
    if exporting():
        return choose((length_of(x) <= SHORT)[0], _short(x, first), _products(x, taps(x.shape[1]), shared))
    points = 2 * shared.length
    spectra = torch.fft.rfft(x.transpose(1, 2), n=points), torch.fft.rfft(taps(shared.length).T, n=points)
    return torch.fft.irfft(spectra[0] * spectra[1], n=points)[..., : shared.length].transpose(1, 2)


def taps_spectrum(taps: torch.Tensor, radix: int) -> torch.Tensor:
    """The transform of ``taps`` (at most radix² × channels): frequencies × 2 × (re and im) × channels.

    The first of the two multiplies real parts, the second imaginary parts.
    """
    found = torch.fft.fft(taps.to(torch.float64), n=radix * radix, dim=0)
    f1, f2 = torch.arange(radix // 2 + 1)[:, None], torch.arange(radix)
    found = found[(f1 + radix * f2).flatten()]
    pairs = torch.stack((found.real, found.imag), dim=1), torch.stack((-found.imag, found.real), dim=1)
    return torch.stack(pairs, dim=1).to(torch.float32)


def first_taps(taps: torch.Tensor) -> torch.Tensor:
    """What `long_convolution` needs of the first taps (up to `SHORT` × channels) for short rows."""
    return taps_spectrum(taps[:SHORT], _SHORT_RADIX)


def _short(x: torch.Tensor, spectra: torch.Tensor) -> torch.Tensor:
    radix, channels, batch = _SHORT_RADIX, x.shape[2], x.shape[0]
    half, wide = radix // 2, radix * x.shape[2]
    first, second = first_matrix(radix, half), second_matrices(radix)
    length = length_of(x)
    pads = torch.cat((torch.zeros(4, dtype=torch.int64), SHORT - length, torch.zeros(1, dtype=torch.int64)))
    stage = node("Pad", (x, pads), (batch, SHORT, channels), x.dtype, domain="", version=_OPSET)
    stage = reshape(stage, (0, half, -1), (batch, half, wide))
    stage = product(first, stage, (batch, radix + 2, wide))
    stage = reshape(stage, (0, half + 1, 2 * radix, channels), (batch, half + 1, 2 * radix, channels))
    stage = product(second, stage, (batch, half + 1, 2 * radix, channels))
    found = (half + 1) * radix
    stage = reshape(stage, (0, found, 2, channels), (batch, found, 2, channels))
    stage = stage[:, :, :1] * spectra[:, 0] + stage[:, :, 1:] * spectra[:, 1]
    stage = reshape(stage, (0, half + 1, 2 * radix, channels), (batch, half + 1, 2 * radix, channels))
    stage = product(second, stage, (batch, half + 1, 2 * radix, channels), transposed=True)
    stage = reshape(stage, (0, radix + 2, -1), (batch, radix + 2, wide))
    stage = product(back_matrix(radix, half), stage, (batch, half, wide))
    stage = reshape(stage, (0, -1, channels), (batch, SHORT, channels))
    start, axis = torch.tensor([0]), torch.tensor([1])
    return node("Slice", (stage, start, length, axis), x.shape, x.dtype, domain="", version=_OPSET)


def _products(x: torch.Tensor, taps: torch.Tensor, shared: Spectrum) -> torch.Tensor:
    assert shared.last is not None
    assert shared.scale is not None
    radix, n, channels = shared.radix, shared.points, x.shape[2]
    half, rows = radix // 2, radix * radix * n // 2
    first, second = first_matrix(radix, half), second_matrices(radix)
    both = torch.cat((x, (taps * shared.scale)[None]))
    both = functional.pad(both, (0, 0, 0, rows - shared.length))
    batch = both.shape[0]
    wide = radix * n * channels
    stage = reshape(both, (0, half, -1), (batch, half, wide))
    stage = product(first, stage, (batch, radix + 2, wide))
    stage = reshape(stage, (0, half + 1, 2 * radix, -1), (batch, half + 1, 2 * radix, n * channels))
    stage = product(second, stage, (batch, half + 1, 2 * radix, n * channels))
    found = (half + 1) * radix
    stage = reshape(stage, (0, found, -1, channels), (batch, found, 2 * n, channels))
    stage = product(shared.last, stage, (batch, found, 2 * n, channels))
    stage = reshape(stage, (0, found, 2, -1), (batch, found, 2, n * channels))
    values, filters = stage[:-1], stage[-1:]
    turned = torch.cat((-filters[:, :, 1:], filters[:, :, :1]), dim=2)
    stage = values[:, :, :1] * filters + values[:, :, 1:] * turned
    batch = x.shape[0]
    stage = reshape(stage, (0, found, -1, channels), (batch, found, 2 * n, channels))
    stage = product(shared.last, stage, (batch, found, 2 * n, channels), transposed=True)
    stage = reshape(stage, (0, half + 1, 2 * radix, -1), (batch, half + 1, 2 * radix, n * channels))
    stage = product(second, stage, (batch, half + 1, 2 * radix, n * channels), transposed=True)
    stage = reshape(stage, (0, radix + 2, -1), (batch, radix + 2, wide))
    stage = product(back_matrix(radix, half), stage, (batch, half, wide))
    return reshape(stage, (0, -1, channels), (batch, rows, channels))[:, : shared.length]


def _turn(steps: torch.Tensor, points: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of ``steps`` of ``points`` parts of a full turn, for constant tables."""
    angles = (steps % points).to(torch.float64) * (2 * math.pi / points)
    return angles.cos().to(torch.float32), angles.sin().to(torch.float32)


def first_matrix(radix: int, times: int) -> torch.Tensor:
    """(f1, re and im) × the first so many ``a``."""
    cosines, sines = _turn(torch.outer(torch.arange(radix // 2 + 1), torch.arange(times)), radix)
    return torch.stack((cosines, -sines), dim=1).flatten(0, 1)


def back_matrix(radix: int, times: int) -> torch.Tensor:
    """The first so many ``a`` × (f1, re and im): frequencies that stand for their mirror images as well count twice."""
    weights = torch.full((radix // 2 + 1,), 2.0)
    weights[0] = weights[-1] = 1.0
    return (first_matrix(radix, times) * weights.repeat_interleave(2)[:, None] / radix**2).T.contiguous()


def second_matrices(radix: int) -> torch.Tensor:
    """f1 × (f2, re and im) × (re and im, b)."""
    f1, f2, b = torch.arange(radix // 2 + 1)[:, None, None], torch.arange(radix)[:, None], torch.arange(radix)
    cosines, sines = _turn(b * (f1 + radix * f2), radix**2)
    return _complexproduct(cosines, sines, between=2).reshape(radix // 2 + 1, 2 * radix, 2 * radix)


def _last_matrices(radix: int, points: int) -> torch.Tensor:
    """(f1, f2) × (re and im, f3) × (re and im, c), from a number of points that is only known when the graph runs."""
    f1, f2 = torch.arange(radix // 2 + 1)[:, None], torch.arange(radix)
    low = (f1 + radix * f2).reshape(-1, 1, 1)
    count = torch.arange(points)
    size = _count(points)
    steps = torch.remainder(count * (low + radix**2 * count[:, None]), radix**2 * size)
    angles = steps.to(torch.float32) * (2 * math.pi / radix**2) / size
    cosines, sines = angles.cos(), angles.sin()
    top, bottom = torch.cat((cosines, sines), dim=2), torch.cat((-sines, cosines), dim=2)
    return torch.cat((top, bottom), dim=1)


def _complexproduct(cosines: torch.Tensor, sines: torch.Tensor, *, between: int) -> torch.Tensor:
    """The product with ``cosines - i sines`` as one with real numbers: (…, f, re and im, re and im, t)."""
    rows = torch.stack((cosines, sines), dim=between), torch.stack((-sines, cosines), dim=between)
    return torch.stack(rows, dim=between)


def _count(points: int) -> torch.Tensor:
    """A number of the graph as a tensor."""
    return torch.ones(points, dtype=torch.int64).sum()


def reshape(x: torch.Tensor, to: tuple[int, ...], shape: tuple[int, ...]) -> torch.Tensor:
    """``x`` in another shape, by a constant (0: as it is, -1: the rest) rather than by arithmetic in the graph."""
    return node("Reshape", (x, torch.tensor(to)), shape, x.dtype, domain="", version=_OPSET)


def product(
    left: torch.Tensor, right: torch.Tensor, shape: tuple[int, ...], *, transposed: bool = False
) -> torch.Tensor:
    """The product of a matrix (or several), ``transposed`` if asked, with another that has ``shape``."""
    if transposed:
        return node("FusedMatMul", (left, right), shape, right.dtype, {"transA": 1, "alpha": 1.0})
    return node("MatMul", (left, right), shape, right.dtype, domain="", version=_OPSET)
