"""What a graph refers to outside of its own bytes, read from the protobuf without decoding any tensor.

An ONNX graph can name files to take its weights or a compiled engine from. A bundle's graph is whole or refused:
otherwise a verified bundle could still load bytes that nobody verified. Message and field numbers are those of
``onnx.proto`` 1.0.
"""

from __future__ import annotations

from collections.abc import Iterator

_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION, _TENSOR_NAME = 13, 14, 8
_OP_TYPE = 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DEPTH = 200


def outside_references(graph: bytes) -> list[str]:
    """A sentence for each tensor or node of ``graph`` that takes data from elsewhere; empty for a whole graph.

    Raises ValueError where ``graph`` is no protobuf message.
    """
    found: list[str] = []
    pending: list[tuple[str, int, int, int]] = [("model", 0, len(graph), 0)]
    while pending:
        kind, start, end, depth = pending.pop()
        if depth > _DEPTH:
            raise ValueError(f"graphs nested more than {_DEPTH} deep")
        inner = _MESSAGES[kind]
        name, outside = b"", False
        for field, wire, value, first, last in _fields(graph, start, end):
            if wire == _BYTES and field in inner:
                pending.append((inner[field], first, last, depth + 1))
            elif kind == "tensor" and wire == _BYTES and field == _TENSOR_NAME:
                name = graph[first:last]
            elif kind == "tensor":
                outside |= field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0)
            elif kind == "node" and field == _OP_TYPE and graph[first:last] == b"EPContext":
                found.append("a node takes its graph from a compiled engine")
        if outside:
            found.append(f"tensor {name.decode('utf-8', 'backslashreplace')!r} takes its data from another file")
    return found


def _fields(data: bytes, position: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Field number, wire type, value of a varint, start and end of the bytes of each field of one message."""
    while position < end:
        key, position = _varint(data, position, end)
        wire, value, first = key & 7, 0, position
        if wire == _VARINT:
            value, position = _varint(data, position, end)
        elif wire == _FIXED64:
            position += 8
        elif wire == _FIXED32:
            position += 4
        elif wire == _BYTES:
            size, first = _varint(data, position, end)
            position = first + size
        else:
            raise ValueError(f"no protobuf message: wire type {wire} at byte {position}")
        if position > end:
            raise ValueError(f"no protobuf message: a field ends at byte {position}, its message at {end}")
        yield key >> 3, wire, value, first, position


def _varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while position < end and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError(f"no protobuf message: a number without end at byte {position}")
