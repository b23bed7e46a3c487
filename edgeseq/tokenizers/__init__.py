"""Bases and residues to token ids, as data: a specification in the bundle says how, `load_tokenizer` reads it.

byte          one token for each byte of UTF-8 (Evo)
nucleotide    one token for each base (HyenaDNA, Caduceus, GPN, NTv3, MxDNA, the embedded panel)
kmer          k bases in a token, overlapping (DNABERT) or not (Nucleotide Transformer)
protein       one token for each residue (ESM)
bpe           learned pieces, from the JSON of the ``tokenizers`` library (DNABERT-2, GENA-LM)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import TokenizerError
from edgeseq.tokenizers.bpe import BpeTokenizer
from edgeseq.tokenizers.byte import ByteTokenizer
from edgeseq.tokenizers.fields import Fields
from edgeseq.tokenizers.frame import Ids
from edgeseq.tokenizers.nucleotide import NucleotideTokenizer
from edgeseq.tokenizers.overlapping import OverlappingKmerTokenizer
from edgeseq.tokenizers.protein import ProteinTokenizer
from edgeseq.tokenizers.tiled import TiledKmerTokenizer


class Tokenizer(Protocol):
    """What every kind of tokenizer gives."""

    pad_id: int
    """Fills rows of a batch."""
    pad_side: Literal["left", "right"]
    """Where the published tokenizer puts padding."""

    @property
    def byte_ids(self) -> bytes | None:
        """The id of each of the 256 bytes, where a row of ASCII is just that and ids are bytes: `encode` as a table for
        ``bytes.translate``. ``None`` where a row is anything else."""
        ...

    @property
    def bases_per_token(self) -> float:
        """Bases (residues) in a typical token; `token_count` has the bound."""
        ...

    def encode(self, sequence: bytes) -> Ids:
        """The ids of one window, special tokens included: one-dimensional, of an integer type, maybe read-only."""
        ...

    def decode(self, ids: Ids) -> bytes:
        """The sequence of a row. Raises `TokenizerError` where a token has lost it."""
        ...

    def spans(self, sequence: bytes) -> NDArray[np.int64]:
        """Where each token that `encode` gives for a normalised window lies on it: start and end in bases (tokens × 2).

        Special tokens start and end at the same place.
        """
        ...

    def token_count(self, bases: int) -> int:
        """The most ids that a normalised window of that many bases can have."""
        ...

    def spec(self) -> dict[str, Any]:
        """The specification, which `load_tokenizer` reads."""
        ...


def _kmer(spec: Mapping[str, object]) -> Tokenizer:
    fields = Fields(spec)
    return OverlappingKmerTokenizer(fields) if fields.flag("overlap", False) else TiledKmerTokenizer(fields)


_KINDS: dict[str, Callable[[Mapping[str, object]], Tokenizer]] = {
    "byte": ByteTokenizer,
    "nucleotide": NucleotideTokenizer,
    "kmer": _kmer,
    "protein": ProteinTokenizer,
}


def load_tokenizer(data: bytes | Mapping[str, object]) -> Tokenizer:
    """The tokenizer that a ``tokenizer.json`` describes: ours (with ``type``) or that of the ``tokenizers`` library.

    Raises `TokenizerError` where it is neither, or is incomplete, and `MissingExtraError` where ``tokenizers`` is
    needed and absent.
    """
    spec = data if isinstance(data, Mapping) else _parse(data)
    kind = spec.get("type")
    if isinstance(kind, str) and kind in _KINDS:
        return _KINDS[kind](spec)
    if kind is None and isinstance(spec.get("model"), Mapping):
        return BpeTokenizer(spec)
    raise TokenizerError(f"tokenizer specification: type {kind!r} is unknown; this version has {', '.join(_KINDS)}")


def _parse(data: bytes) -> Mapping[str, object]:
    try:
        spec = json.loads(data)
    except ValueError as error:
        raise TokenizerError(f"tokenizer specification is not JSON: {error}") from error
    if not isinstance(spec, dict):
        raise TokenizerError("tokenizer specification is not a JSON object")
    return spec
