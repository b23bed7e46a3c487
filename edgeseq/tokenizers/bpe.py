"""Learned pieces, cut by the ``tokenizers`` library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import MissingExtraError, TokenizerError
from edgeseq.tokenizers.frame import Ids

_SAMPLE = 4096


class BpeTokenizer:
    """The published ``tokenizer.json`` of a model such as DNABERT-2 or GENA-LM, run by the library that wrote it.

    Any model of that library works, not only byte pairs. ``padding`` in the JSON names the pad token; without it the
    added token ``[PAD]`` or ``<pad>`` is taken. ``truncation``, where present, cuts rows. The ids are int32.
    """

    byte_ids = None

    def __init__(self, spec: Mapping[str, object]) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingExtraError("tokenizers", "bpe") from error
        self._spec = dict(spec)
        try:
            self._tokenizer = Tokenizer.from_str(json.dumps(self._spec))
        except Exception as error:  # the library raises nothing more specific
            raise TokenizerError(f"the tokenizers library refuses this tokenizer.json: {error}") from error
        self.pad_side: Literal["left", "right"] = "right"
        self.pad_id = self._padding()
        self._tokenizer.no_padding()
        self._frame = frozenset((self.pad_id, *self._tokenizer.encode("").ids))

    def _padding(self) -> int:
        padding = self._tokenizer.padding
        if padding:
            self.pad_side = "left" if padding["direction"] == "left" else "right"
            return int(padding["pad_id"])
        for name in ("[PAD]", "<pad>"):
            number = self._tokenizer.token_to_id(name)
            if number is not None:
                return int(number)
        raise TokenizerError("tokenizer.json names no pad token")

    @cached_property
    def bases_per_token(self) -> float:
        """Bases in a typical token, measured on 4096 random bases; real sequence has somewhat longer tokens."""
        bases = np.frombuffer(b"ACGT", np.uint8)[np.random.default_rng(0).integers(0, 4, _SAMPLE)].tobytes()
        return _SAMPLE / len(self._tokenizer.encode(bases.decode(), add_special_tokens=False).ids)

    def encode(self, sequence: bytes) -> Ids:
        """The ids of one window, special tokens included, of shape (tokens,)."""
        return np.array(self._tokenizer.encode(sequence.decode("utf-8", errors="replace")).ids, np.int32)

    def decode(self, ids: Ids) -> bytes:
        """The bases of a row, without special tokens and padding. Raises `TokenizerError` at an unknown token."""
        odd = {
            number
            for number, token in self._tokenizer.get_added_tokens_decoder().items()
            if token.special and number not in self._frame
        }
        numbers = [int(number) for number in ids]
        lost = odd.intersection(numbers)
        if lost:
            raise TokenizerError(f"token {min(lost)} stands for no bases")
        text: str = self._tokenizer.decode(numbers, skip_special_tokens=True)
        return text.replace(" ", "").encode()

    def token_count(self, bases: int) -> int:
        """The most ids that a window of that many bases has: every base a token."""
        count = bases + int(self._tokenizer.num_special_tokens_to_add(False))
        truncation = self._tokenizer.truncation
        return min(count, int(truncation["max_length"])) if truncation else count

    def spans(self, sequence: bytes) -> NDArray[np.int64]:
        """Where each token of `encode` lies on a normalised window: start and end in bases (tokens × 2)."""
        found = self._tokenizer.encode(sequence.decode("ascii", errors="replace"))
        spans: NDArray[np.int64] = np.array(found.offsets, np.int64).reshape(-1, 2)
        return np.where(np.array(found.special_tokens_mask, np.bool_)[:, None], 0, spans)

    def spec(self) -> dict[str, Any]:
        """The JSON, which `edgeseq.tokenizers.load_tokenizer` reads."""
        return dict(self._spec)
