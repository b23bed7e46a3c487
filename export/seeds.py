"""Canonical spaced seeds of a DNA window as table rows: the same for both strands, computed without a loop over bases.

A seed is a palindromic pattern of sampled positions. Its code reads the sampled bases as a number in base four; the
smaller of the code and its reverse complement's is taken modulo a prime table size. Seeds that touch N or padding take
the row after the table's last.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Seed:
    """``pattern`` like ``11011011011011``; ``rows`` the (prime) number of table rows."""

    pattern: str
    rows: int

    def __post_init__(self) -> None:
        if self.pattern != self.pattern[::-1] or self.pattern[0] != "1":
            raise ValueError(f"seed pattern {self.pattern} is not a palindrome that starts with 1")
        if self.weight > 12:
            raise ValueError("a seed samples at most 12 bases: larger codes are not exact in float32")

    @property
    def offsets(self) -> tuple[int, ...]:
        return tuple(offset for offset, mark in enumerate(self.pattern) if mark == "1")

    @property
    def weight(self) -> int:
        return self.pattern.count("1")

    @property
    def span(self) -> int:
        return len(self.pattern)


def seed_rows(codes: Tensor, seed: Seed) -> Tensor:
    """Table row of the seed at each position, int32 (batch × length), for base codes 0–3 (4 and 5: unknown, padding).

    The last span − 1 positions have no seed: they take the row ``seed.rows``, as do seeds that touch an unknown base.
    """
    length = max(codes.shape[1] - seed.span + 1, 0)
    base = codes.to(torch.int32)
    known = codes < 4
    forward = torch.zeros((codes.shape[0], length), dtype=torch.int32)
    reverse = torch.zeros_like(forward)
    valid = torch.ones_like(forward, dtype=torch.bool)
    for power, offset in enumerate(seed.offsets):
        sampled = base[:, offset : offset + length]
        forward = forward * 4 + sampled
        reverse += (3 - sampled) << (2 * power)
        valid &= known[:, offset : offset + length]
    row = torch.minimum(forward, reverse) % seed.rows
    row = torch.where(valid, row, seed.rows)
    return torch.nn.functional.pad(row, (0, codes.shape[1] - length), value=seed.rows)
