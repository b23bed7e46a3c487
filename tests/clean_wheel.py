"""Installs a wheel alone into a new environment and does the main job with it.

``python tests/clean_wheel.py dist/edgeseq-….whl [--python python3]`` fails, with the reason, where the wheel holds
anything but ``edgeseq/``, where wheel or install are too large, where torch, onnx or a compiler is needed, or where a
command does not work.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL_LIMIT = 6_000_000
INSTALL_LIMIT = 250_000_000
FORBIDDEN = ("torch", "onnx", "transformers", "tokenizers", "scikit-learn", "matplotlib", "scipy", "pyarrow")
NEEDED = ("edgeseq/panel.edgeseq", "edgeseq/demo_reads.fastq.gz", "edgeseq/py.typed")
READS = 200


class UnfitError(Exception):
    """What is wrong with the wheel, in one sentence."""


def check_contents(wheel: Path) -> None:
    """Only ``edgeseq/`` and the wheel's own metadata, with the panel, within the size."""
    with zipfile.ZipFile(wheel) as container:
        names = container.namelist()
    strange = [name for name in names if not name.startswith(("edgeseq/", "edgeseq-")) or "/." in name]
    if strange:
        raise UnfitError(f"the wheel holds {', '.join(strange)}")
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise UnfitError(f"the wheel lacks {', '.join(missing)}")
    size = wheel.stat().st_size
    print(f"wheel: {size / 1e6:.2f} MB, {len(names)} files")
    if size >= WHEEL_LIMIT:
        raise UnfitError(f"the wheel has {size:,} bytes, {WHEEL_LIMIT:,} are allowed")


def install(wheel: Path, python: str, folder: Path) -> Path:
    """The interpreter of a new environment that holds the wheel and its dependencies, from binary wheels only."""
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    interpreter = folder / "bin" / "python"
    pip = [str(interpreter), "-m", "pip", "--disable-pip-version-check"]
    before = tree_size(folder)
    subprocess.run([*pip, "install", "--quiet", "--only-binary=:all:", str(wheel.resolve())], check=True)
    size = tree_size(folder) - before
    listed = subprocess.run([*pip, "list", "--format=json"], check=True, capture_output=True, text=True).stdout
    packages = {each["name"].lower() for each in json.loads(listed)}
    print(f"install: {size / 1e6:.0f} MB in {len(packages)} packages")
    if size >= INSTALL_LIMIT:
        raise UnfitError(f"the install has {size:,} bytes, {INSTALL_LIMIT:,} are allowed")
    if packages & set(FORBIDDEN):
        raise UnfitError(f"the install brings {', '.join(sorted(packages & set(FORBIDDEN)))}")
    return interpreter


def tree_size(folder: Path) -> int:
    """Bytes of all files below ``folder``."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def do_main_job(interpreter: Path, folder: Path) -> None:
    """Every command works outside of the checkout, and each read gets its row."""
    edgeseq = str(interpreter.with_name("edgeseq"))
    write_reads(folder / "reads.fastq")
    run(folder, edgeseq, "--version")
    run(folder, edgeseq, "demo")
    run(folder, edgeseq, "doctor")
    run(folder, edgeseq, "inspect", "--verify")
    run(folder, edgeseq, "score", "reads.fastq", "-o", "calls.tsv")
    rows = (folder / "calls.tsv").read_text(encoding="utf-8").splitlines()
    if len(rows) != READS + 1 or rows[0].split("\t")[:5] != ["read_id", "source", "length", "label", "score"]:
        raise UnfitError(f"{READS} reads gave {len(rows)} lines")
    script = (
        "import edgeseq, sys\n"
        "with edgeseq.load() as scorer:\n"
        "    count = sum(1 for _ in scorer.score(edgeseq.open_reads('reads.fastq')))\n"
        f"heavy = {set(FORBIDDEN)!r} & set(sys.modules)\n"
        f"sys.exit(f'{{count}} predictions, loaded {{heavy}}' if count != {READS} or heavy else 0)\n"
    )
    run(folder, str(interpreter), "-c", script)


def write_reads(path: Path) -> None:
    """Random reads of 100 to 3000 bases."""
    chance = random.Random(1)
    with path.open("w", encoding="ascii") as stream:
        for number in range(READS):
            sequence = "".join(chance.choices("ACGT", k=chance.randint(100, 3000)))
            stream.write(f"@read{number}\n{sequence}\n+\n{'5' * len(sequence)}\n")


def run(folder: Path, *command: str) -> None:
    """Runs ``command`` in ``folder``; its output is shown where it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    shown = " ".join(part if "\n" not in part else "…" for part in (Path(command[0]).name, *command[1:]))
    if done.returncode:
        raise UnfitError(f"{shown} exits with {done.returncode}\n{done.stdout}{done.stderr}")
    print(f"ok: {shown}")


def main() -> int:
    """0 where the wheel is fit for a device, 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(description="Check a wheel in a clean environment.")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--python", default=sys.executable, help="interpreter of the new environment")
    options = parser.parse_args()
    try:
        check_contents(options.wheel)
        with tempfile.TemporaryDirectory(prefix="edgeseq-wheel-") as name:
            folder = Path(name)
            do_main_job(install(options.wheel, options.python, folder / "environment"), folder)
    except (UnfitError, subprocess.CalledProcessError) as failure:
        print(f"clean wheel: {failure}", file=sys.stderr)
        return 1
    print("The wheel works alone.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
