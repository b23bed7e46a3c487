"""Fails where ``import edgeseq`` takes 0.3 s or loads torch or onnx. A command of its own: no test measures time."""

from __future__ import annotations

import subprocess
import sys
import time

LIMIT = 0.3
STATEMENT = "import edgeseq, sys; sys.exit(bool({'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))"


def seconds(statement: str) -> float:
    """How long a fresh interpreter takes for ``statement``, its own start included; the best of five."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True)
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> int:
    """0 where the import is fast and light."""
    bare, whole = seconds("pass"), seconds(STATEMENT)
    print(f"import edgeseq: {max(whole - bare, 0) * 1000:.0f} ms on top of the interpreter's own {bare * 1000:.0f} ms")
    return 0 if whole - bare < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
