"""The C library's allocator is asked for one arena."""

from __future__ import annotations

import platform

import pytest

from edgeseq.allocator import one_arena


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas")
def test_glibc_takes_the_wish() -> None:
    assert one_arena()
