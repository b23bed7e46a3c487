"""Causal convolution of each channel with constant taps, a hundred or so: block by block, in frequencies.

A block of ``R² / 2`` positions sees itself and the block before it; with at most that many taps, the second half of the
circular convolution of both is what the block gives (overlap and save). The matrices are those of
`export.operators.long_convolution`, and here everything but the values is constant, the spectrum of the taps included.
"""

from __future__ import annotations

import torch

from export.operators.engine import exporting
from export.operators.long_convolution import (
    back_matrix,
    first_matrix,
    product,
    reshape,
    second_matrices,
    taps_spectrum,
)


def radix_of(taps: int) -> int:
    """The radix for so many taps."""
    radix = 8
    while radix * radix // 2 < taps:
        radix *= 2
    return radix


def block_spectrum(taps: torch.Tensor) -> torch.Tensor:
    """What `block_convolution` needs of ``taps`` (K × channels)."""
    return taps_spectrum(taps, radix_of(taps.shape[0]))


def block_convolution(x: torch.Tensor, taps: torch.Tensor, spectrum: torch.Tensor) -> torch.Tensor:
    """``y[t] = sum of taps[j] x[t - j]`` over the taps (K × channels): batch × length × channels."""
    length = x.shape[1]
    if not exporting():
        points = 2 * length
        spectra = torch.fft.rfft(x.transpose(1, 2), n=points), torch.fft.rfft(taps[:length].T, n=points)
        return torch.fft.irfft(spectra[0] * spectra[1], n=points)[..., :length].transpose(1, 2)
    radix, channels, batch = radix_of(taps.shape[0]), x.shape[2], x.shape[0]
    half, block = radix // 2, radix * radix // 2
    blocks = (length + block - 1) // block
    padded = torch.nn.functional.pad(x, (0, 0, block, blocks * block - length))
    before = reshape(padded[:, :-block], (0, -1, block, channels), (batch, blocks, block, channels))
    after = reshape(padded[:, block:], (0, -1, block, channels), (batch, blocks, block, channels))
    second = second_matrices(radix)
    outer = (batch, blocks)
    stage = reshape(torch.cat((before, after), dim=2), (0, 0, radix, -1), (*outer, radix, radix * channels))
    stage = product(first_matrix(radix, radix), stage, (*outer, radix + 2, radix * channels))
    stage = reshape(stage, (0, 0, half + 1, 2 * radix, channels), (*outer, half + 1, 2 * radix, channels))
    stage = product(second, stage, (*outer, half + 1, 2 * radix, channels))
    found = (half + 1) * radix
    stage = reshape(stage, (0, 0, found, 2, channels), (*outer, found, 2, channels))
    stage = stage[:, :, :, :1] * spectrum[:, 0] + stage[:, :, :, 1:] * spectrum[:, 1]
    stage = reshape(stage, (0, 0, half + 1, 2 * radix, channels), (*outer, half + 1, 2 * radix, channels))
    stage = product(second, stage, (*outer, half + 1, 2 * radix, channels), transposed=True)
    stage = reshape(stage, (0, 0, radix + 2, -1), (*outer, radix + 2, radix * channels))
    stage = product(back_matrix(radix, radix)[half:], stage, (*outer, half, radix * channels))
    return reshape(stage, (0, -1, channels), (batch, blocks * block, channels))[:, :length]
