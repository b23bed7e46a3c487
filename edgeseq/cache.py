"""The folder where edgeseq remembers what it measured: always safe to delete, never needed."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/edgeseq``, or ``~/.cache/edgeseq``; it may not exist yet.

    Without a home folder (a service user) the path is below ``/nonexistent``: nothing is remembered.
    """
    root = os.environ.get("XDG_CACHE_HOME", "")
    if root and Path(root).is_absolute():
        return Path(root) / "edgeseq"
    try:
        return Path.home() / ".cache" / "edgeseq"
    except RuntimeError:
        return Path("/nonexistent/edgeseq")


def recall(name: str) -> dict[str, Any] | None:
    """What `remember` stored under ``name``; ``None`` where nothing is stored or it cannot be read."""
    try:
        value = json.loads((cache_folder() / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def remember(name: str, value: Mapping[str, Any]) -> bool:
    """Whether ``value`` is stored now. A full disk or a read-only home is no error: it is measured again next time."""
    path = cache_folder() / name
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(value), encoding="utf-8")
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        return False
    return True
