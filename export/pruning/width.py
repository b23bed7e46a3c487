"""Channels of a whole network that are heads times the size of a head: both leave together, so that the size stays.

Every layer loses as many heads (or channels inside its mixer) as the network loses channels; which ones, each layer
chooses for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from export.pruning.names import Names
from quantize.prune.anatomy import Config, Kept, Kind
from quantize.prune.errors import PruneError
from quantize.prune.units import Place, Units


def width_kind(
    outer: Units,
    inner: Sequence[Units],
    heads: int,
    configure: Callable[[Config, Kept], None],
    *,
    one_by_one: bool = False,
    exact: bool = False,
    note: str = "",
    rescale: Callable[[dict[str, Any], Kept], None] | None = None,
) -> Kind:
    """The kind ``width``: channels between the layers, then what leaves inside each of them.

    ``inner`` are the parts inside each layer, of which the same share leaves. ``one_by_one``: they are heads, of which
    as many leave each layer, even one that lost some before.
    """

    def counts(share: float) -> list[int]:
        able = {left: stay for left in range(1, heads + 1) if (stay := stays(left))}
        if len(able) < 2:
            raise PruneError(f"--width {share:g}", f"no number of {heads} heads can leave all layers")
        return able[min(able, key=lambda left: (abs(left - heads * (1 - share)), left))]

    def stays(left: int) -> list[int]:
        """What stays with ``left`` heads; nothing where some part has no whole number of units for it, or none."""
        each = [Fraction(part.count * left, heads) for part in inner]
        if one_by_one:
            each = [Fraction(part.count - heads + left) for part in inner]
        whole = [outer.count * left // heads, *map(int, each)]
        return whole if all(one >= 1 and one.denominator == 1 for one in each) else []

    parts = (outer, *inner)
    return Kind("width", parts, configure, exact=exact, note=note, rescale=rescale, counts=counts)


def distinct(places: Sequence[Place]) -> tuple[Place, ...]:
    """Each tensor's axis once: second names of one tensor are described more than once."""
    return tuple({(place.tensor, place.axis): place for place in places}.values())


def head_places(names: Names, entries: Any) -> list[Place]:
    """The channels of heads of BERT's kind. Those behind their dense layer count as the network's: a tied decoder is
    the table of words."""
    places = names.norm("head.norm", entries)
    for own in ("head.dense", "head.pooler"):
        places += names.linear(own, rows=entries, columns=entries)
    for own in ("head.decoder", "head.classifier"):
        places += names.linear(own, columns=entries)
    return places
