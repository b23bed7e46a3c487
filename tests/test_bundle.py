"""A bundle is exactly what was written, or it is refused with a named error and nothing of it is loaded."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import TOKENIZER, tiny_bundle

from edgeseq import archive
from edgeseq.bundle import MEMBERS, parse_bundle, read_bundle, write_bundle
from edgeseq.errors import BundleDamagedError, BundleError, BundleVersionError
from edgeseq.golden import pack_golden
from edgeseq.manifest import Manifest

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a good bundle."""
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.edgeseq").read_bytes()


@pytest.fixture
def members(whole: bytes) -> Members:
    """Its members, to be changed."""
    return archive.unpack(whole, "tiny")


def refused(data: bytes, *, kind: type[BundleError] = BundleDamagedError) -> BundleError:
    """The error with which the bytes are refused."""
    with pytest.raises(BundleError) as caught:
        parse_bundle(data, "tiny.edgeseq")
    assert type(caught.value) is kind
    assert str(caught.value).startswith("tiny.edgeseq: ")
    return caught.value


def signed(members: Members, **changes: Any) -> bytes:
    """A bundle whose manifest has the right hashes of ``members``, and ``changes``."""
    manifest = json.loads(members["manifest.json"])
    manifest["members"] = {
        name: hashlib.sha256(data).hexdigest() for name, data in members.items() if name != "manifest.json"
    }
    manifest.update(changes)
    return archive.pack({**members, "manifest.json": json.dumps(manifest).encode()})


def stored_zip(write: Callable[[zipfile.ZipFile], None]) -> bytes:
    """A zip as python's own library writes it."""
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as container:
        warnings.simplefilter("ignore")
        write(container)
    return stream.getvalue()


# --- writing -----------------------------------------------------------------------------------------------------


def test_what_was_written_is_what_is_read(bundle_path: Path) -> None:
    bundle = read_bundle(bundle_path)
    assert bundle.path == str(bundle_path)
    assert bundle.manifest.name == "tiny"
    assert bundle.manifest.task.labels == ("a", "b", "other")
    assert json.loads(bundle.tokenizer) == TOKENIZER
    assert bundle.report == {"reads": 0}
    assert bundle.card == "# tiny\n\nFor tests only.\n"
    assert bundle.sha256 == hashlib.sha256(bundle_path.read_bytes()).hexdigest()
    assert len(bundle.golden_cases().cases) == 2


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    first = tiny_bundle(tmp_path / "first.edgeseq").read_bytes()
    assert tiny_bundle(tmp_path / "second.edgeseq").read_bytes() == first
    assert tiny_bundle(tmp_path / "third.edgeseq", temperature=1.5).read_bytes() != first


def test_writing_again_what_was_read_gives_the_same_file(bundle_path: Path, tmp_path: Path) -> None:
    bundle = read_bundle(bundle_path)
    with np.load(io.BytesIO(bundle.golden), allow_pickle=False) as golden:
        write_bundle(
            tmp_path / "copy.edgeseq",
            manifest=bundle.manifest,
            graph=bundle.graph,
            tokenizer=json.loads(bundle.tokenizer),
            golden=dict(golden),
            report=bundle.report,
            card=bundle.card,
        )
    assert (tmp_path / "copy.edgeseq").read_bytes() == bundle_path.read_bytes()


def test_any_zip_tool_can_list_it(bundle_path: Path) -> None:
    with zipfile.ZipFile(bundle_path) as container:
        assert container.testzip() is None
        assert tuple(container.namelist()) == MEMBERS
        assert {each.compress_type for each in container.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    step: str, bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bundle_path.read_bytes()

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(step, fail)
    with pytest.raises(BundleError, match="cannot be written: No space left on device"):
        tiny_bundle(bundle_path, temperature=2.0)
    assert bundle_path.read_bytes() == before
    assert list(bundle_path.parent.iterdir()) == [bundle_path]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tiny_bundle(tmp_path / "tiny.edgeseq")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"absent/tiny\.edgeseq: cannot be written: No such file or directory"):
        tiny_bundle(tmp_path / "absent" / "tiny.edgeseq")


def test_what_would_be_refused_is_not_written(bundle_path: Path, tmp_path: Path) -> None:
    bundle = read_bundle(bundle_path)
    bad = dataclasses.replace(bundle.manifest, task=dataclasses.replace(bundle.manifest.task, temperature=-1.0))
    with pytest.raises(BundleDamagedError, match=r"task\.temperature"):
        write_bundle(
            tmp_path / "bad.edgeseq",
            manifest=bad,
            graph=bundle.graph,
            tokenizer=TOKENIZER,
            golden={},
            report={},
            card="",
        )
    assert not (tmp_path / "bad.edgeseq").exists()


# --- damage ------------------------------------------------------------------------------------------------------


def test_every_changed_byte_of_the_file_is_noticed(whole: bytes) -> None:
    """Contents, names, headers and directory alike."""
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        refused(bytes(damaged))


@pytest.mark.parametrize("name", MEMBERS[1:])
def test_a_changed_member_with_a_right_checksum_is_found_by_its_hash(name: str, members: Members) -> None:
    damaged = bytearray(members[name])
    damaged[len(damaged) // 2] ^= 0x20
    error = refused(archive.pack({**members, name: bytes(damaged)}))
    assert error.member == name
    assert error.problem == "its sha256 is not the one in the manifest"


@pytest.mark.parametrize("name", MEMBERS)
def test_a_missing_member_is_named(name: str, members: Members) -> None:
    del members[name]
    error = refused(archive.pack(members))
    assert (error.member, error.problem) == (name, "the member is missing")


def test_a_member_that_the_manifest_does_not_hash_is_refused(members: Members) -> None:
    manifest = json.loads(members["manifest.json"])
    del manifest["members"]["model.onnx"]
    members["manifest.json"] = json.dumps(manifest).encode()
    assert refused(archive.pack(members)).problem == "members.model.onnx is missing"


def test_an_extra_member_is_refused_even_if_hashed(members: Members) -> None:
    error = refused(signed({**members, "weights.bin": b"1"}))
    assert (error.member, error.problem) == ("weights.bin", "a member that no bundle has")


def test_another_order_is_refused(members: Members) -> None:
    assert refused(archive.pack(dict(reversed(members.items())))).problem == "the members are not in order"


def test_a_member_twice_is_refused(members: Members) -> None:
    twice = archive.pack({**members, "model.onnY": members["model.onnx"]}).replace(b"model.onnY", b"model.onnx")
    error = refused(twice)
    assert (error.member, error.problem) == ("model.onnx", "the member occurs twice")


def test_what_another_tool_packed_is_refused(members: Members) -> None:
    def write(container: zipfile.ZipFile) -> None:
        for name, data in members.items():
            container.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data)

    assert refused(stored_zip(write)).problem == "the member's header is not one that edgeseq writes"


@pytest.mark.parametrize("version", [0, 2, 99, "1", None, 1.0, True])
def test_another_format_version_is_an_error_of_its_own(version: object, members: Members) -> None:
    error = refused(signed(members, format=version), kind=BundleVersionError)
    assert error.problem == f"format version {version!r}; this runtime reads version 1"
    assert "update edgeseq" in error.remedy


def test_a_newer_format_is_named_as_such_whatever_else_is_new_in_it(members: Members) -> None:
    newer = signed({**members, "shards.json": b"{}"}, format=2, shards=[], task="new")
    refused(newer, kind=BundleVersionError)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "a\\b", "..", "C:x", "x\n", "ä", "x\x7f"])
def test_a_name_that_leads_out_of_the_bundle_is_refused(name: str, members: Members) -> None:
    def write(container: zipfile.ZipFile) -> None:
        container.writestr(zipfile.ZipInfo(name), b"evil")
        for each, data in members.items():
            container.writestr(zipfile.ZipInfo(each), data)

    assert refused(stored_zip(write)).problem.startswith("the name ")
    with pytest.raises(ValueError, match="the name"):
        archive.pack({name: b"evil"})


def test_a_link_is_refused(whole: bytes) -> None:
    entry = whole.rindex(b"PK\x01\x02")
    attributes = struct.pack("<L", 0o120777 << 16)
    error = refused(whole[: entry + 38] + attributes + whole[entry + 42 :])
    assert (error.member, error.problem) == ("MODEL_CARD.md", "the member is a link")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compressed_member_is_refused_before_it_is_unpacked(method: int, members: Members) -> None:
    def write(container: zipfile.ZipFile) -> None:
        for name, data in members.items():
            container.writestr(zipfile.ZipInfo(name), bytes(50_000_000) if name == "report.json" else data, method)

    bomb = stored_zip(write)
    assert len(bomb) < 1_000_000
    assert refused(bomb).problem == "the member is compressed; a bundle stores its members as they are"


def test_an_encrypted_member_is_refused(whole: bytes) -> None:
    assert refused(whole[:6] + b"\x01" + whole[7:]).problem == "the member is encrypted"


@pytest.mark.parametrize("size", [2**32 - 1, 2**31, 10**6])
def test_a_member_larger_than_the_file_is_refused(size: int, whole: bytes) -> None:
    error = refused(whole[:18] + struct.pack("<LL", size, size) + whole[26:])
    assert error.member == "manifest.json"
    assert f"declares {size} bytes" in error.problem


def test_every_truncation_is_refused(whole: bytes) -> None:
    for length in range(0, len(whole), 7):
        refused(whole[:length])
    refused(whole[:-1])


@pytest.mark.parametrize("tail", [b"\x00", b"PK\x05\x06", b"x" * 1000])
def test_bytes_behind_the_end_are_refused(tail: bytes, whole: bytes) -> None:
    assert refused(whole + tail).problem == f"{len(tail)} bytes follow the end of the bundle"


def test_bytes_before_the_start_are_refused(whole: bytes) -> None:
    assert refused(b"#!/bin/sh\n" + whole).problem == "not a bundle: it does not start as a zip"


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    refused(data)


@settings(max_examples=300)
@given(st.data())
def test_cut_and_pasted_bundles_are_refused(whole: bytes, data: st.DataObject) -> None:
    """A stretch of the file is replaced by another stretch of it, as a broken copy would."""
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    source = data.draw(st.integers(0, len(whole)))
    size = data.draw(st.integers(0, len(whole) - source))
    pasted = whole[:start] + whole[source : source + size] + whole[end:]
    if pasted != whole:
        refused(pasted)


# --- files -------------------------------------------------------------------------------------------------------


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleDamagedError, match=r"none\.edgeseq: cannot be read: No such file or directory"):
        read_bundle(tmp_path / "none.edgeseq")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.edgeseq").touch()
    with pytest.raises(BundleDamagedError, match="the file is empty"):
        read_bundle(tmp_path / "empty.edgeseq")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleDamagedError, match="a folder or a device"):
        read_bundle(tmp_path)


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BundleDamagedError, match="a folder or a device"):
        read_bundle(tmp_path / "pipe")


def test_an_unreadable_file_is_refused(bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", deny)
    with pytest.raises(BundleDamagedError, match="cannot be read: Permission denied"):
        read_bundle(bundle_path)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "huge.edgeseq").open("wb") as stream:
        stream.truncate(2**31)
    with pytest.raises(BundleDamagedError, match="2147483648 bytes; a bundle has at most 2147483647"):
        read_bundle(tmp_path / "huge.edgeseq")


def test_without_a_path_the_embedded_panel_is_read(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeseq.bundle.resources.files", lambda _: tmp_path)
    with pytest.raises(BundleError, match="the embedded panel: this install of edgeseq comes without it; name"):
        read_bundle()
    bundle_path.rename(tmp_path / "panel.edgeseq")
    assert read_bundle().manifest.name == "tiny"


# --- contents ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["manifest.json", "tokenizer.json", "report.json"])
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"a": 1, "a": 2}', "key 'a' occurs twice"),
        (b'{"a": NaN}', "NaN is not a number"),
        (b"\xff\xfe", "not JSON"),
        (b'{"a":' * 100_000, "not JSON"),
    ],
)
def test_a_member_that_is_not_strict_json_is_refused(name: str, text: bytes, problem: str, members: Members) -> None:
    members[name] = text
    error = refused(archive.pack(members) if name == "manifest.json" else signed(members))
    assert error.member == name
    assert problem in error.problem


def test_a_card_that_is_not_text_is_refused(members: Members) -> None:
    assert refused(signed({**members, "MODEL_CARD.md": b"\xff"})).problem.startswith("not UTF-8")


def golden(members: Members) -> dict[str, np.ndarray[Any, Any]]:
    with np.load(io.BytesIO(members["golden.npz"]), allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"tolerance": np.array(0.0)}, "the tolerance is missing or not a number larger than 0"),
        ({"tolerance": np.array([1.0])}, "the tolerance is missing or not a number larger than 0"),
        ({"tolerance": np.array(np.nan)}, "the tolerance is missing or not a number larger than 0"),
        ({"extra.0": np.zeros(1)}, "extra.0 is no tensor of the graph"),
        ({"logits.7": np.zeros((1, 3), np.float32)}, "case 7 lacks input_ids"),
        ({"input_ids.7": np.zeros((1, 3), np.int64)}, "case 7 lacks an output"),
        ({"input_ids.0": np.zeros((2, 4), np.int32)}, "input_ids.0 is int32; the graph has int64"),
        ({"logits.0": np.zeros((2, 4), np.float32)}, "logits.0 has shape (2, 4); the graph has ('batch', 3)"),
        ({"logits.0": np.full((2, 3), np.nan, np.float32)}, "logits.0 holds values that are not finite"),
    ],
)
def test_golden_cases_fit_the_graph(change: dict[str, Any], problem: str, members: Members) -> None:
    members["golden.npz"] = pack_golden({**golden(members), **change})
    error = refused(signed(members))
    assert (error.member, error.problem) == ("golden.npz", problem)


def test_golden_cases_are_never_empty(members: Members) -> None:
    members["golden.npz"] = pack_golden({"tolerance": np.array(0.1)})
    assert refused(signed(members)).problem == "there is no case to test"


def npy(header: str, body: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


@pytest.mark.parametrize(
    "array",
    [
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"cos\nsystem\n(S'true'\ntR."),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (4000000000, 1000)}"),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}", bytes(8)),
        npy("{'descr': '<f8', 'fortran_order': True, 'shape': (1,)}", bytes(8)),
        npy("__import__('os').getpid()"),
        b"\x93NUMPY\x03\x00",
        b"",
    ],
    ids=["pickle", "huge", "negative", "fortran", "code", "version", "empty"],
)
def test_arrays_are_plain_numbers_of_the_size_they_claim(array: bytes, members: Members) -> None:
    members["golden.npz"] = archive.pack({"tolerance.npy": array})
    assert refused(signed(members)).problem.startswith("tolerance.npy: ")


def test_a_compressed_golden_member_is_refused(members: Members) -> None:
    stream = io.BytesIO()
    np.savez_compressed(stream, tolerance=np.zeros(10**6))
    members["golden.npz"] = stream.getvalue()
    assert "compressed" in refused(signed(members)).problem


def test_a_graph_with_weights_outside_is_refused(members: Members) -> None:
    import onnx

    model = onnx.load_model_from_string(members["model.onnx"])
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    members["model.onnx"] = model.SerializeToString()
    error = refused(signed(members))
    assert (error.member, error.problem) == ("model.onnx", "tensor 'table' takes its data from another file")


@pytest.mark.parametrize("graph", [b"", b"not a graph", b"\xff" * 40])
def test_a_graph_that_is_none_is_refused(graph: bytes, members: Members) -> None:
    assert refused(signed({**members, "model.onnx": graph})).member == "model.onnx"


def test_the_manifest_keeps_the_hashes_of_what_was_written(whole: bytes, members: Members) -> None:
    manifest = Manifest.from_json(members["manifest.json"])
    assert list(manifest.members) == list(MEMBERS[1:])
    assert parse_bundle(whole, "x").manifest == manifest
