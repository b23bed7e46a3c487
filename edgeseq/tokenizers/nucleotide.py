"""One token for each base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import TokenizerError
from edgeseq.tokenizers.fields import Fields
from edgeseq.tokenizers.frame import Frame, Ids
from edgeseq.tokenizers.letters import Letters


class NucleotideTokenizer:
    """A vocabulary of single letters, as in HyenaDNA, Caduceus, GPN, NTv3, MxDNA and the embedded panel.

    Specification: ``{"type": "nucleotide", "vocabulary": {"A": 0, …}, "pad": 5}`` and, where needed, ``unknown`` (id
    of every other character; without it, that of N), ``case`` (``"exact"``, or ``"either"``: lower case counts as
    upper), ``ignore`` (characters that get no token) and the entries of `Frame`. The ids are uint8 where they fit;
    where nothing is added to the sequence they are a read-only view of one translated copy.
    """

    bases_per_token = 1.0

    def __init__(self, spec: Mapping[str, object]) -> None:
        fields = Fields(spec)
        self._frame = Frame.read(fields)
        self._vocabulary = fields.ids("vocabulary", letters=True)
        if "N" in self._vocabulary:
            self._unknown = fields.number("unknown", self._vocabulary["N"])
        else:
            self._unknown = fields.number("unknown")
        self._case = fields.text("case", "exact", choices=("exact", "either"))
        self._ignore = fields.text("ignore", "")
        fields.done()
        if not self._ignore.isascii():
            raise TokenizerError("tokenizer specification: 'ignore' holds characters outside ASCII")
        self._letters = Letters(self._vocabulary, self._unknown, self._frame, either_case=self._case == "either")
        self._bytes = self._letters.table.tobytes() if self._letters.table.dtype == np.uint8 else b""
        self._ignored = self._ignore.encode()
        self.pad_id = self._frame.pad
        self.pad_side = self._frame.pad_side
        self.byte_ids = self._bytes if self._bytes and self._frame.empty and not self._ignore else None

    def encode(self, sequence: bytes) -> Ids:
        """The ids of one window, special tokens included, of shape (tokens,)."""
        return self._frame.encode(sequence, self._body)

    def _body(self, text: bytes) -> Ids:
        if self._bytes:
            return np.frombuffer(text.translate(self._bytes, self._ignored), np.uint8)
        kept = text.translate(None, self._ignored) if self._ignored else text
        ids: Ids = self._letters.table[np.frombuffer(kept, np.uint8)]
        return ids

    def decode(self, ids: Ids) -> bytes:
        """The bases of a row, without special tokens and padding. Raises `TokenizerError` at an unknown token."""
        return self._letters.decode(ids)

    def token_count(self, bases: int) -> int:
        """How many ids a window of that many bases has (with ``ignore``, at most)."""
        return self._frame.count(bases)

    def spans(self, sequence: bytes) -> NDArray[np.int64]:
        """Where each token of `encode` lies on a normalised window: start and end in bases (tokens × 2)."""
        places = np.arange(len(sequence))
        if self._ignored:
            places = places[~np.isin(np.frombuffer(sequence, np.uint8), np.frombuffer(self._ignored, np.uint8))]
        return self._frame.spans(places, places + 1)

    def spec(self) -> dict[str, Any]:
        """The specification, which `edgeseq.tokenizers.load_tokenizer` reads."""
        spec: dict[str, Any] = {"type": "nucleotide", "vocabulary": dict(self._vocabulary), **self._frame.spec()}
        if self._unknown != self._vocabulary.get("N"):
            spec["unknown"] = self._unknown
        if self._case != "exact":
            spec["case"] = self._case
        if self._ignore:
            spec["ignore"] = self._ignore
        return spec
