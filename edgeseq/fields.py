"""Typed access to one JSON object, for files that must be exactly what they claim to be."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

Refuse = Callable[[str], NoReturn]
"""Raises the error of whoever reads the file; its argument is the sentence with the key path in it."""


def parse_object(data: bytes, refuse: Refuse) -> dict[str, Any]:
    """The one JSON object that ``data`` holds, in UTF-8.

    Keys that occur twice, ``NaN`` and ``Infinity``, absurd nesting and any other top-level value are refused.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                refuse(f"key {key!r} occurs twice")
            found[key] = value
        return found

    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=unique,
            parse_constant=lambda name: refuse(f"{name} is not a number"),
        )
    except (ValueError, RecursionError) as error:
        refuse(f"not JSON: {error}")
    if not isinstance(value, dict):
        refuse("not a JSON object")
    return value


class Fields:
    """The keys of one JSON object, taken one by one; `finish` refuses those that nobody took."""

    def __init__(self, value: object, where: str, refuse: Refuse) -> None:
        if not isinstance(value, Mapping):
            refuse(f"{where or 'the file'} is {_kind(value)}, not an object")
        self._rest: dict[str, Any] = dict(value)
        self._where = where
        self._refuse = refuse

    def path(self, key: str) -> str:
        """``key`` with the keys above it, as in ``task.abstention.minimum_score``."""
        return f"{self._where}.{key}" if self._where else key

    def refuse(self, key: str, problem: str) -> NoReturn:
        """Raises, with the path of ``key`` before ``problem``."""
        self._refuse(f"{self.path(key)} {problem}")

    def take(self, key: str, *, optional: bool = False) -> Any:
        """The value of ``key``, unchecked; ``None`` for an optional key that is absent."""
        if key not in self._rest and not optional:
            self.refuse(key, "is missing")
        return self._rest.pop(key, None)

    def text(self, key: str, *, empty: bool = False) -> str:
        """A string without control characters."""
        value = self.take(key)
        if not isinstance(value, str):
            self.refuse(key, f"is {_kind(value)}, not text")
        if not value and not empty:
            self.refuse(key, "is empty")
        if any(ord(character) < 32 for character in value):
            self.refuse(key, "holds control characters")
        return value

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """One of ``choices``."""
        value = self.take(key)
        if not isinstance(value, str) or value not in choices:
            self.refuse(key, f"is {value!r}, not one of {', '.join(choices)}")
        return value

    def whole(self, key: str, *, least: int) -> int:
        """A whole number from ``least`` to 2**53."""
        value = self.take(key)
        if not isinstance(value, int) or isinstance(value, bool):
            self.refuse(key, f"is {_kind(value)}, not a whole number")
        if not least <= value <= 2**53:
            self.refuse(key, f"is {value}, not {least} or more")
        return value

    def number(self, key: str, *, least: float = 0.0, most: float = math.inf, positive: bool = False) -> float:
        """A finite number from ``least`` to ``most``; larger than zero if ``positive``."""
        return self._check_number(key, self.take(key), least, most, positive)

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self.take(key)
        if not isinstance(value, bool):
            self.refuse(key, f"is {_kind(value)}, not true or false")
        return value

    def items(self, key: str) -> list[Any]:
        """A list, its elements unchecked."""
        value = self.take(key)
        if not isinstance(value, list):
            self.refuse(key, f"is {_kind(value)}, not a list")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        """A free-form object."""
        value = self.take(key)
        if not isinstance(value, dict):
            self.refuse(key, f"is {_kind(value)}, not an object")
        return value

    def numbers(self, key: str, *, least: float, most: float) -> dict[str, float]:
        """An object whose values are numbers from ``least`` to ``most``."""
        found = self.mapping(key)
        return {name: self._check_number(f"{key}.{name}", value, least, most, False) for name, value in found.items()}

    def inner(self, key: str) -> Fields:
        """The object under ``key``."""
        return Fields(self.take(key), self.path(key), self._refuse)

    def inners(self, key: str) -> list[Fields]:
        """The objects of the list under ``key``."""
        return [Fields(value, f"{self.path(key)}[{i}]", self._refuse) for i, value in enumerate(self.items(key))]

    def finish(self) -> None:
        """Refuses keys that nobody took: a runtime that skips what it does not know could score wrongly."""
        for key in self._rest:
            self.refuse(key, "is not a key of this format version")

    def _check_number(self, key: str, value: object, least: float, most: float, positive: bool) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            self.refuse(key, f"is {_kind(value)}, not a number")
        if not math.isfinite(value) or not least <= value <= most:
            self.refuse(key, f"is {value}, not between {least:g} and {most:g}")
        if positive and value <= 0:
            self.refuse(key, f"is {value}, not larger than 0")
        return float(value)


def _kind(value: object) -> str:
    """What a JSON value is called."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "an object"
