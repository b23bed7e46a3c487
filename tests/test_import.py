"""``import edgeseq`` is light, and its front page is small."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import edgeseq

HEAVY = {"torch", "onnx", "onnxruntime", "pysam", "tokenizers", "transformers", "sklearn", "matplotlib", "pyarrow"}


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after ``statement``."""
    report = "import json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", f"{statement}\n{report}"], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_import_loads_no_engine_and_no_file_format_library() -> None:
    assert loaded_by("import edgeseq") & (HEAVY | {"rich", "click", "isal", "numpy"}) == set()


def test_opening_reads_loads_no_engine() -> None:
    assert loaded_by("import edgeseq; edgeseq.open_reads") & HEAVY == set()


def test_loading_a_bundle_loads_no_torch_and_no_onnx() -> None:
    found = loaded_by("import edgeseq; edgeseq.load, edgeseq.Scorer, edgeseq.read_bundle; import edgeseq.session")
    assert "onnxruntime" in found
    assert found & (HEAVY - {"onnxruntime"}) == set()


def test_the_front_page() -> None:
    assert edgeseq.__all__ == [
        "EdgeseqError",
        "Prediction",
        "Read",
        "Scorer",
        "__version__",
        "load",
        "open_reads",
        "read_bundle",
    ]
    assert dir(edgeseq) == sorted(edgeseq.__all__)
    for name in edgeseq.__all__:
        assert getattr(edgeseq, name).__class__.__name__ != "module"


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'edgeseq' has no attribute 'laod'"):
        _ = edgeseq.laod
