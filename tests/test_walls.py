"""What each part may import, read from the syntax trees."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

EXTRAS = {"tokenizers", "starlette", "uvicorn", "prometheus_client", "paho", "pyarrow"}
"""What comes with the extras."""
RUNTIME = {"edgeseq", "numpy", "onnxruntime", "isal", "pysam", "watchfiles", "rich", "click", "tomli"}
"""What the wheel depends on; tomli only where Python is older than its own reader of TOML."""
STANDARD = sys.stdlib_module_names | {"tomllib"}


def sources(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.py"))
    assert found
    return found


def imports(path: Path) -> set[str]:
    """Top-level names of every module that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add((node.module or "").partition(".")[0])
    return found


def calls(path: Path) -> Iterator[str]:
    """Names of everything that a file calls."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def test_the_runtime_imports_only_what_the_wheel_depends_on(repository: Path) -> None:
    for path in sources(repository / "edgeseq"):
        strange = imports(path) - RUNTIME - EXTRAS - STANDARD
        assert not strange, f"{path} imports {strange}"


def test_workstation_tools_import_the_parts_below_them_alone(repository: Path) -> None:
    for path in sources(repository / "devices"):
        strange = imports(path) - {"devices"} - (RUNTIME - {"onnxruntime"}) - STANDARD
        assert not strange, f"{path} imports {strange}"


def test_compression_knows_no_exporter(repository: Path) -> None:
    for path in sources(repository / "quantize"):
        assert not imports(path) & {"export", "benchmarks", "tests"}, path


def test_one_module_knows_the_engine(repository: Path) -> None:
    paths = sources(repository / "edgeseq")
    assert [path.name for path in paths if "onnxruntime" in imports(path)] == ["session.py"]


def test_the_library_knows_no_terminal(repository: Path) -> None:
    shell = {"cli.py", "progress.py"}
    for path in sources(repository / "edgeseq"):
        if path.parent.name != "commands" and path.name not in shell:
            assert "click" not in imports(path), path


def test_no_model_data_is_ever_unpickled(repository: Path) -> None:
    for path in sources(repository / "edgeseq"):
        assert not imports(path) & {"pickle", "marshal", "shelve", "dill"}, path
        assert not set(calls(path)) & {"eval", "exec", "np.load", "numpy.load"}, path


def test_the_runtime_knows_no_model_family(repository: Path) -> None:
    for path in sources(repository / "edgeseq"):
        assert "family ==" not in path.read_text(encoding="utf-8"), path


def test_dependencies_of_the_wheel_are_those_of_the_walls(repository: Path) -> None:
    text = (repository / "pyproject.toml").read_text(encoding="utf-8")
    block = text.split("dependencies = [", 1)[1].split("]", 1)[0]
    names = {line.strip().strip('",').split(">=")[0] for line in block.splitlines() if line.strip()}
    assert names == RUNTIME - {"edgeseq"}
