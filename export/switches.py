"""Settings of a configuration that change what a model computes, and that a family does not implement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from export.checkpoint import Checkpoint
from export.errors import FamilyError


def refuse_switches(checkpoint: Checkpoint, known: Mapping[str, tuple[Any, ...]], reason: str = "") -> None:
    """Raises `FamilyError`, with key and value, where a key of ``known`` has another value than those listed.

    A key that is absent, null, or an empty group is never refused.
    """
    for key, values in known.items():
        value = checkpoint.config.get(key)
        if value is None or value == {} or value == [] or any(value is one or value == one for one in values):
            continue
        listed = " or ".join(repr(one) for one in values) or "none"
        raise FamilyError(
            checkpoint.config_file,
            f"{key} is {value!r}, which changes what the model computes and is not implemented (only {listed})",
            remedy=reason,
        )
