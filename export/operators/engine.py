"""A node of the engine's own operator set (``com.microsoft``) in the graph that is being made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch

DOMAIN = "com.microsoft"

Attribute = int | float | str | bool | Sequence[int] | Sequence[float] | Sequence[str]


_PLAIN: ContextVar[bool] = ContextVar("plain", default=False)


def exporting() -> bool:
    """Whether the surrounding call makes a graph of the engine's operators, rather than computing."""
    return torch.compiler.is_exporting() and not _PLAIN.get()


@contextmanager
def plain() -> Iterator[None]:
    """While it lasts, graphs are made of the torch forms, as the exporter takes any module: what ours is compared
    with."""
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def node(
    operator: str,
    inputs: Sequence[torch.Tensor | None],
    shape: Sequence[int | torch.SymInt],
    dtype: torch.dtype,
    attributes: Mapping[str, Attribute] | None = None,
    *,
    domain: str = DOMAIN,
    version: int = 1,
) -> torch.Tensor:
    """The output, of ``shape``, of a node with these inputs; an absent input is None. Only while `exporting`."""
    result: torch.Tensor = torch.onnx.ops.symbolic(
        f"{domain}::{operator}" if domain else operator,
        inputs,
        dict(attributes or {}),
        dtype=dtype,
        shape=tuple(shape),
        version=version,
    )
    return result
