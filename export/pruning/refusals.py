"""Cuts that a model cannot take, or not together."""

from __future__ import annotations

from collections.abc import Sequence

from quantize.prune.anatomy import Anatomy
from quantize.prune.errors import PruneError

_AFTER = "make one cut, then the other of what it wrote"


def refuse(anatomy: Anatomy, names: Sequence[str], kinds: Sequence[str]) -> None:
    """Raises `PruneError` for the first of ``names`` that the model cannot lose, and for two cuts of one tensor;
    ``kinds`` are those names that are kinds of units."""
    able = {kind.name for kind in anatomy.kinds} | set(anatomy.rewrites)
    able |= {"layers"} if anatomy.stack is not None else set()
    for name in names:
        if name not in able:
            reason = anatomy.refusals.get(name, "the model has none")
            raise PruneError(f"--{name}", reason, remedy=f"it can lose {', '.join(sorted(able)) or 'nothing'}")
    for first, second in anatomy.apart:
        if {first, second} <= set(names):
            raise PruneError(f"--{first} and --{second}", "the one lays out anew what the other cuts", remedy=_AFTER)
    seen: dict[tuple[str, int], str] = {}
    for name in kinds:
        kind = anatomy.kind(name)
        for place in [place for units in kind.units for place in units.places] if kind is not None else ():
            other = seen.setdefault((place.tensor, place.axis), name)
            if other != name:
                raise PruneError(f"--{other} and --{name}", f"both cut {place.tensor}", remedy=_AFTER)
