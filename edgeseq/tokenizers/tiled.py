"""k bases in a token, side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import TokenizerError
from edgeseq.tokenizers.fields import Fields
from edgeseq.tokenizers.frame import Frame, Ids
from edgeseq.tokenizers.kmers import Kmers
from edgeseq.tokenizers.letters import Letters
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

    byte_ids = None

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
        self._is_odd = bytes(byte not in self._plain for byte in range(256))
        self.bases_per_token = float(self._kmers.k)
        self.pad_id = self._frame.pad
        self.pad_side = self._frame.pad_side

    def encode(self, sequence: bytes) -> Ids:
        """The ids of one window, special tokens included, of shape (tokens,)."""
        return self._frame.encode(sequence, self._body)

    def _body(self, text: bytes) -> Ids:
        k = self._kmers.k
        raw = np.frombuffer(text, np.uint8)
        values = self._kmers.values(np.frombuffer(text.translate(self._digits), np.uint8)) if len(raw) >= k else raw[:0]
        if text.translate(None, self._plain):
            return self._broken(text, raw, values)
        count = len(raw) // k
        ids = np.empty(count + len(raw) - count * k, np.int32)
        ids[:count] = values[::k]
        ids[:count] += self._kmers.first
        ids[count:] = self._letters.table[raw[count * k :]]
        return ids

    def _broken(self, text: bytes, raw: NDArray[np.uint8], values: NDArray[Any]) -> Ids:
        """The same for text that holds more than ``letters``: every run of these is tiled on its own."""
        kmers, singles = self._starts(text, raw)
        order = np.argsort(np.concatenate((kmers, singles)), kind="stable")
        row = np.concatenate((values[kmers].astype(np.int32) + self._kmers.first, self._letters.table[raw[singles]]))
        ids: NDArray[np.int32] = row[order].astype(np.int32, copy=False)
        return ids

    def _starts(self, text: bytes, raw: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where k-mers start, and where all other tokens do."""
        k = self._kmers.k
        odd = np.flatnonzero(np.frombuffer(text.translate(self._is_odd), np.bool_))
        begins = np.concatenate(([0], odd + 1))
        lengths = np.concatenate((odd, [len(raw)])) - begins
        counts, rests = lengths // k, lengths % k
        kmers = np.arange(counts.sum()) * k + np.repeat(begins - k * (np.cumsum(counts) - counts), counts)
        singles = np.arange(rests.sum()) + np.repeat(begins + counts * k - (np.cumsum(rests) - rests), rests)
        known = self._letters.known[raw[odd]]
        lost = ~known & ~_SPACE[raw[odd]]
        follows = np.zeros(len(odd), bool)
        follows[1:] = lost[:-1] & (np.diff(odd) == 1)
        return kmers, np.concatenate((singles, odd[known | (lost & ~follows)]))

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

    def spans(self, sequence: bytes) -> NDArray[np.int64]:
        """Where each token of `encode` lies on a normalised window: start and end in bases (tokens × 2)."""
        starts = np.sort(np.concatenate(self._starts(sequence, np.frombuffer(sequence, np.uint8))))
        return self._frame.spans(starts, np.append(starts, len(sequence))[1:])

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
