"""Raw signal of POD5 files, for tests: Arrow tables between markers, samples as VBZ (zstd, variable bytes, deltas)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x8bPOD\r\n\x1a\n"


def raw_signals(path: Path) -> list[NDArray[np.int16]]:
    """The samples of each read, as recorded."""
    signals, reads = None, None
    data = path.read_bytes()
    assert data.startswith(_SIGNATURE)
    for section in data[24:].split(data[8:24]):
        if section.startswith(b"ARROW1"):
            table = _table(section)
            signals = table if "samples" in table else signals
            reads = table if "calibration_scale" in table else reads
    assert signals is not None
    assert reads is not None
    parts = [_samples(*part) for part in zip(signals["signal"], signals["samples"], strict=True)]
    return [np.concatenate([parts[row] for row in rows]) for rows in reads["signal"]]


def _table(section: bytes) -> dict[str, list[Any]]:
    """The columns that are asked for, of an Arrow file that padding follows."""
    import pyarrow as pa

    file = pa.ipc.open_file(pa.BufferReader(section[: section.rindex(b"ARROW1") + 6]))
    table = file.read_all()
    found: dict[str, list[Any]] = {}
    for name in {"signal", "samples", "calibration_scale"} & set(table.column_names):
        column = table.column(name)
        storage = getattr(column.type, "storage_type", None)
        found[name] = (column.cast(storage) if storage is not None else column).to_pylist()
    return found


def _samples(packed: bytes, count: int) -> NDArray[np.int16]:
    import pyarrow as pa

    plain = np.frombuffer(pa.input_stream(pa.BufferReader(packed), compression="zstd").read(), np.uint8)
    control, data = np.split(plain, [-(-count // 8)])
    wide = np.unpackbits(control, bitorder="little")[:count].astype(np.int64)
    ends = np.cumsum(1 + wide)
    starts = ends - 1 - wide
    values = data[starts].astype(np.int64) + wide * 256 * data[np.minimum(ends - 1, len(data) - 1)]
    deltas = (values >> 1) ^ -(values & 1)
    return np.cumsum(deltas).astype(np.int16)
