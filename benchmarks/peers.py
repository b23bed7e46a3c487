"""Modules of the transformers library in the shapes of `benchmarks.shapes`, with random weights.

They are what a user without a bundle runs. Families that the library has only as remote code, or not at all, have none.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import nn


def esm2() -> nn.Module:
    """ESM-2 8M with its head."""
    network: nn.Module = _library().EsmForMaskedLM(
        _esm(320, heads=20, layers=6, inner=1280, vocabulary=33, positions=1026, position_embedding_type="rotary")
    )
    return network


def esm1b() -> nn.Module:
    """One layer of ESM-1b."""
    return _esm_model(1280, heads=20, layers=1, inner=5120, vocabulary=33, positions=1026, emb_layer_norm_before=True)


def nt_v1() -> nn.Module:
    """One layer of Nucleotide Transformer v1 500M."""
    return _esm_model(1280, heads=20, layers=1, inner=5120, vocabulary=4105, positions=1002)


def dnabert() -> nn.Module:
    """Two layers of DNABERT."""
    shape = _library().BertConfig(vocab_size=4101, num_hidden_layers=2)
    network: nn.Module = _library().BertModel(shape, add_pooling_layer=False)
    return network


PEERS: dict[str, Callable[[], nn.Module]] = {"ESM-2": esm2, "ESM-1b": esm1b, "NT v1": nt_v1, "DNABERT": dnabert}
"""By the names of `benchmarks.shapes.SHAPES`."""


def peer(family: str) -> nn.Module:
    """The library's module, ready to be run with ids and mask."""
    torch.manual_seed(0)
    return PEERS[family]().eval()


def _esm(
    width: int, *, heads: int, layers: int, inner: int, vocabulary: int, positions: int, **switches: object
) -> Any:
    return _library().EsmConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=positions,
        layer_norm_eps=1e-5,
        token_dropout=True,
        mask_token_id=2,
        pad_token_id=1,
        **switches,
    )


def _esm_model(width: int, **sizes: Any) -> nn.Module:
    network: nn.Module = _library().EsmModel(_esm(width, **sizes), add_pooling_layer=False)
    return network


def _library() -> Any:
    return import_module("transformers")
