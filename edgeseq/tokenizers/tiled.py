"""k bases in a token, side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeseq.errors import TokenizerError
from edgeseq.tokenizers.fields import Fields
from edgeseq.tokenizers.frame import Frame, Ids
from edgeseq.tokenizers.kmers import Kmers
from edgeseq.tokenizers.letters import Letters, run_starts
from edgeseq.tokenizers.text import SPACES

_SPACE = np.isin(np.arange(256), np.frombuffer(SPACES, np.uint8))


class TiledKmerTokenizer:
    """k-mers that do not overlap, by the rules of the Nucleotide Transformer.

    From left to right: a k-mer where the next k characters are all ``letters``, else a single-letter token. So the last
    ``length % k`` bases are single tokens, and N, a single token of its own, makes single tokens of the bases before it
    that fill no k-mer and starts the tiling anew. White space separates; a run of characters outside the vocabulary is
    one unknown token; case counts.

    Specification: ``{"type": "kmer", "overlap": false, "k": 6, "letters": "ATCG", "first": 4, "vocabulary": {"A": 4100,
    …, "N": 4104}, "unknown": 0, "pad": 1}``, with the single letters in ``vocabulary``, and the entries of `Frame`. The
    ids are int32.
    """

    def __init__(self, fields: Fields) -> None:
        self._frame = Frame.read(fields)
        self._kmers = Kmers.read(fields)
        self._vocabulary = fields.ids("vocabulary", letters=True)
        self._unknown = fields.number("unknown")
        fields.done()
        if not set(self._kmers.letters) <= set(self._vocabulary):
            raise TokenizerError("tokenizer specification: 'vocabulary' lacks some of the 'letters' of the k-mers")
        self._letters = Letters(self._vocabulary, self._unknown, self._frame, either_case=False)
        self._digits = self._kmers.digits()
        self._plain = self._kmers.letters.encode()
        self._is_base = np.isin(np.arange(256), np.frombuffer(self._plain, np.uint8))
        self.bases_per_token = float(self._kmers.k)
        self.pad_id = self._frame.pad
        self.pad_side = self._frame.pad_side

    def encode(self, sequence: bytes) -> Ids:
        """The ids of one window, special tokens included, of shape (tokens,)."""
        return self._frame.encode(sequence, self._body)

    def _body(self, text: bytes) -> Ids:
        raw = np.frombuffer(text, np.uint8)
        digits = np.frombuffer(text.translate(self._digits), np.uint8)
        if text.translate(None, self._plain):
            return self._broken(raw, digits)
        k = self._kmers.k
        whole = len(raw) // k * k
        ids = np.empty(whole // k + len(raw) - whole, np.int32)
        ids[: whole // k] = self._kmers.ids(digits, slice(0, whole, k))
        ids[whole // k :] = self._letters.table[raw[whole:]]
        return ids

    def _broken(self, raw: np.ndarray[Any, np.dtype[np.uint8]], digits: np.ndarray[Any, np.dtype[np.uint8]]) -> Ids:
        """The same for text that holds more than ``letters``: every run of these is tiled on its own."""
        k = self._kmers.k
        base = self._is_base[raw]
        known = self._letters.known[raw]
        begins = np.flatnonzero(run_starts(base))
        lengths = len(raw) - np.flatnonzero(run_starts(base[::-1]))[::-1] - begins
        bases = np.flatnonzero(base)
        place = bases - np.repeat(begins, lengths)
        tiled = place < np.repeat(lengths // k * k, lengths)
        first = bases[tiled & (place % k == 0)]
        ids = self._letters.table[raw].astype(np.int32)
        ids[first] = self._kmers.ids(digits, first)
        starts = known | run_starts(~known & ~_SPACE[raw])
        starts[bases[tiled & (place % k != 0)]] = False
        row: Ids = ids[starts]
        return row

    def decode(self, ids: Ids) -> bytes:
        """The bases of a row, without special tokens and padding. Raises `TokenizerError` at an unknown token."""
        k = self._kmers.k
        whole = self._kmers.holds(ids)
        if not whole.any():
            return self._letters.decode(ids)
        kept = ids[whole | ~np.isin(ids, list(self._frame.ids - {self._unknown}))]
        whole = self._kmers.holds(kept)
        ends = np.cumsum(np.where(whole, k, 1))
        bases = np.empty(int(ends[-1]), np.uint8)
        for place in range(k):
            bases[ends[whole] - k + place] = self._kmers.spell(kept[whole], place)
        bases[ends[~whole] - 1] = np.frombuffer(self._letters.decode(kept[~whole]), np.uint8)
        return bases.tobytes()

    def token_count(self, bases: int) -> int:
        """The most ids that a window of that many bases has: all of them single tokens, as in a window of N."""
        return self._frame.count(bases)

    def spec(self) -> dict[str, Any]:
        """The specification, which `edgeseq.tokenizers.load_tokenizer` reads."""
        return {
            "type": "kmer",
            "overlap": False,
            **self._kmers.spec(),
            "vocabulary": dict(self._vocabulary),
            "unknown": self._unknown,
            **self._frame.spec(),
        }
