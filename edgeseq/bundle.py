"""The bundle: a model with everything that a device needs to know, trust and check about it, in one file.

The members are `MEMBERS`, no more and no fewer; ``manifest.json`` holds the sha256 of the others. Reading verifies in
this order, and nothing is used before all of it passed: container → manifest → format version → set of members → hashes
→ every value of the manifest → contents of each member.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

from numpy.typing import NDArray

from edgeseq import archive, golden, manifest
from edgeseq.errors import BundleDamagedError, BundleError
from edgeseq.fields import parse_object
from edgeseq.golden import Golden, pack_golden, read_golden
from edgeseq.graph import outside_references
from edgeseq.manifest import Manifest

GRAPH, TOKENIZER, REPORT, CARD = "model.onnx", "tokenizer.json", "report.json", "MODEL_CARD.md"
MEMBERS = (manifest.MEMBER, GRAPH, TOKENIZER, golden.MEMBER, REPORT, CARD)
EMBEDDED = "panel.edgeseq"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle. ``sha256`` is that of the whole file, ``path`` how the caller named it."""

    path: str
    manifest: Manifest
    graph: bytes
    """The ONNX model; refers to nothing outside of itself."""
    tokenizer: bytes
    """A JSON object; the tokenizer checks its meaning."""
    golden: bytes
    report: dict[str, Any]
    card: str
    """The model card, Markdown."""
    sha256: str
    members: Mapping[str, bytes] = field(repr=False)
    """Name → bytes of every member, in the order of the file."""

    def golden_cases(self) -> Golden:
        """The inputs and outputs of the self-test."""
        return read_golden(self.golden, self.manifest.graph, bundle=self.path)


def read_bundle(path: str | os.PathLike[str] | None = None) -> Bundle:
    """The bundle at ``path``, verified; without ``path`` the panel that comes with edgeseq.

    Raises BundleVersionError for a format version that this runtime does not know and BundleDamagedError for everything
    else that keeps the file from being exactly what was written. Whether the graph runs here is for `self_test`.
    """
    if path is None:
        embedded = resources.files("edgeseq").joinpath(EMBEDDED)
        if not embedded.is_file():
            raise BundleError(
                "the embedded panel",
                "this install of edgeseq comes without it",
                remedy="name a bundle with -m, or install a release",
            )
        return parse_bundle(embedded.read_bytes(), EMBEDDED)
    return parse_bundle(_read_file(path), os.fspath(path))


def parse_bundle(data: bytes, path: str) -> Bundle:
    """The bundle that the bytes of a file hold; ``path`` names it in errors. Raises as `read_bundle`."""
    members = archive.unpack(data, path)
    if manifest.MEMBER not in members:
        raise BundleDamagedError(path, "the member is missing", member=manifest.MEMBER)
    found = Manifest.from_json(members[manifest.MEMBER], bundle=path)
    for name in MEMBERS[1:]:
        if name not in members:
            raise BundleDamagedError(path, "the member is missing", member=name)
        if name not in found.members:
            raise BundleDamagedError(path, f"members.{name} is missing", member=manifest.MEMBER)
    for name in (*members, *found.members):
        if name not in MEMBERS or (name == manifest.MEMBER and name in found.members):
            raise BundleDamagedError(path, "a member that no bundle has", member=name)
    if tuple(members) != MEMBERS:
        raise BundleDamagedError(path, "the members are not in order")
    for name, digest in found.members.items():
        if hashlib.sha256(members[name]).hexdigest() != digest:
            raise BundleDamagedError(path, "its sha256 is not the one in the manifest", member=name)
    bundle = Bundle(
        path=path,
        manifest=found,
        graph=members[GRAPH],
        tokenizer=members[TOKENIZER],
        golden=members[golden.MEMBER],
        report=_parse_json(members[REPORT], path, REPORT),
        card=_parse_text(members[CARD], path),
        sha256=hashlib.sha256(data).hexdigest(),
        members=members,
    )
    _parse_json(bundle.tokenizer, path, TOKENIZER)
    bundle.golden_cases()
    _check_graph(bundle)
    return bundle


def write_bundle(
    path: str | os.PathLike[str],
    *,
    manifest: Manifest,
    graph: bytes,
    tokenizer: Mapping[str, Any],
    golden: Mapping[str, NDArray[Any]],
    report: Mapping[str, Any],
    card: str,
) -> None:
    """A bundle at ``path``; equal arguments give equal bytes.

    ``manifest.members`` is filled in. What is written was read back first, so that every written bundle is one that
    `read_bundle` takes. The file appears whole or not at all: an older file at ``path`` stays until the new one is on
    disk.

    Raises BundleError for contents that make no bundle (as `read_bundle`) and where the file cannot be written.
    """
    name = os.fspath(path)
    members = {
        GRAPH: graph,
        TOKENIZER: _dump_json(tokenizer),
        MEMBERS[3]: pack_golden(golden),
        REPORT: _dump_json(report),
        CARD: card.encode("utf-8"),
    }
    digests = {member: hashlib.sha256(data).hexdigest() for member, data in members.items()}
    header = replace(manifest, members=digests).to_json()
    try:
        data = archive.pack({MEMBERS[0]: header, **members})
    except ValueError as error:
        raise BundleError(name, str(error)) from error
    parse_bundle(data, name)
    _write_file(Path(name), data)


def _read_file(path: str | os.PathLike[str]) -> bytes:
    name = os.fspath(path)
    try:
        status = Path(name).stat()
        if not stat.S_ISREG(status.st_mode):
            raise BundleDamagedError(name, "a folder or a device, not a bundle file")
        if status.st_size > archive.LIMIT:
            raise BundleDamagedError(name, f"{status.st_size} bytes; a bundle has at most {archive.LIMIT}")
        return Path(name).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BundleDamagedError(name, f"cannot be read: {reason}") from error


def _write_file(path: Path, data: bytes) -> None:
    """``data`` at ``path``, through a hidden file beside it that is on disk before it takes the name."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise BundleError(str(path), f"cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    with suppress(OSError):  # not every file system lets a folder be synchronised
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _dump_json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"


def _parse_json(data: bytes, path: str, member: str) -> dict[str, Any]:
    def refuse(problem: str) -> NoReturn:
        raise BundleDamagedError(path, problem, member=member)

    return parse_object(data, refuse)


def _parse_text(data: bytes, path: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleDamagedError(path, f"not UTF-8: {error.reason}", member=CARD) from error


def _check_graph(bundle: Bundle) -> None:
    try:
        outside = outside_references(bundle.graph)
    except ValueError as error:
        raise BundleDamagedError(bundle.path, str(error), member=GRAPH) from error
    if not bundle.graph or outside:
        raise BundleDamagedError(bundle.path, outside[0] if outside else "the graph is empty", member=GRAPH)
