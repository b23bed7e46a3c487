"""Read headers of every dialect → `Header`.

Known: Guppy's and MinKNOW's ``key=value`` in any order, an id alone, dorado's and samtools' SAM tags (``XX:T:value``,
parted by tabs), and archive re-exports (``1 length=654``). BAM records come here as SAM tags.
Dialects may be mixed in one line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

from edgeseq.header import Header

_RUN = r"[0-9a-f]{40}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_TAG = re.compile(r"([A-Za-z][A-Za-z0-9]):([AifZHB]):(.*)", re.DOTALL)
_KEY = re.compile(r"[A-Za-z_][\w.-]*")
_READ_GROUP = re.compile(
    rf"({_RUN})_(.+?)(?:_(?:[A-Z]{{2,4}}-[^_@]+_)?(barcode\d+[a-z]?|unclassified))?", re.IGNORECASE
)
_VERSIONED = re.compile(r".+?@v\d+(?:\.\d+)*")
_BARCODE = re.compile(r"(?:barcode\d+[a-z]?|unclassified)", re.IGNORECASE)
_KIT_BARCODE = re.compile(r".*?(barcode\d+[a-z]?|unclassified)", re.IGNORECASE)
_OUTPUT = re.compile(r"(?:(?:fastq|fasta|bam|sam|reads)_)?(?:pass|fail|skip)", re.IGNORECASE)
_FREE_TEXT = frozenset({"sample_id", "sampleid", "protocol_group_id", "experiment_id", "barcode_alias", "DS", "CO"})
"""Keys whose values may hold spaces."""
_VISIBLE = re.compile(rb"[!-~]+")
_BARCODE_TAG = re.compile(rb"\tBC:Z:([!-~]+)(?![^\t])")
_GROUP_TAG = re.compile(rb"\tRG:Z:([!-~]+)(?![^\t])")
_MODEL = ("basecall_model_version_id", "basecall_model", "model_version_id")


def parse_header(description: bytes, *, source: str = "", read_id: str = "") -> Header:
    """The header that ``description`` (the line after the id) and the folders of ``source`` give.

    Unknown and damaged parts are passed over; nothing is raised. A barcode folder in ``source`` (``barcode07``,
    ``unclassified``, or the alias below ``fastq_pass`` and the like) wins over the header's barcode. Where the two
    disagree, the header's stands in ``tags["barcode_conflict"]``. ``parent`` is never ``read_id`` itself.
    """
    return header_of(fields(description), source=source, read_id=read_id)


def barcode(description: bytes, source: str = "") -> str:
    """``parse_header(description, source=source).barcode``, without parsing headers that are easy to see through."""
    if folder := folder_barcode(source):
        return folder
    if (pair := description.rfind(b"barcode=")) >= 0:
        value, _, _ = description[pair + 8 :].partition(b" ")
        found = (
            _given_barcode(value) if description[pair - 1 : pair] in (b" ", b"") and b"\t" not in description else ""
        )
        if found:
            return found
    elif tags := description.count(b"BC"):
        if tags == 1 and (tag := _BARCODE_TAG.search(b"\t" + description)):
            return _plain_barcode(tag[1].decode())
    elif groups := description.count(b"RG"):
        if groups == 1 and (group := _GROUP_TAG.search(b"\t" + description)):
            return _plain_barcode(_read_group(group[1].decode())[2])
    else:
        return ""
    return parse_header(description).barcode


def barcodes(descriptions: Sequence[bytes], source: str = "") -> list[str]:
    """`barcode` of each of several reads of one source."""
    if folder := folder_barcode(source):
        return [folder] * len(descriptions)
    text = b"\n" + b"\n".join(descriptions)
    keys = text.count(b"barcode=")
    if not keys and b"BC" not in text and b"RG" not in text:
        return [""] * len(descriptions)
    if b"\t" in text or keys != text.count(b" barcode=") + text.count(b"\nbarcode="):
        return [barcode(description) for description in descriptions]
    values = [description.rpartition(b"barcode=") for description in descriptions]
    return [
        (_given_barcode(value.partition(b" ")[0]) if key else "") or barcode(before + key + value)
        for before, key, value in values
    ]


def fields(description: bytes) -> dict[str, str]:
    """Key → value of every ``key=value`` and ``XX:T:value`` but arrays; of a repeated key the last value not empty.

    The pairs inside dorado's ``DS`` tag (``runid=… basecall_model=…``) count where nothing else gives their keys.
    """
    text = description.decode("utf-8", "replace").strip("\r\n")
    found: dict[str, str] = {}
    key = ""
    tabbed = "\t" in text
    for part in text.split("\t") if tabbed else text.split():
        if part[2:3] == ":" and (tag := _TAG.fullmatch(part)):
            key = tag[1]
            if tag[2] != "B":
                _keep(found, key, tag[3])
        elif tabbed and " " in part:
            for inner, value in fields(part.encode()).items():
                _keep(found, inner, value)
        elif (pair := part.partition("="))[1] and _is_key(pair[0]):
            key = pair[0]
            _keep(found, key, pair[2])
        elif key in _FREE_TEXT and found.get(key):
            found[key] += f" {part}"
    for word in found.get("DS", "").split():
        name, sign, value = word.partition("=")
        if sign and _is_key(name):
            found.setdefault(name, value)
    return found


def header_of(found: Mapping[str, str], *, source: str = "", read_id: str = "") -> Header:
    """The header that the ``fields`` of a read and the folders of ``source`` give; see `parse_header`."""
    tags = dict(found)
    run, model, group_barcode = _read_group(found.get("RG", ""))
    start = _first(found, "start_time", "st")
    parent = _first(found, "parent_read_id", "pi")
    barcode = _plain_barcode(_first(found, "barcode", "BC") or group_barcode)
    alias = found.get("barcode_alias", "")
    folder = folder_barcode(source)
    if folder:
        given = barcode if _BARCODE.fullmatch(folder) else alias
        if given and given.lower() != folder.lower():
            tags["barcode_conflict"] = given
        barcode = folder
    return Header(
        run=_first(found, "runid", "run_id") or run,
        channel=_number(_first(found, "ch", "channel")),
        number=_number(_first(found, "read", "rn")),
        start_time=start if start[:1].isdigit() else "",
        barcode=barcode,
        parent="" if parent == read_id else parent,
        flow_cell=_first(found, "flow_cell_id"),
        sample=_first(found, "sample_id", "sampleid"),
        model=_first(found, *_MODEL) or model,
        tags=tags,
    )


@lru_cache(maxsize=4096)
def folder_barcode(source: str) -> str:
    """The barcode or alias folder that ``source`` lies in, or an empty string."""
    folders = re.split(r"[\\/]+", source)[:-1]
    for folder in reversed(folders):
        if _BARCODE.fullmatch(folder):
            return folder.lower()
    for above, folder in pairwise(folders):
        if _OUTPUT.fullmatch(above):
            return folder
    return ""


@lru_cache(maxsize=1024)
def _read_group(name: str) -> tuple[str, str, str]:
    """Run, model and barcode of a read group id ``<run>_<model>[_<modification models>][_[<kit>_]<barcode>]``."""
    group = _READ_GROUP.fullmatch(name)
    if not group:
        return "", "", ""
    versioned = _VERSIONED.match(group[2])
    return group[1], versioned[0] if versioned else group[2], group[3] or ""


@lru_cache(maxsize=1024)
def _is_key(name: str) -> bool:
    return _KEY.fullmatch(name) is not None


@lru_cache(maxsize=1024)
def _given_barcode(value: bytes) -> str:
    """What ``barcode=value`` names; an empty string for a value that not every reading of a header agrees on."""
    return _plain_barcode(value.decode()) if _VISIBLE.fullmatch(value) else ""


def _keep(found: dict[str, str], key: str, value: str) -> None:
    if value or key not in found:
        found[key] = value


def _first(found: Mapping[str, str], *keys: str) -> str:
    for key in keys:
        if value := found.get(key):
            return value
    return ""


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


@lru_cache(maxsize=1024)
def _plain_barcode(barcode: str) -> str:
    """``barcode01`` for ``SQK-NBD114-24_barcode01``; anything else as it is."""
    kit = _KIT_BARCODE.fullmatch(barcode)
    return kit[1].lower() if kit else barcode
