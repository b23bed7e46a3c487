"""Long filters that are sums of exponentials, ``h[t] = Σ r p^t``, with fewer of them: balanced truncation (Moore 1981).

A filter with ``n`` modes is a diagonal state space with poles ``p``, inputs 1 and outputs ``r``. Its Gramians are known
in closed form, ``1 / (1 - p_i p̄_j)`` and ``r̄_i r_j / (1 - p̄_i p_j)``; the Hankel singular values ``σ`` are the roots of
the eigenvalues of their product. What is left after truncation to order ``k`` differs from the whole by at most
``2 (σ_{k+1} + … + σ_n)`` in the gain from input to output in the 2-norm (Glover 1984): ``‖y - ŷ‖₂ ≤ bound · ‖u‖₂``. The
eigenvalues of the truncated system are its poles, so that it is a sum of exponentials again.

Real filters have real positive poles where they are stored as logarithms. Truncation gives such poles where the
residues have one sign; where it does not, the ``k`` modes that matter most stay, and their residues are fitted anew
over the longest row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from quantize.prune.errors import PruneError

_NEGLIGIBLE = 1e-13
"""Hankel singular values below this part of the largest are rounding: their modes leave at no cost."""
_TAIL = 1e-12
"""Of the first tap: smaller ones no longer count for the 1-norm of what is left out."""
_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Reduced:
    """One filter with fewer modes."""

    poles: torch.Tensor
    """(k,), complex."""
    residues: torch.Tensor
    """(k,), complex."""
    singular: torch.Tensor
    """The Hankel singular values of the whole filter, falling."""
    bound: float
    """Of the gain of the difference in the 2-norm; for a filter that was fitted, ``left``, which bounds it for rows up
    to the longest."""
    left: float
    """``‖h - ĥ‖₁`` over the longest row: ``|y - ŷ| ≤ left · max |u|`` at every position."""
    whole: float
    """``‖h‖₁`` over the longest row."""
    fitted: bool


def hankel_singular_values(poles: torch.Tensor, residues: torch.Tensor) -> torch.Tensor:
    """Of one filter ((n,) each, complex), falling. Raises `PruneError` for a pole that does not fade."""
    return _balance(poles, residues)[0]


def reduce_filter(
    poles: torch.Tensor, residues: torch.Tensor, order: int, length: int, *, positive: bool = False
) -> Reduced:
    """A filter ((n,) poles and residues, complex) with ``order`` modes, for rows of up to ``length`` positions.

    ``positive`` asks for poles that are real and above 0. Where the filter has fewer modes than ``order`` that count,
    the rest have the residue 0. Raises `PruneError` for a pole that does not fade: its Gramians do not exist.
    """
    poles, residues = poles.to(torch.complex128), residues.to(torch.complex128)
    singular, outward, inward = _balance(poles, residues)
    counting = int((singular > _NEGLIGIBLE * singular[:1]).sum())
    kept = min(order, counting)
    scale = singular[:kept].to(torch.complex128) ** -0.5
    into, out = inward[:, :kept] * scale, outward[:, :kept] * scale
    state = out.mH @ (poles[:, None] * into)
    new, vectors = torch.linalg.eig(state)
    drive = torch.linalg.solve(vectors, out.mH @ torch.ones_like(poles)) if kept else new
    found = (residues @ into @ vectors) * drive
    whole, fitted = _taps(poles, residues, length), False
    if positive and kept and not _is_positive(new, found):
        new, found = _fit(poles, residues, kept, whole)
        fitted = True
    left = float((whole - _taps(new, found, length)).real.abs().sum())
    missing = order - kept
    filler = torch.full((missing,), 0.5, dtype=torch.complex128)
    return Reduced(
        torch.cat((new, filler)),
        torch.cat((found, torch.zeros_like(filler))),
        singular,
        left if fitted else 2 * float(singular[kept:].sum()),
        left,
        float(whole.real.abs().sum()),
        fitted,
    )


def _balance(poles: torch.Tensor, residues: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hankel singular values, and the factors whose scaled columns lead out of and into the balanced coordinates."""
    poles, residues = poles.to(torch.complex128), residues.to(torch.complex128)
    if not bool((poles.abs() < 1).all()):
        raise PruneError(
            "--modes",
            f"a long filter has a pole of size {float(poles.abs().max()):.6g}, which does not fade; "
            "balanced truncation has no bound for it",
        )
    gap = 1 - poles[:, None] * poles.conj()
    reach = _factor(1 / gap)
    seen = _factor(residues.conj()[:, None] * residues / gap.conj())
    u, singular, v = torch.linalg.svd(seen.mH @ reach)
    return singular, seen @ u, reach @ v.mH


def _factor(gramian: torch.Tensor) -> torch.Tensor:
    """``F`` with ``F F* = gramian``; eigenvalues that rounding made negative are 0."""
    values, vectors = torch.linalg.eigh((gramian + gramian.mH) / 2)
    factor: torch.Tensor = vectors * values.clamp(min=0).sqrt().to(vectors.dtype)
    return factor


def _taps(poles: torch.Tensor, residues: torch.Tensor, length: int) -> torch.Tensor:
    """``h[t]`` for ``t`` below ``length``, complex, stopped early where nothing is left of it."""
    found = torch.zeros(length, dtype=torch.complex128)
    for first in range(0, length, _BLOCK):
        times = torch.arange(first, min(first + _BLOCK, length), dtype=torch.float64)
        found[first : first + len(times)] = (poles[None] ** times[:, None]) @ residues
        largest = float((residues.abs() * poles.abs() ** float(times[-1])).sum()) if len(poles) else 0.0
        if largest < _TAIL * float(residues.abs().sum()) or not len(poles):
            break
    return found


def _is_positive(poles: torch.Tensor, residues: torch.Tensor) -> bool:
    real = poles.imag.abs() <= 1e-9 * poles.abs()
    return bool((real & (poles.real > 0)).all()) and bool((residues.imag.abs() <= 1e-6 * residues.abs().max()).all())


def _fit(
    poles: torch.Tensor, residues: torch.Tensor, order: int, whole: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The modes with the most energy of their own, their residues fitted to the filter by least squares."""
    energy = residues.abs() ** 2 / (1 - poles.abs() ** 2)
    chosen = energy.argsort(descending=True, stable=True)[:order].sort().values
    kept = poles[chosen]
    length = min(len(whole), _BLOCK)
    basis = (kept[None] ** torch.arange(length, dtype=torch.float64)[:, None]).real
    solution = torch.linalg.lstsq(basis, whole[:length].real[:, None], driver="gelsd").solution[:, 0]
    return kept, solution.to(torch.complex128)
