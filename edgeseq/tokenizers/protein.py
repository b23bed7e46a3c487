"""One token for each residue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.tokenizers.fields import Fields
from edgeseq.tokenizers.frame import Frame, Ids
from edgeseq.tokenizers.letters import Letters, run_starts
from edgeseq.tokenizers.text import SPACES

_SPACE = np.isin(np.arange(256), np.frombuffer(SPACES, np.uint8))


class ProteinTokenizer:
    """Single residues, as in ESM: case counts, white space separates, and a run of unknown characters is one token.

    Specification: ``{"type": "protein", "vocabulary": {"L": 4, …}, "unknown": 3, "pad": 1}`` and the entries of
    `Frame`.
    """

    bases_per_token = 1.0
    byte_ids = None

    def __init__(self, spec: Mapping[str, object]) -> None:
        fields = Fields(spec)
        self._frame = Frame.read(fields)
        self._vocabulary = fields.ids("vocabulary", letters=True)
        self._unknown = fields.number("unknown")
        fields.done()
        self._letters = Letters(self._vocabulary, self._unknown, self._frame, either_case=False)
        self._plain = "".join(self._vocabulary).encode()
        self.pad_id = self._frame.pad
        self.pad_side = self._frame.pad_side

    def encode(self, sequence: bytes) -> Ids:
        """The ids of one window, special tokens included, of shape (tokens,)."""
        return self._frame.encode(sequence, self._body)

    def _body(self, text: bytes) -> Ids:
        raw = np.frombuffer(text, np.uint8)
        ids: NDArray[Any] = self._letters.table[raw]
        if not text.translate(None, self._plain):
            return ids
        known = self._letters.known[raw]
        return ids[known | run_starts(~known & ~_SPACE[raw])]

    def decode(self, ids: Ids) -> bytes:
        """The residues of a row, without special tokens and padding. Raises `TokenizerError` at an unknown token."""
        return self._letters.decode(ids)

    def token_count(self, bases: int) -> int:
        """How many ids a window of that many residues has; fewer where unknown characters stand side by side."""
        return self._frame.count(bases)

    def spans(self, sequence: bytes) -> NDArray[np.int64]:
        """Where each token of `encode` lies on a normalised window: start and end in bases (tokens × 2)."""
        raw = np.frombuffer(sequence, np.uint8)
        known = self._letters.known[raw]
        starts = np.flatnonzero(known | run_starts(~known & ~_SPACE[raw]))
        return self._frame.spans(starts, np.append(starts, len(raw))[1:])

    def spec(self) -> dict[str, Any]:
        """The specification, which `edgeseq.tokenizers.load_tokenizer` reads."""
        return {
            "type": "protein",
            "vocabulary": dict(self._vocabulary),
            "unknown": self._unknown,
            **self._frame.spec(),
        }
