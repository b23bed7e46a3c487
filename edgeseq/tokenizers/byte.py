"""One token for each byte."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import TokenizerError
from edgeseq.tokenizers.fields import Fields
from edgeseq.tokenizers.frame import Frame, Ids

_SPACE = 32
_LARGEST = 0xD7FF


class ByteTokenizer:
    """Bytes as ids, as in Evo 1 and Evo 2: case counts, UTF-8 outside ASCII gives several tokens, nothing is unknown.

    Specification: ``{"type": "byte", "pad": 1}`` and, where needed, ``vocabulary_size`` (512) and the entries of
    `Frame` but ``special``. The ids are uint8; where nothing is added, they are a read-only view of the sequence.
    """

    bases_per_token = 1.0

    def __init__(self, spec: Mapping[str, object]) -> None:
        fields = Fields(spec)
        self._frame = Frame.read(fields)
        self._size = fields.number("vocabulary_size", 512, least=256)
        fields.done()
        if self._frame.special:
            raise TokenizerError("tokenizer specification: 'byte' tokenizers find no 'special' tokens in text")
        if self._size > _LARGEST or max(self._frame.ids) > 255:
            raise TokenizerError(f"tokenizer specification: 'vocabulary_size' is above {_LARGEST}, or an id above 255")
        self.pad_id = self._frame.pad
        self.pad_side = self._frame.pad_side
        self.byte_ids = bytes(range(256)) if self._frame.empty else None

    def encode(self, sequence: bytes) -> Ids:
        """The bytes of one window, special tokens included, of shape (tokens,)."""
        return self._frame.wrap(np.frombuffer(sequence, np.uint8))

    def decode(self, ids: Ids) -> bytes:
        """One character for each id, as UTF-8; ids below 32, special tokens and padding included, become spaces.

        That is the published rule, and it inverts `encode` only for printable ASCII.
        """
        return np.clip(ids, _SPACE, self._size).astype("<u4").tobytes().decode("utf-32-le").encode()

    def token_count(self, bases: int) -> int:
        """How many ids a window of that many bytes has."""
        return self._frame.count(bases)

    def spans(self, sequence: bytes) -> NDArray[np.int64]:
        """Where each token of `encode` lies on a normalised window: start and end in bases (tokens × 2)."""
        places = np.arange(len(sequence))
        return self._frame.spans(places, places + 1)

    def spec(self) -> dict[str, Any]:
        """The specification, which `edgeseq.tokenizers.load_tokenizer` reads."""
        return {"type": "byte", "vocabulary_size": self._size, **self._frame.spec()}
