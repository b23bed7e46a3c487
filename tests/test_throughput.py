"""Settings of the interpreter are those of a run while it lasts, and the old ones after it."""

from __future__ import annotations

import gc
import sys

import pytest

from edgeseq.throughput import SWITCH, YOUNG, favoured


def settings() -> tuple[float, tuple[int, int, int], int]:
    return sys.getswitchinterval(), gc.get_threshold(), gc.get_freeze_count()


def test_settings_hold_for_the_run_alone() -> None:
    before = settings()
    with favoured():
        assert sys.getswitchinterval() == pytest.approx(SWITCH)
        assert gc.get_threshold()[0] == YOUNG
    assert settings() == before


def test_settings_are_put_back_after_an_error() -> None:
    before = settings()
    with pytest.raises(KeyboardInterrupt), favoured():
        raise KeyboardInterrupt
    assert settings() == before
