"""How the interpreter runs while reads are scored by the thousand."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SWITCH = 0.0005
"""Seconds after which a thread hands the interpreter to one that waits: a worker back from the engine, mostly."""
YOUNG = 20_000
"""New objects before the garbage collector looks at them: more than the reads under way are made of."""


@contextmanager
def favoured() -> Iterator[None]:
    """Settings of the whole process that favour throughput over the interpreter's defaults; put back at the end.

    For programs whose process is their own, such as the command line; a library has no business with them.
    """
    switch, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(SWITCH)
    gc.set_threshold(YOUNG, *thresholds[1:])
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        sys.setswitchinterval(switch)
