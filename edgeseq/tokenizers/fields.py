"""Typed reading of a tokenizer specification."""

from __future__ import annotations

from collections.abc import Mapping

from edgeseq.errors import TokenizerError

HIGHEST_ID = 2**31 - 1


class Fields:
    """The entries of one specification, each read once and checked; `done` refuses entries that nobody read."""

    def __init__(self, spec: Mapping[str, object]) -> None:
        self._left = dict(spec)
        self.kind = self.text("type")

    def _take(self, name: str, expected: str) -> object:
        if name not in self._left:
            raise TokenizerError(f"tokenizer specification: {name!r} is missing; expected {expected}")
        return self._left.pop(name)

    def has(self, name: str) -> bool:
        """Whether the entry is there and is not null; a null entry counts as read."""
        if self._left.get(name) is None:
            self._left.pop(name, None)
            return False
        return True

    def text(self, name: str, default: str | None = None, *, choices: tuple[str, ...] = ()) -> str:
        """A string entry, one of ``choices`` where given. Raises `TokenizerError`."""
        if default is not None and not self.has(name):
            return default
        value = self._take(name, "text")
        if not isinstance(value, str) or (choices and value not in choices):
            expected = " or ".join(map(repr, choices)) or "text"
            raise TokenizerError(f"tokenizer specification: {name!r} is {value!r}; expected {expected}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """A true or false entry. Raises `TokenizerError`."""
        value = self._take(name, "true or false") if self.has(name) else default
        if not isinstance(value, bool):
            raise TokenizerError(f"tokenizer specification: {name!r} is {value!r}; expected true or false")
        return value

    def number(self, name: str, default: int | None = None, *, least: int = 0) -> int:
        """A whole number from ``least`` to the highest token id, 2^31 - 1. Raises `TokenizerError`."""
        if default is not None and not self.has(name):
            return default
        return _number(name, self._take(name, "a number"), least)

    def numbers(self, name: str) -> tuple[int, ...]:
        """A list of token ids; empty where the entry is absent. Raises `TokenizerError`."""
        if not self.has(name):
            return ()
        value = self._take(name, "a list of ids")
        if not isinstance(value, list | tuple):
            raise TokenizerError(f"tokenizer specification: {name!r} is {value!r}; expected a list of ids")
        return tuple(_number(name, each, 0) for each in value)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings; empty where the entry is absent. Raises `TokenizerError`."""
        if not self.has(name):
            return ()
        value = self._take(name, "a list of texts")
        if not isinstance(value, list | tuple) or not all(isinstance(each, str) and each for each in value):
            raise TokenizerError(f"tokenizer specification: {name!r} is {value!r}; expected a list of texts")
        return tuple(value)

    def ids(self, name: str, *, letters: bool) -> dict[str, int]:
        """An object of text → id; empty where the entry is absent. Raises `TokenizerError`.

        ``letters``: each text is one ASCII character, and there is at least one.
        """
        if not letters and not self.has(name):
            return {}
        value = self._take(name, "an object of token ids")
        if not isinstance(value, Mapping) or not all(isinstance(key, str) and key for key in value):
            raise TokenizerError(f"tokenizer specification: {name!r} is {value!r}; expected an object of token ids")
        if letters and not (value and all(len(key) == 1 and key.isascii() for key in value)):
            raise TokenizerError(f"tokenizer specification: {name!r} must map single ASCII letters to ids")
        return {str(key): _number(f"{name}.{key}", each, 0) for key, each in value.items()}

    def done(self) -> None:
        """Raises `TokenizerError` where an entry is left that this version of the runtime does not know."""
        if self._left:
            names = ", ".join(sorted(map(repr, self._left)))
            raise TokenizerError(f"tokenizer specification: {self.kind!r} tokenizers have no {names}")


def _number(name: str, value: object, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= HIGHEST_ID:
        raise TokenizerError(f"tokenizer specification: {name!r} is {value!r}; expected a number of {least} or more")
    return value
