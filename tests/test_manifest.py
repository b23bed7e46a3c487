"""Every value of a manifest is checked; what is wrong is named by its path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeseq.bundle import read_bundle
from edgeseq.errors import BundleDamagedError
from edgeseq.manifest import Manifest

REMOVE = object()


@pytest.fixture
def manifest(bundle_path: Path) -> dict[str, Any]:
    """A good manifest as JSON."""
    found: dict[str, Any] = json.loads(read_bundle(bundle_path).manifest.to_json())
    return found


def problem(manifest: dict[str, Any], path: str, value: object) -> str:
    """What is said of ``manifest`` once the value at ``path`` is ``value``."""
    *parents, key = path.split("/")
    place: Any = manifest
    for parent in parents:
        place = place[int(parent) if parent.isdecimal() else parent]
    if value is REMOVE:
        del place[key]
    else:
        place[int(key) if key.isdecimal() else key] = value
    with pytest.raises(BundleDamagedError) as caught:
        Manifest.from_json(json.dumps(manifest).encode(), bundle="x.edgeseq")
    assert str(caught.value) == f"x.edgeseq: manifest.json: {caught.value.problem}"
    return caught.value.problem


def test_json_and_back_is_the_same(bundle_path: Path) -> None:
    manifest = read_bundle(bundle_path).manifest
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert Manifest.from_json(manifest.to_json()).to_json() == manifest.to_json()


def test_provenance_and_metrics_are_free_form(manifest: dict[str, Any]) -> None:
    manifest["provenance"] = {"passes": [{"name": "fold", "settings": {"deep": None}}]}
    manifest["metrics"] = {"mcc": 0.99, "by length": {"200": [1, 2]}}
    found = Manifest.from_json(json.dumps(manifest).encode())
    assert found.provenance["passes"][0]["settings"] == {"deep": None}
    assert found.metrics["by length"] == {"200": [1, 2]}


def test_a_manifest_that_json_cannot_say_is_not_written(bundle_path: Path) -> None:
    manifest = read_bundle(bundle_path).manifest
    bad = Manifest(**{**{key: getattr(manifest, key) for key in manifest.__slots__}, "metrics": {"mcc": float("nan")}})
    with pytest.raises(ValueError, match="not JSON compliant"):
        bad.to_json()


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("name", REMOVE, "name is missing"),
        ("name", "", "name is empty"),
        ("name", 3, "name is a number, not text"),
        ("name", "a\nb", "name holds control characters"),
        ("licence", None, "licence is null, not text"),
        ("task", REMOVE, "task is missing"),
        ("task", [], "task is a list, not an object"),
        ("surprise", 1, "surprise is not a key of this format version"),
        ("task/surprise", 1, "task.surprise is not a key of this format version"),
        ("task/abstention/surprise", 1, "task.abstention.surprise is not a key of this format version"),
        ("task/labels", "ab", "task.labels is text, not a list"),
        ("task/labels", ["a"], "task.labels has 1 names: too few for sequence-classification with softmax"),
        ("task/labels", [], "task.labels has 0 names: too few for sequence-classification with softmax"),
        ("task/labels", ["a", "a", "other"], "task.labels names a label twice"),
        ("task/labels/1", "unclassified", "task.labels[1] is 'unclassified', the name of the call that is no call"),
        ("task/labels/1", "a\tb", "task.labels[1] is 'a\\tb', not a name"),
        ("task/labels/1", " ", "task.labels[1] is ' ', not a name"),
        ("task/labels/1", 7, "task.labels[1] is 7, not a name"),
        ("task/labels", ["a", "other"], "graph.outputs gives 3 logits for 2 labels"),
        ("task/activation", "relu", "task.activation is 'relu', not one of softmax, sigmoid, identity"),
        ("task/activation", ["softmax"], "task.activation is ['softmax'], not one of softmax, sigmoid, identity"),
        ("task/temperature", 0, "task.temperature is 0, not larger than 0"),
        ("task/temperature", -1.5, "task.temperature is -1.5, not between 0 and inf"),
        ("task/temperature", "1", "task.temperature is text, not a number"),
        ("task/temperature", True, "task.temperature is true or false, not a number"),
        ("task/background", "c", "task.background is 'c', which is no label"),
        (
            "task/abstention/thresholds",
            {"c": 0.5},
            "task.abstention.thresholds.c is a threshold for something that is no label",
        ),
        ("task/abstention/thresholds", {"a": 1.5}, "task.abstention.thresholds.a is 1.5, not between 0 and 1"),
        ("task/abstention/thresholds", {"a": None}, "task.abstention.thresholds.a is null, not a number"),
        ("task/abstention/thresholds", [0.5], "task.abstention.thresholds is a list, not an object"),
        ("task/abstention/minimum_score", -0.1, "task.abstention.minimum_score is -0.1, not between 0 and 1"),
        ("task/abstention/minimum_length", -1, "task.abstention.minimum_length is -1, not 0 or more"),
        ("task/abstention/minimum_length", 1.5, "task.abstention.minimum_length is a number, not a whole number"),
        ("task/abstention/maximum_n_fraction", 2, "task.abstention.maximum_n_fraction is 2, not between 0 and 1"),
        ("input/alphabet", "rna", "input.alphabet is 'rna', not one of dna, protein"),
        ("input/window", -64, "input.window is -64, not 1 or more"),
        ("input/window", 0, "input.window is 0, not 1 or more"),
        ("input/window", True, "input.window is true or false, not a whole number"),
        ("input/stride", 65, "input.stride is 65, more than the window of 64: bases would go unseen"),
        ("input/minimum", 65, "input.minimum is 65, more than the window of 64"),
        ("input/strand", "both", "input.strand is 'both', not one of forward, mean, equivariant"),
        ("input/buckets", [16, 16], "input.buckets[1] is 16, not larger than the one before it"),
        ("input/buckets", [0, 16], "input.buckets[0] is 0, not a length of 1 or more"),
        ("input/buckets", ["16"], "input.buckets[0] is '16', not a length of 1 or more"),
        ("input/mixed_lengths", 1, "input.mixed_lengths is a number, not true or false"),
        ("graph/opset", 0, "graph.opset is 0, not 1 or more"),
        ("graph/inputs", [], "graph.inputs is empty"),
        ("graph/inputs/0/name", "ids", "graph.inputs has no input_ids"),
        ("graph/inputs/0/dtype", "object", "graph.inputs[0].dtype is 'object', not one of"),
        ("graph/inputs/0/shape/0", 0, "graph.inputs[0].shape[0] is 0, neither a size nor the name of an axis"),
        ("graph/inputs/0/shape/0", "", "graph.inputs[0].shape[0] is '', neither a size nor the name of an axis"),
        ("graph/inputs/0/shape/0", -1, "graph.inputs[0].shape[0] is -1, neither a size nor the name of an axis"),
        ("graph/inputs/0", 5, "graph.inputs[0] is a number, not an object"),
        ("graph/outputs/0/shape/1", 4, "graph.outputs gives 4 logits for 3 labels"),
        ("graph/macs_per_base", 0, "graph.macs_per_base is 0, not a number larger than 0"),
        ("members/model.onnx", "ABC", "members.model.onnx is not a sha256 in lower-case hex"),
        ("members/model.onnx", 5, "members.model.onnx is not a sha256 in lower-case hex"),
    ],
)
def test_what_is_wrong_is_named(path: str, value: object, expected: str, manifest: dict[str, Any]) -> None:
    assert problem(manifest, path, value).startswith(expected)


def test_a_tensor_cannot_be_named_twice(manifest: dict[str, Any]) -> None:
    outputs = manifest["graph"]["outputs"]
    assert problem(manifest, "graph/outputs", outputs * 2) == "graph.outputs names a tensor twice"


def test_a_protein_has_one_strand(manifest: dict[str, Any]) -> None:
    manifest["input"]["strand"] = "mean"
    expected = "input.strand is 'mean', but a protein has one strand"
    assert problem(manifest, "input/alphabet", "protein") == expected


def test_numbers_without_end_are_refused(manifest: dict[str, Any]) -> None:
    text = json.dumps(manifest).replace('"temperature": 1.0', '"temperature": 1e999')
    with pytest.raises(BundleDamagedError, match=r"task\.temperature is inf"):
        Manifest.from_json(text.encode())
    with pytest.raises(BundleDamagedError, match=r"input\.window is 1000"):
        Manifest.from_json(text.replace('"window": 64', '"window": 1' + "0" * 400).replace("1e999", "1").encode())
