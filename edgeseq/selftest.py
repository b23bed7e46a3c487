"""The self-test: does this engine on this machine give what the bundle's maker got?

A graph can load and still be wrong: another instruction set, another engine version, a provider with its own kernels.
The golden cases say. They run once for each bundle, engine and processor; the result is remembered in the user's cache.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq import __version__
from edgeseq.bundle import Bundle
from edgeseq.cache import recall, remember
from edgeseq.cpu import read_cpu
from edgeseq.errors import EngineError, SelfTestError
from edgeseq.session import VERSION, Session


@dataclass(frozen=True, slots=True)
class SelfTestReport:
    """``deltas``: output name → largest absolute difference over all cases. ``remembered``: from an earlier run."""

    deltas: Mapping[str, float]
    tolerance: float
    cases: int
    provider: str
    remembered: bool = False


def self_test(bundle: Bundle, session: Session, *, again: bool = False) -> SelfTestReport:
    """How far ``session``, which runs the graph of ``bundle``, is from the golden outputs.

    A test that passed before on this machine is not repeated unless ``again``. Raises SelfTestError where an output is
    missing, has another shape, is not finite or differs by more than the bundle's tolerance, and where the engine
    fails.
    """
    golden = bundle.golden_cases()
    name = f"selftest/{_key(bundle, session)}.json"
    known = None if again else _recall(name)
    if known is not None:
        return SelfTestReport(known, golden.tolerance, len(golden.cases), session.provider, remembered=True)
    deltas: dict[str, float] = {}
    for number, case in enumerate(golden.cases):
        try:
            found = session.run(case.inputs)
        except EngineError as error:
            raise SelfTestError(bundle.path, f"golden case {number}: {error}") from error
        for output, expected in case.outputs.items():
            delta = _delta(found.get(output), expected)
            if not delta <= golden.tolerance:
                what = f"is {delta:.3g} away" if math.isfinite(delta) else "is missing, misshapen or not finite"
                raise SelfTestError(
                    bundle.path,
                    f"golden case {number}: {output} {what}, {golden.tolerance:g} is allowed "
                    f"(engine {VERSION}, {session.provider})",
                    remedy="this machine would score wrongly with this bundle; try another provider or engine version",
                )
            deltas[output] = max(delta, deltas.get(output, 0.0))
    remember(name, {"deltas": deltas})
    return SelfTestReport(deltas, golden.tolerance, len(golden.cases), session.provider)


def _delta(found: NDArray[Any] | None, expected: NDArray[Any]) -> float:
    """Largest absolute difference; infinite where the two cannot be compared."""
    if found is None or found.shape != expected.shape or not np.isfinite(found).all():
        return math.inf
    return float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max())


def _key(bundle: Bundle, session: Session) -> str:
    parts = (bundle.sha256, __version__, VERSION, session.provider, str(session.threads), read_cpu().identity)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _recall(name: str) -> dict[str, float] | None:
    """The deltas of an earlier test; ``None`` where there was none or its record is damaged."""
    deltas = (recall(name) or {}).get("deltas")
    if not isinstance(deltas, dict) or not deltas:
        return None
    return deltas if all(isinstance(delta, float) and math.isfinite(delta) for delta in deltas.values()) else None
