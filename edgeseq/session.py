"""The inference engine behind one small class; the only module that imports onnxruntime.

Settings that differ from the engine's own, and why:

* Idle threads do not spin: beside a basecaller or in a battery-powered box, cores belong to whoever has work.
* Memory patterns are off: they are remembered per input shape, and reads bring thousands of shapes. With the arena on
  this is the flattest and the fastest choice (over 300 batches of changing shape, two threads: 77 MB and flat for a
  convolution, against 186 MB and growing without the arena).
* Nothing is logged: what goes wrong arrives as an exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as engine

from edgeseq.errors import EngineError

PREFERENCE = ("tensorrt", "cuda", "cpu")
"""Which of the available providers is used when nobody says."""

_ERRORS = (
    engine.EPFail,
    engine.EngineError,
    engine.Fail,
    engine.InvalidArgument,
    engine.InvalidGraph,
    engine.InvalidProtobuf,
    engine.ModelLoaded,
    engine.NoModel,
    engine.NoSuchFile,
    engine.NotImplemented,
    engine.RuntimeException,
    MemoryError,
    RuntimeError,
    ValueError,
)
_TYPES = {
    "bool": np.dtype(np.bool_),
    "double": np.dtype(np.float64),
    "float": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "int32": np.dtype(np.int32),
    "int64": np.dtype(np.int64),
    "int8": np.dtype(np.int8),
    "uint8": np.dtype(np.uint8),
}
_SILENT = 4
_SUFFIX = "ExecutionProvider"

VERSION: str = onnxruntime.__version__
"""The engine's version."""


def available_providers() -> tuple[str, ...]:
    """Short names (``cpu``, ``cuda``, ``tensorrt`` …) of what this build of the engine can run on, best first."""
    found = [name.removesuffix(_SUFFIX).lower() for name in onnxruntime.get_available_providers()]
    found = [name for name in found if name != "azure"]  # sends requests over the network
    return tuple(sorted(found, key=lambda name: (PREFERENCE.index(name) if name in PREFERENCE else 1, name)))


class Session:
    """A loaded graph. `run` may be called from several threads at a time; it releases the interpreter lock.

    ``provider`` is the short name of what runs the graph, ``inputs`` and ``outputs`` the names of its tensors.
    """

    def __init__(self, graph: bytes, *, threads: int = 1, providers: Sequence[str] | None = None) -> None:
        """Loads ``graph`` with ``threads`` threads inside each operator.

        ``providers`` are short or full names, in the order of preference; operators that the first cannot run fall to
        the next, and to the CPU. Without it `PREFERENCE` decides.

        Raises EngineError for a provider that is not available, for a graph that the engine refuses, and where a
        provider that was asked for does not start.
        """
        if threads < 1:
            raise EngineError(f"{threads} threads; the engine needs 1 or more")
        chosen = _choose(providers)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.enable_mem_pattern = False
        options.log_severity_level = _SILENT
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(bytes(graph), options, providers=list(chosen.values()))
        except _ERRORS as error:
            raise EngineError(f"the engine refuses the graph: {_first_line(error)}") from error
        self.provider: str = self._session.get_providers()[0].removesuffix(_SUFFIX).lower()
        self.threads = threads
        if providers and self.provider != next(iter(chosen)):
            raise EngineError(f"provider {next(iter(chosen))} does not start on this machine; {self.provider} does")
        self._inputs = {
            each.name: (_type(each.name, each.type), tuple(each.shape)) for each in self._session.get_inputs()
        }
        self.inputs: tuple[str, ...] = tuple(self._inputs)
        self.outputs: tuple[str, ...] = tuple(each.name for each in self._session.get_outputs())
        self._options = onnxruntime.RunOptions()
        self._options.log_severity_level = _SILENT

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Output name → array, for one batch. The arrays belong to the caller.

        Integers are widened where no value can change (uint8 ids for an int64 input). Raises EngineError for a missing
        or unknown input, another type or shape, and for what the engine cannot compute.
        """
        try:
            found = self._session.run(None, self._check(inputs), self._options)
        except _ERRORS as error:
            raise EngineError(f"the engine cannot run the graph: {_first_line(error)}") from error
        return dict(zip(self.outputs, found, strict=True))

    def _check(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        if inputs.keys() != self._inputs.keys():
            raise EngineError(f"the graph takes {', '.join(self.inputs)}; got {', '.join(inputs) or 'nothing'}")
        return {name: _fit(name, array, *self._inputs[name]) for name, array in inputs.items()}


def _choose(providers: Sequence[str] | None) -> dict[str, str]:
    """Short name → full name of the providers to use, the CPU last."""
    available = {name.removesuffix(_SUFFIX).lower(): name for name in onnxruntime.get_available_providers()}
    wanted = providers or [name for name in PREFERENCE if name in available]
    chosen: dict[str, str] = {}
    for name in wanted:
        short = name.removesuffix(_SUFFIX).lower()
        if short not in available:
            raise EngineError(f"provider {name!r} is not available; this engine has {', '.join(available_providers())}")
        chosen[short] = available[short]
    chosen.setdefault("cpu", "CPU" + _SUFFIX)
    return chosen


def _type(name: str, described: str) -> np.dtype[Any]:
    short = described.removeprefix("tensor(").removesuffix(")")
    if short not in _TYPES:
        raise EngineError(f"input {name} is a {described}, which this runtime does not feed")
    return _TYPES[short]


def _fit(name: str, array: NDArray[Any], wanted: np.dtype[Any], shape: tuple[object, ...]) -> NDArray[Any]:
    if not isinstance(array, np.ndarray):
        raise EngineError(f"{name} is a {type(array).__name__}, not an array")
    if array.dtype != wanted:
        if array.dtype.kind not in "iu" or wanted.kind not in "iu" or not np.can_cast(array.dtype, wanted, "safe"):
            raise EngineError(f"{name} is {array.dtype}; the graph takes {wanted}")
        array = array.astype(wanted)
    fits = array.ndim == len(shape) and all(
        not isinstance(axis, int) or axis == size for axis, size in zip(shape, array.shape, strict=True)
    )
    if not fits:
        raise EngineError(f"{name} has shape {array.shape}; the graph takes {shape}")
    if 0 in array.shape:
        raise EngineError(f"{name} has shape {array.shape}: there is nothing to run")
    return array


def _first_line(error: BaseException) -> str:
    """The engine's own words, without its tag."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].removeprefix("[ONNXRuntimeError] : ")
