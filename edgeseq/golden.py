"""The golden cases of a bundle: graph inputs with the outputs they must give, as ``golden.npz``.

Keys are tensor names, with ``.0``, ``.1`` … behind them where there are several cases, and ``tolerance``: the largest
absolute difference that still passes. The file is a stored npz that ``numpy.load`` reads as well; it never holds
pickled objects.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from edgeseq.archive import pack, unpack
from edgeseq.errors import BundleDamagedError
from edgeseq.manifest import Graph, Tensor

MEMBER = "golden.npz"
_KINDS = "biuf"


@dataclass(frozen=True, slots=True)
class Case:
    """One run of the graph: tensor name → array."""

    inputs: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Golden:
    """All cases, and the largest absolute difference that passes."""

    cases: tuple[Case, ...]
    tolerance: float


def pack_golden(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """An npz of ``arrays`` in the order of their names; the same arrays give the same bytes.

    Raises ValueError for arrays of objects.
    """
    members: dict[str, bytes] = {}
    for name in sorted(arrays):
        stream = io.BytesIO()
        npy.write_array(stream, np.asarray(arrays[name], order="C"), version=(1, 0), allow_pickle=False)
        members[f"{name}.npy"] = stream.getvalue()
    return pack(members)


def read_golden(data: bytes, graph: Graph, *, bundle: str) -> Golden:
    """The cases in ``data``, checked against the inputs and outputs that ``graph`` declares.

    Each case has every input and at least one output. Raises BundleDamagedError.
    """
    arrays = {name.removesuffix(".npy"): _read_array(name, raw, bundle) for name, raw in unpack(data, bundle).items()}
    tolerance = arrays.pop("tolerance", None)
    if tolerance is None or tolerance.shape != () or not 0 < float(tolerance) < np.inf:
        raise BundleDamagedError(bundle, "the tolerance is missing or not a number larger than 0", member=MEMBER)
    inputs = {tensor.name: tensor for tensor in graph.inputs}
    outputs = {tensor.name: tensor for tensor in graph.outputs}
    cases: dict[str, Case] = {}
    for key, array in arrays.items():
        name, dot, number = key.rpartition(".")
        if not (dot and number.isdecimal()):
            name, number = key, ""
        case = cases.setdefault(number, Case({}, {}))
        side, tensors = (case.inputs, inputs) if name in inputs else (case.outputs, outputs)
        if name not in tensors:
            raise BundleDamagedError(bundle, f"{key} is no tensor of the graph", member=MEMBER)
        _check_tensor(key, array, tensors[name], bundle)
        assert isinstance(side, dict)
        side[name] = array
    for number, case in cases.items():
        absent = sorted(inputs.keys() - case.inputs.keys())
        if absent or not case.outputs:
            problem = f"case {number or '0'} lacks {', '.join(absent) or 'an output'}"
            raise BundleDamagedError(bundle, problem, member=MEMBER)
    if not cases:
        raise BundleDamagedError(bundle, "there is no case to test", member=MEMBER)
    return Golden(cases=tuple(cases.values()), tolerance=float(tolerance))


def _read_array(name: str, raw: bytes, bundle: str) -> NDArray[Any]:
    """One ``.npy``; its header is compared with its size before anything is allocated."""
    stream = io.BytesIO(raw)
    try:
        if npy.read_magic(stream) != (1, 0):
            raise ValueError("another npy version")
        shape, fortran, dtype = npy.read_array_header_1_0(stream)
        if dtype.hasobject or dtype.kind not in _KINDS or fortran:
            raise ValueError(f"arrays of {dtype} are not allowed")
        count = 1
        for axis in shape:
            count *= axis
        if count * dtype.itemsize != len(raw) - stream.tell():
            raise ValueError(f"{shape} of {dtype} do not fill {len(raw) - stream.tell()} bytes")
        array: NDArray[Any] = np.frombuffer(raw, dtype, offset=stream.tell()).reshape(shape)
    except ValueError as error:
        raise BundleDamagedError(bundle, f"{name}: {error}", member=MEMBER) from error
    return array


def _check_tensor(key: str, array: NDArray[Any], tensor: Tensor, bundle: str) -> None:
    if array.dtype != np.dtype(tensor.dtype):
        raise BundleDamagedError(bundle, f"{key} is {array.dtype}; the graph has {tensor.dtype}", member=MEMBER)
    fits = len(array.shape) == len(tensor.shape) and all(
        isinstance(axis, str) or axis == size for axis, size in zip(tensor.shape, array.shape, strict=True)
    )
    if not fits or 0 in array.shape:
        raise BundleDamagedError(bundle, f"{key} has shape {array.shape}; the graph has {tensor.shape}", member=MEMBER)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BundleDamagedError(bundle, f"{key} holds values that are not finite", member=MEMBER)
