"""How passes work: what every one of them may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Settings:
    """``reduce_range``: weights of 7 bits where they meet 8-bit activations, so that no 16-bit sum of two products
    clips. ``per_channel``: a scale for each output channel. ``block``: weights that share a scale, in weight-only
    formats. ``ranges``: tensor → lowest and highest value, for static formats. ``processors``: whether nothing but
    processors will run the graph, whose own fused operators then stand for what every provider reads."""

    reduce_range: bool = True
    per_channel: bool = True
    block: int = 32
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    processors: bool = False

    @property
    def limit(self) -> int:
        """The largest weight of 8-bit products."""
        return 63 if self.reduce_range else 127
