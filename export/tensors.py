"""Tensors from weight files, as data and nothing else.

safetensors        memory-mapped
.pt .bin .ckpt     torch files, read with ``weights_only``: code in a pickle is refused, never run
NAME.index.json    shards; the index names the file of each tensor
NAME.part0 …       one torch file cut into byte ranges (Evo 2), joined while it is read
"""

from __future__ import annotations

import io
import json
import pickle
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from export.errors import CheckpointError

PART = re.compile(r"\.part(\d+)$")
_STATE_KEYS = ("state_dict", "model_state_dict", "model", "module")


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Name → tensor of one weight file, index of shards, or first byte range. Raises `CheckpointError`."""
    if path.name.endswith(".index.json"):
        return _read_shards(path)
    if PART.search(path.name):
        with _Parts(part_files(path)) as joined:
            return _read_torch(path, joined)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    return _read_torch(path, path)


def files_of(path: Path) -> list[Path]:
    """Every file that `read_tensors` opens for ``path``, in order. Raises `CheckpointError` where one is missing."""
    if path.name.endswith(".index.json"):
        return [path, *sorted(set(_shards(path).values()))]
    return part_files(path) if PART.search(path.name) else [path]


def part_files(path: Path) -> list[Path]:
    """All byte ranges of the file that ``path`` is one range of, in order. Raises `CheckpointError` for a gap."""
    stem = PART.sub("", path.name)
    numbered = {
        int(match.group(1)): file
        for file in path.parent.glob(f"{stem}.part*")
        if (match := PART.search(file.name)) and file.name == f"{stem}{match.group()}"
    }
    absent = sorted(set(range(len(numbered))) - numbered.keys())
    if absent:
        raise CheckpointError(path.parent / stem, f"part {absent[0]} is missing", remedy="download all parts again")
    return [numbered[number] for number in sorted(numbered)]


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(path, f"not a whole safetensors file: {error}", remedy="download it again") from error


def _read_torch(path: Path, source: Path | _Parts) -> dict[str, torch.Tensor]:
    try:
        # Evo 2 keeps calibration blobs as io.BytesIO: bytes, no code.
        with torch.serialization.safe_globals([io.BytesIO]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(source, map_location="cpu", weights_only=True)  # type: ignore[arg-type]
    except pickle.UnpicklingError as error:
        name = re.search(r"(?:GLOBAL|global) (\S+)", str(error))
        found = f" ({name.group(1)})" if name else ""
        raise CheckpointError(
            path,
            f"holds Python objects{found}, not just tensors; they are never loaded, since loading them can run code",
            remedy="save the state_dict as safetensors where you trust the file",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(path, f"not a whole torch file: {reason}", remedy="download it again") from error
    return dict(_flat(_state(path, content)))


def _state(path: Path, content: Any) -> Mapping[str, Any]:
    """The state dictionary in a training checkpoint."""
    for _ in range(3):
        if not isinstance(content, Mapping):
            raise CheckpointError(path, f"holds a {type(content).__name__}, not a dictionary of tensors")
        if any(isinstance(value, torch.Tensor) for value in content.values()):
            return content
        inner = next((content[key] for key in _STATE_KEYS if key in content), None)
        if inner is None:
            break
        content = inner
    raise CheckpointError(path, "holds no dictionary of tensors")


def _flat(state: Mapping[Any, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a state dictionary; a blob of bytes becomes a tensor of bytes."""
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            yield str(name), value.detach()
        elif isinstance(value, io.BytesIO):
            yield str(name), torch.frombuffer(bytearray(value.getvalue() or b"\0"), dtype=torch.uint8)


def _shards(index: Path) -> dict[str, Path]:
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = {str(name): index.parent / str(file) for name, file in names.items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(index, f"not an index of shards: {error}") from error
    for file in shards.values():
        if file.parent != index.parent or not file.is_file():
            raise CheckpointError(index, f"names the shard {file.name}, which is not beside it")
    return shards


def _read_shards(index: Path) -> dict[str, torch.Tensor]:
    shards = _shards(index)
    tensors: dict[str, torch.Tensor] = {}
    for file in sorted(set(shards.values())):
        tensors.update(read_tensors(file))
    absent = sorted(shards.keys() - tensors.keys())
    if absent:
        raise CheckpointError(index, f"names the tensor {absent[0]}, which no shard holds")
    return tensors


class _Parts(io.RawIOBase):
    """Files read as if they were one, without a copy on disk."""

    def __init__(self, files: Iterable[Path]) -> None:
        super().__init__()
        self._streams = [file.open("rb") for file in files]
        sizes = [stream.seek(0, io.SEEK_END) for stream in self._streams]
        self._starts = [sum(sizes[:number]) for number in range(len(sizes) + 1)]
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._starts[-1])[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        end = self._starts[-1] if size is None or size < 0 else min(self._at + size, self._starts[-1])
        pieces = []
        for stream, first, last in zip(self._streams, self._starts, self._starts[1:], strict=False):
            if self._at < last and first < end:
                stream.seek(self._at - first)
                pieces.append(stream.read(min(end, last) - self._at))
                self._at = min(end, last)
        return b"".join(pieces)

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        for stream in self._streams:
            stream.close()
        super().close()
