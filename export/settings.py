"""Values from a checkpoint's configuration, each checked where it is taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from export.errors import CheckpointError

Value = TypeVar("Value")
_REQUIRED = object()


class Settings:
    """A configuration, read key by key. Every method raises `CheckpointError` naming the key.

    A key that is absent, or null, gives ``default``; without a default it is an error.
    """

    def __init__(self, config: Mapping[str, Any], source: object) -> None:
        self._config = config
        self._source = source

    def __contains__(self, key: str) -> bool:
        return self._config.get(key) is not None

    def whole(self, key: str, default: Any = _REQUIRED, *, least: int = 1) -> int:
        """A whole number of at least ``least``."""
        value = self._take(key, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            self.refuse(key, f"is {value!r}, not a whole number of {least} or more")
        return int(value)

    def number(self, key: str, default: Any = _REQUIRED) -> float:
        """A finite number."""
        value = self._take(key, default)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) < float("inf"):
            self.refuse(key, f"is {value!r}, not a number")
        return float(value)

    def flag(self, key: str, default: Any = _REQUIRED) -> bool:
        """True or false."""
        value = self._take(key, default)
        if not isinstance(value, bool):
            self.refuse(key, f"is {value!r}, neither true nor false")
        return bool(value)

    def text(self, key: str, default: Any = _REQUIRED, *, choices: tuple[str, ...] = ()) -> str:
        """A word, one of ``choices`` where there are any."""
        value = self._take(key, default)
        if not isinstance(value, str) or (choices and value not in choices):
            known = f"; known: {', '.join(choices)}" if choices else ""
            self.refuse(key, f"is {value!r}{known}")
        return str(value)

    def wholes(self, key: str, default: Any = _REQUIRED) -> tuple[int, ...]:
        """A list of whole numbers, 0 and up."""
        value = self._take(key, default)
        if not isinstance(value, (list, tuple)) or any(not isinstance(one, int) or one < 0 for one in value):
            self.refuse(key, f"is {value!r}, not a list of whole numbers")
        return tuple(value)

    def heads(self, key: str, layers: int, heads: int) -> tuple[int, ...]:
        """How many heads each layer has left, where the key lists pruned ones by layer (``{"0": [2, 5]}``); none where
        it lists nothing."""
        value = self._take(key, {})
        if not isinstance(value, Mapping):
            self.refuse(key, f"is {value!r}, not layers with their pruned heads")
        left = [heads] * layers
        for layer, gone in value.items():
            numbers = set(gone) if isinstance(gone, (list, tuple)) else {-1}
            if not str(layer).isdigit() or int(layer) >= layers or not numbers <= set(range(heads)):
                self.refuse(key, f"has {layer!r}: {gone!r}; the model has {layers} layers of {heads} heads")
            left[int(layer)] -= len(numbers)
        if 0 in left:
            self.refuse(key, f"leaves layer {left.index(0)} no head")
        return tuple(left) if value else ()

    def inner(self, key: str) -> Settings:
        """The settings under a key; none where it is absent."""
        value = self._take(key, {})
        if not isinstance(value, Mapping):
            self.refuse(key, f"is {value!r}, not a group of settings")
        return Settings(value, f"{self._source}: {key}")

    def labels(self) -> tuple[str, ...]:
        """The names of the classes: ``id2label`` in the order of its numbers, else as many numbers as ``num_labels``
        (``LABEL_0`` …); none where the configuration has neither."""
        named = self._config.get("id2label")
        if isinstance(named, Mapping) and named:
            try:
                return tuple(str(named[key]) for key in sorted(named, key=int))
            except ValueError:
                self.refuse("id2label", "has keys that are not numbers")
        count = self._config.get("num_labels")
        return tuple(f"LABEL_{number}" for number in range(count)) if isinstance(count, int) else ()

    def refuse(self, key: str, problem: str) -> None:
        """Raises `CheckpointError` for a key."""
        raise CheckpointError(self._source, f"{key} {problem}")

    def _take(self, key: str, default: Any) -> Any:
        value = self._config.get(key)
        if value is None:
            if default is _REQUIRED:
                self.refuse(key, "is missing")
            return default
        return value
