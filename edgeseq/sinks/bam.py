"""Predictions as tags on BAM records.

``el:Z`` label, ``es:f`` score, ``em:Z`` bundle (name@version+sha). Lower-case tags are left to programs by the SAM
specification.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import pysam

from edgeseq import __version__
from edgeseq.bundle import Bundle
from edgeseq.errors import SinkError, UsageError
from edgeseq.prediction import Prediction
from edgeseq.predictions import Predictions
from edgeseq.read import Read
from edgeseq.sinks.output import PARTIAL

COPIES = 0x900
"""Flags of secondary and supplementary records."""
REMEMBERED = 100_000
"""Calls that are remembered for later copies of a read."""

TagType = Literal["A", "i", "f", "Z"]

_TAG = re.compile(r"([A-Za-z][A-Za-z0-9]):([AifZ]):(.*)", re.DOTALL)
_OURS = frozenset({"el", "es", "em"})


class BamSink:
    """Writes ``path``, a BAM file with every record of the input and its call.

    Records of SAM and BAM files are copied with all that they hold, secondary and supplementary ones too: these carry
    the call of their read if it came before or right after them, and no tags if not. Reads of other inputs, and of
    standard input, become unaligned records: SAM tags of their header line stay tags, any other text of it goes into
    ``CO:Z``. The file has a partial name until `commit`.
    """

    def __init__(
        self, path: str | os.PathLike[str], bundle: Bundle, *, inputs: Sequence[str] = (), command: str = ""
    ) -> None:
        """Opens the file. ``inputs`` are the files that reads will come from, ``command`` the command line to record.

        Raises UsageError where the inputs are aligned to different references, or the file cannot be made.
        """
        self.path = Path(path)
        self._partial = self.path.with_name(self.path.name + PARTIAL)
        self._model = f"{bundle.manifest.name}@{bundle.manifest.version}+{bundle.sha256[:12]}"
        self._aligned = {name for name in inputs if is_alignment_file(name)}
        self._header = pysam.AlignmentHeader.from_dict(
            _merged_header([n for n in inputs if n in self._aligned], command)
        )
        self._records: Iterator[tuple[int, pysam.AlignedSegment]] = iter(())
        self._source = ""
        self._calls: OrderedDict[str, tuple[str, float]] = OrderedDict()
        try:
            self._out = pysam.AlignmentFile(os.fspath(self._partial), "wb", header=self._header)
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error

    def write(self, predictions: Predictions) -> None:
        for prediction in predictions:
            self._write(prediction)

    def _write(self, prediction: Prediction) -> None:
        read, decision = prediction.read, prediction.decision
        if read.source != self._source:
            self._finish_source()
            self._source = read.source
            if read.source in self._aligned:
                self._records = _records(read.source)
        call = (decision.label, decision.score)
        if read.source not in self._aligned:
            self._put(self._unaligned(read), call)
            return
        self._calls[read.id] = call
        if len(self._calls) > REMEMBERED:
            self._calls.popitem(last=False)
        for number, record in self._records:
            if number == read.record:
                self._put(record, call)
                return
            self._put(record, self._calls.get(record.query_name or ""))
        raise SinkError(f"{read.source} changed while it was scored: record {read.record + 1} is gone")

    def flush(self) -> None:
        """Nothing: a BAM file is read once it is complete."""

    def commit(self) -> None:
        self._finish_source()
        try:
            self._out.close()
            self._partial.replace(self.path)
        except OSError as error:
            raise self._failed(error) from error

    def abandon(self, *, keep: bool = False) -> None:  # noqa: ARG002  # a cut BAM file is of no use
        self._partial.unlink(missing_ok=True)
        try:
            self._out.close()
        except OSError:
            return  # the file is gone in any case

    def _finish_source(self) -> None:
        """Copies what follows the last read of a file: further copies of its reads."""
        for _, record in self._records:
            if record.flag & COPIES:
                self._put(record, self._calls.get(record.query_name or ""))
        self._records = iter(())
        self._calls.clear()

    def _put(self, record: pysam.AlignedSegment, call: tuple[str, float] | None) -> None:
        if call is None:
            for tag in _OURS:
                record.set_tag(tag, None)
        else:
            record.set_tag("el", call[0] or ".", "Z")
            record.set_tag("es", call[1], "f")
            record.set_tag("em", self._model, "Z")
        try:
            self._out.write(record)
        except OSError as error:
            raise self._failed(error) from error

    def _unaligned(self, read: Read) -> pysam.AlignedSegment:
        record = pysam.AlignedSegment(self._header)
        record.query_name = read.id[:254]
        record.flag = 4
        record.query_sequence = read.sequence.decode("ascii")
        if read.quality:
            record.query_qualities_str = read.quality.decode("ascii")
        for name, kind, value in _tags(read.description):
            record.set_tag(name, value, kind)
        return record

    def _failed(self, error: OSError) -> SinkError:
        return SinkError(f"{self.path}: cannot be written: {error.strerror or error}")


def is_alignment_file(path: str) -> bool:
    """Whether a file holds SAM or BAM, compressed or not."""
    from edgeseq.bam import MAGIC
    from edgeseq.inflate import DamageError, decompressed
    from edgeseq.sam import looks_like_sam

    if not Path(path).is_file():
        return False
    with Path(path).open("rb", buffering=0) as file:
        try:
            head = next(decompressed(file), b"")
        except (DamageError, OSError):
            return False
    return head.startswith(MAGIC) or looks_like_sam(head)


def _records(path: str) -> Iterator[tuple[int, pysam.AlignedSegment]]:
    """All records of a file with their numbers, up to damage: that is reported by whoever reads the reads."""
    with pysam.AlignmentFile(path, "r", check_sq=False) as file:
        try:
            yield from enumerate(file.fetch(until_eof=True))
        except OSError:
            return


def _merged_header(paths: Sequence[str], command: str) -> dict[str, Any]:
    """The header of the first file with the read groups of all, and this program at the end of its chain."""
    headers = []
    for path in paths:
        try:
            with pysam.AlignmentFile(path, "r", check_sq=False) as file:
                headers.append(file.header.to_dict())
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: its header cannot be copied: {error}") from error
    merged: dict[str, Any] = dict(headers[0]) if headers else {"HD": {"VN": "1.6", "SO": "unknown"}}
    groups: dict[str, Any] = {}
    for path, header in zip(paths, headers, strict=True):
        if header.get("SQ", []) != merged.get("SQ", []):
            raise UsageError(f"{paths[0]} and {path} are aligned to different references; give each its own output")
        for group in header.get("RG", []):
            groups.setdefault(group["ID"], group)
    if groups:
        merged["RG"] = list(groups.values())
    if len(headers) > 1 and "HD" in merged:
        merged["HD"] = {**merged["HD"], "SO": "unknown"}
    programs = list(merged.get("PG", []))
    taken = {program["ID"] for program in programs}
    name = next(
        name for number in range(len(taken) + 1) if (name := f"edgeseq.{number}" if number else "edgeseq") not in taken
    )
    ours = {"ID": name, "PN": "edgeseq", "VN": __version__}
    if programs:
        ours["PP"] = programs[-1]["ID"]
    if command:
        ours["CL"] = command
    merged["PG"] = [*programs, ours]
    return merged


def _tags(description: bytes) -> Iterator[tuple[str, TagType, str | int | float]]:
    """Name, type and value of what a header line says; what is no SAM tag is one comment."""
    text = description.decode("utf-8", "replace").translate(dict.fromkeys(range(32), "\t"))
    matches = [_TAG.fullmatch(part) for part in text.split("\t")]
    if not all(matches):
        if text:
            yield "CO", "Z", text.replace("\t", " ")
        return
    for match in matches:
        if match and match[1] not in _OURS:
            try:
                yield match[1], cast(TagType, match[2]), {"i": int, "f": float}.get(match[2], str)(match[3])
            except ValueError:
                continue  # not the number that its type promises
