"""The reference in ``docs/service.md`` says what the dataclasses of the configuration say."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from edgeseq.cli import COMMANDS
from edgeseq.watch.config import RULES, Configuration, read_configuration
from edgeseq.watch.toml import REFUSED, Rule

DOCS = Path(__file__).resolve().parent.parent / "docs" / "service.md"


def tables(kind: Any = Configuration, where: str = "") -> dict[str, list[str]]:
    """Heading → rows of its table: ``key``, default, and what it is, of each field."""
    rows: list[str] = []
    found = {where: rows}
    hints, notes = get_type_hints(kind), documented(kind)
    for field in fields(kind):
        key = f"{where}.{field.name}".strip(".")
        inner, several = nested(hints[field.name])
        if inner is not None:
            found |= tables(inner, f"{key}" if not several else f"{key}[]")
            continue
        name = f"{field.name}_file" if field.name in REFUSED else field.name
        assert field.name in notes, f"{kind.__name__}.{field.name} has no text below it"
        note = " ".join(notes[field.name].replace("``", "`").split())
        rule = limits(RULES.get(key.replace("[]", ""), Rule()))
        rows.append(f"| `{name}` | {default(field)} | {note}{f' ({rule})' if rule else ''} |")
    return found


def nested(hint: Any) -> tuple[Any, bool]:
    """The dataclass in a type, and whether there may be several of it."""
    several = get_origin(hint) is tuple
    inner = [one for one in get_args(hint) if is_dataclass(one)]
    return (inner[0], several) if inner else (hint if is_dataclass(hint) else None, False)


def documented(kind: Any) -> dict[str, str]:
    """Field → the text below it."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for line, after in zip(body.body, body.body[1:], strict=False):
        named = isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
        if named and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[ast.unparse(line).split(":")[0]] = str(after.value.value)
    return found


def default(field: Field[Any]) -> str:
    value = field.default
    if value is MISSING:
        return "needed" if field.default_factory is MISSING else "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'`"{value}"`' if value else "none"
    if value is None or value == ():
        return "none"
    return f"`{value:_}`" if isinstance(value, int) and value >= 100_000 else f"`{value:g}`"


def figure(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def limits(rule: Rule) -> str:
    parts = []
    if rule.low is not None:
        parts.append(f"{'more than' if rule.above else 'at least'} {figure(rule.low)}")
    if rule.high is not None:
        parts.append(f"{'less than' if rule.below else 'at most'} {figure(rule.high)}")
    return ", ".join(parts)


@pytest.mark.parametrize("heading", tables())
def test_every_key_is_in_the_reference(heading: str) -> None:
    title = f"### `[{heading}]`" if not heading.endswith("[]") else f"### `[[{heading[:-2]}]]`"
    title = title if heading else "### Top level"
    part = DOCS.read_text(encoding="utf-8").split(f"\n{title}\n", 1)
    assert len(part) == 2, f"there is no {title}"
    rows = [line for line in part[1].split("\n#")[0].splitlines() if line.startswith("| `")]
    assert rows == tables()[heading]


def test_configurations_in_the_docs_are_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^ *```toml\n(.*?)^ *```", DOCS.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks
    for number, block in enumerate(blocks):
        for name in re.findall(r'_file = "(.*)"', block):
            secret = tmp_path / Path(name).name
            secret.write_text("0123456789abcdef")
            secret.chmod(0o600)
            block = block.replace(name, str(secret))
        path = tmp_path / f"{number}.toml"
        path.write_text(textwrap.dedent(block))
        read_configuration(path)


def test_commands_in_the_docs_exist() -> None:
    lines = re.findall(r"(?:^|`)(?:sudo )?edgeseq ([a-z]+)", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(lines) <= set(COMMANDS)
    assert {"watch", "validate", "service"} <= set(lines)


if __name__ == "__main__":
    for heading, rows in tables().items():
        sys.stdout.write("\n".join([f"\n### {heading}\n", "| key | default | |", "|---|---|---|", *rows, ""]))
