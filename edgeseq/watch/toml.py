"""Frozen dataclasses from TOML, strictly: every problem of a file is found at once, with its line, key and remedy.

The dataclass is the schema: its fields are the keys, their types and defaults are what is allowed and what holds where
a key is absent. `Rule` adds ranges. Values whose field is not shown (``repr=False``) are secrets: they come from a file
named by ``KEY_file`` or from the environment.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import stat
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from edgeseq.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Made = TypeVar("Made")

REFUSED = ("token", "password")
"""Secrets that are never written into the configuration itself."""
_SECRET_HEADER = re.compile(r"authorization|cookie|token|secret|key|password", re.IGNORECASE)
_UNITS = {"": 1, "B": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("kMGT", 1)
    for base, suffix in ((1000, ""), (1000, "B"), (1024, "iB"))
}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kKMGT]?i?B?)")
_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    tuple: "a list",
    dict: "a table",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """What a value has to keep to. ``above`` leaves out the lower end, ``below`` the upper one; ``size`` also takes
    ``"20 GB"``."""

    low: float | None = None
    high: float | None = None
    above: bool = False
    below: bool = False
    size: bool = False

    def broken_by(self, value: float) -> str:
        """The sentence for a value that is outside, or nothing."""
        low, high = self.low, self.high
        if low is not None and (value < low or (self.above and value == low)):
            return f"is {_figure(value)}; it has to be {'more than' if self.above else 'at least'} {_figure(low)}"
        if high is not None and (value > high or (self.below and value == high)):
            return f"is {_figure(value)}; it has to be {'less than' if self.below else 'at most'} {_figure(high)}"
        return ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a file: the key (with those above it), what is wrong, what to do; line 0 is unknown."""

    key: str
    wrong: str
    remedy: str = ""
    line: int = 0

    def __str__(self) -> str:
        sentence = f"{self.key}: {self.wrong}" if self.key else self.wrong
        return f"{sentence}; {self.remedy}" if self.remedy else sentence


class TomlReader:
    """Reads one file into dataclasses; ``problems`` gathers what is wrong with it.

    ``rules`` are by key, without the places in lists: ``alerts.webhooks.timeout``. Relative paths are those below
    ``base``.
    """

    def __init__(
        self, text: str, base: Path, rules: Mapping[str, Rule], *, environment: Mapping[str, str] | None = None
    ) -> None:
        self.problems: list[Problem] = []
        self._base = base
        self._rules = rules
        self._environment = os.environ if environment is None else environment
        self._lines = key_lines(text)
        self._root: dict[str, Any] = {}
        try:
            self._root = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            place = re.search(r"\(at line ([0-9]+)", str(error))
            problem = re.sub(r" \(at .*\)$", "", str(error))
            remedy = "see https://toml.io for how it is written"
            line = int(place[1]) if place else len(text.splitlines())
            self.problems.append(Problem("", f"not TOML: {problem}", remedy, line))
        except RecursionError:
            self.problems.append(Problem("", "not TOML: lists or tables are nested too deeply", "write it flat"))

    def read(self, kind: type[Made]) -> Made | None:
        """The whole file as ``kind``; None where anything is wrong with it."""
        return None if self.problems else self._table(kind, self._root, "")

    def add(self, key: str, wrong: str, remedy: str = "") -> None:
        """Notes a problem."""
        self.problems.append(Problem(key, wrong, remedy, self.line(key)))

    def line(self, key: str) -> int:
        """Where a key is written, or the next one above it; 0 where neither is."""
        while key and key not in self._lines:
            key = re.sub(r"(\.?[^.\[]+|\[[0-9]+\])$", "", key)
        return self._lines.get(key, 0)

    def _table(self, kind: type[Made], table: Any, where: str) -> Made | None:
        if not isinstance(table, Mapping):
            self.add(where, f"is {_shown(table)}, not a table", f"write [{where}]")
            return None
        before = len(self.problems)
        hints = get_type_hints(kind)
        known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]  # the callers give dataclasses
        self._refuse_unknown(known, table, where)
        values: dict[str, Any] = {}
        for name, field in known.items():
            value = self._field(field, hints[name], table, where)
            if value is not MISSING:
                values[name] = value
            elif (
                field.default is MISSING
                and field.default_factory is MISSING
                and table.keys().isdisjoint((name, f"{name}_file"))
            ):
                self.add(_join(where, name), "is missing", "it has no default")
        if len(self.problems) > before:
            return None
        try:
            return kind(**values)
        except (UsageError, ValueError) as error:
            self.add(where, *str(error).removeprefix(f"{where}: ").split("; ", 1))
            return None

    def _refuse_unknown(self, known: Mapping[str, Field[Any]], table: Mapping[str, Any], where: str) -> None:
        allowed = [name for name in known if name not in REFUSED]
        allowed += [f"{name}_file" for name, field in known.items() if not field.repr]
        for name in table:
            if name in known or name in allowed:
                continue
            near = difflib.get_close_matches(name, allowed, 1, 0.6)
            remedy = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(allowed))}"
            self.add(_join(where, name), "unknown key", remedy)

    def _field(self, field: Field[Any], hint: Any, table: Mapping[str, Any], where: str) -> Any:
        """The value of a field; MISSING where its default holds or it is wrong."""
        key = _join(where, field.name)
        if not field.repr:
            value = self._secret(field.name, table, where)
            if value is not MISSING:
                return self._value(hint, value, key) if field.name not in table else value
        if field.name not in table or (field.name in REFUSED and not field.repr):
            return MISSING
        value = self._value(hint, table[field.name], key)
        if not field.repr and value is not MISSING and isinstance(value, tuple):
            for name, _ in value:
                if _SECRET_HEADER.search(name):
                    self.add(f"{key}.{name}", "holds a secret", f"put the line into a file and name it: {key}_file")
        return value

    def _secret(self, name: str, table: Mapping[str, Any], where: str) -> Any:
        """The secret that a file or the environment holds; MISSING where neither is named."""
        key = _join(where, name)
        variable = "EDGESEQ_" + re.sub(r"[^A-Z0-9]+", "_", key.upper()).strip("_")
        if name in table and name in REFUSED:
            self.add(key, "is a secret", f"put it into a file and name that: {name}_file, or into {variable}")
            return MISSING
        if f"{name}_file" in table:
            if name in table:
                self.add(f"{key}_file", f"contradicts {name}", "leave one of them out")
            path = self._value(Path, table[f"{name}_file"], f"{key}_file")
            return MISSING if path is MISSING else self._secret_file(path, f"{key}_file", name)
        if name not in table and self._environment.get(variable):
            return _pairs(self._environment[variable]) if name == "headers" else self._environment[variable]
        return MISSING

    def _secret_file(self, path: Path, key: str, name: str) -> Any:
        try:
            text = read_secret(path, name)
        except UsageError as error:
            return self._wrong(key, *str(error).split("; ", 1))
        return _pairs(text) if name == "headers" else text

    def _value(self, hint: Any, value: Any, key: str) -> Any:
        """``value`` as the type of a field; MISSING where it is not one."""
        origin = get_origin(hint)
        if origin in (Union, types.UnionType):
            return self._value(next(one for one in get_args(hint) if one is not type(None)), value, key)
        if origin is Literal:
            if value in get_args(hint):
                return value
            return self._wrong(key, f"is {_shown(value)}", f"it can be {' or '.join(map(_shown, get_args(hint)))}")
        if origin is tuple:
            return self._tuple(get_args(hint)[0], value, key)
        if origin is not None:  # a mapping of texts to texts
            return self._texts(value, key)
        if is_dataclass(hint):
            found = self._table(hint, value, key)  # type: ignore[arg-type]  # a dataclass that is no instance
            return MISSING if found is None else found
        return self._plain(hint, value, key)

    def _plain(self, kind: Any, value: Any, key: str) -> Any:
        rule = self._rules.get(re.sub(r"\[[0-9]+\]", "", key), Rule())
        if rule.size and isinstance(value, str):
            found = _SIZE.fullmatch(value.strip())
            if found is None or found[2].replace("K", "k") not in _UNITS:
                return self._wrong(key, f"is {_shown(value)}", 'write a number of bytes, or as "20 GB"')
            return self._plain(int, int(float(found[1]) * _UNITS[found[2].replace("K", "k")]), key)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, str if kind is Path else kind) or (kind is int and isinstance(value, bool)):
            return self._wrong(key, f"is {_shown(value)}", f"it has to be {_KINDS[kind]}")
        if kind is Path:
            return self._path(value, key)
        if not isinstance(value, str):
            broken = rule.broken_by(value) if math.isfinite(value) else "is not a finite number"
            return self._wrong(key, *broken.split("; ", 1)) if broken else value
        if kind is str and any(ord(sign) < 32 for sign in value):
            return self._wrong(key, "holds a control character", "leave it out")
        return value

    def _path(self, text: str, key: str) -> Any:
        if not text or "\0" in text:
            return self._wrong(key, "is empty", "name a path")
        if text.startswith("~"):
            return self._wrong(key, f"starts with {text.split('/', 1)[0]}", "write the whole path")
        return Path(os.path.normpath(self._base / text))

    def _tuple(self, kind: Any, value: Any, key: str) -> Any:
        if get_origin(kind) is tuple:
            found = value if isinstance(value, tuple) else self._texts(value, key)
            return found if found is MISSING or isinstance(found, tuple) else tuple(found.items())
        if not isinstance(value, list):
            return self._wrong(key, f"is {_shown(value)}", "it has to be a list: put it into [ ]")
        found = [self._value(kind, one, f"{key}[{number}]") for number, one in enumerate(value)]
        return MISSING if any(one is MISSING for one in found) else tuple(found)

    def _texts(self, value: Any, key: str) -> Any:
        if not isinstance(value, Mapping):
            return self._wrong(key, f"is {_shown(value)}", f"write [{key}] and a line for each name")
        found = {name: self._plain(str, one, f"{key}.{name}") for name, one in value.items()}
        return MISSING if any(one is MISSING for one in found.values()) else found

    def _wrong(self, key: str, wrong: str, remedy: str = "") -> Any:
        self.add(key, wrong, remedy)
        return MISSING


def read_secret(path: Path, name: str) -> str:
    """The secret in a file, without the white space around it.

    Raises UsageError where it cannot be read, is empty, or can be read by everybody on this machine.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UsageError(f"{path} cannot be read: {reason}; check the path, and who may read it") from error
    if mode & stat.S_IROTH:
        raise UsageError(f"{path} can be read by everybody on this machine; run: chmod o= {path}")
    if not text:
        raise UsageError(f"{path} is empty; write the {name} into it")
    return text


def key_lines(text: str) -> dict[str, int]:
    """Key, with those above it → the line on which it is written, counted from 1; tables of a list as ``a[0]``."""
    name = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
    dotted = rf"{name}(?:\s*\.\s*{name})*"
    header = re.compile(rf"\s*(\[\[?)\s*({dotted})\s*\]\]?\s*(?:#.*)?")
    assignment = re.compile(rf"\s*({dotted})\s*=")
    found: dict[str, int] = {}
    counts: dict[str, int] = {}
    above, inside = "", ""
    for number, line in enumerate(text.splitlines(), 1):
        if not inside:
            if match := header.fullmatch(line):
                above = _plain_key(match[2])
                if match[1] == "[[":
                    counts[above] = counts.get(above, -1) + 1
                    found.setdefault(above, number)
                    above = f"{above}[{counts[above]}]"
                found.setdefault(above, number)
            elif match := assignment.match(line):
                found.setdefault(_join(above, _plain_key(match[1])), number)
        for sign in ('"""', "'''"):
            if inside in ("", sign) and line.count(sign) % 2:
                inside = "" if inside else sign
    return found


def _plain_key(text: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in text.split("."))


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    """Lines of ``name: value``."""
    lines = [line.partition(":") for line in text.splitlines() if line.strip()]
    return tuple((name.strip(), value.strip()) for name, _, value in lines)


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _figure(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "a list"
    return repr(value)
