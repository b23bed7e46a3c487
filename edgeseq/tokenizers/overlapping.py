"""k bases in a token, one token from every base on."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import TokenizerError
from edgeseq.tokenizers.fields import Fields
from edgeseq.tokenizers.frame import Frame, Ids
from edgeseq.tokenizers.kmers import Kmers
from edgeseq.tokenizers.text import MARK, one_byte_per_character

_CODES = np.arange(256)
_SPACE = np.isin(_CODES, list(b" \t\n\r"))
_CONTROL = ((_CODES < 32) | (_CODES == 127)) & ~_SPACE
_MARK = np.isin(_CODES, list(b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~" + MARK))
_WORD = ~(_SPACE | _CONTROL | _MARK)


class OverlappingKmerTokenizer:
    """All k-mers of a sequence, as in DNABERT: a sequence of n bases has n - k + 1, one of less than k has none.

    A k-mer that holds anything but ``letters`` (N, lower case) is one unknown token. As the published tokenizer writes
    the k-mers as words of a text and reads that as BERT does, white space and punctuation within a k-mer split it, and
    each piece is an unknown token; control characters vanish.

    Specification: ``{"type": "kmer", "overlap": true, "k": 6, "letters": "ATCG", "first": 5, "unknown": 1, "pad": 0}``
    and the entries of `Frame`; ``special`` names tokens that are known where one is exactly a k-mer. The ids are int32.
    """

    bases_per_token = 1.0
    byte_ids = None

    def __init__(self, fields: Fields) -> None:
        self._frame = Frame.read(fields)
        self._kmers = Kmers.read(fields)
        self._unknown = fields.number("unknown")
        fields.done()
        self._digits = self._kmers.digits()
        self._plain = self._kmers.letters.encode()
        self._is_odd = bytes(byte not in self._plain for byte in range(256))
        self._special = {
            name.encode(): number for name, number in self._frame.special.items() if len(name) == self._kmers.k
        }
        self.pad_id = self._frame.pad
        self.pad_side = self._frame.pad_side

    def encode(self, sequence: bytes) -> Ids:
        """The ids of one window, special tokens included, of shape (tokens,)."""
        return self._frame.wrap(self._body(one_byte_per_character(sequence)))

    def _body(self, text: bytes) -> NDArray[np.int32]:
        k = self._kmers.k
        count = len(text) - k + 1
        if count <= 0:
            return np.empty(0, np.int32)
        ids = self._kmers.values(np.frombuffer(text.translate(self._digits), np.uint8)).astype(np.int32)
        ids += self._kmers.first
        if text.translate(None, self._plain):
            odd = np.flatnonzero(np.frombuffer(text.translate(self._is_odd), np.bool_))
            for place in range(k):
                hit = odd - place
                ids[hit[(hit >= 0) & (hit < count)]] = self._unknown
            if not text.isalnum():
                return self._as_words(text, np.frombuffer(text, np.uint8), ids)
        return ids

    def _as_words(self, text: bytes, raw: NDArray[np.uint8], ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """The ids, each as often as BERT finds words and punctuation marks in its k-mer."""
        k = self._kmers.k
        word, mark, control = _WORD[raw], _MARK[raw], _CONTROL[raw]
        places = np.arange(len(raw))
        previous = np.concatenate(([-1], np.maximum.accumulate(np.where(control, -1, places))[:-1]))
        starts = word & ~(word[previous] & (previous >= 0))
        marks, words = _before(mark), _before(starts)
        following = np.minimum.accumulate(np.where(control, len(raw), places)[::-1])[::-1]
        first = following[: len(ids)]
        inside = first < places[: len(ids)] + k
        first = np.where(inside, first, 0)
        begun = np.where(inside, words[k:] - words[first + 1] + word[first], 0)
        counts = marks[k:] - marks[:-k] + begun
        for name, number in self._special.items():
            for match in re.finditer(re.escape(name), text):
                ids[match.start()], counts[match.start()] = number, 1
        return np.repeat(ids, counts)

    def decode(self, ids: Ids) -> bytes:
        """The bases of a row, without special tokens and padding.

        Raises `TokenizerError` at an unknown token, and where neighbours do not overlap.
        """
        k, base = self._kmers.k, len(self._kmers.letters)
        kept = ids[~np.isin(ids, list(self._frame.ids - {self._unknown}))].astype(np.int64)
        if not self._kmers.holds(kept).all():
            raise TokenizerError("a row holds unknown tokens, which stand for no bases")
        values = kept - self._kmers.first
        if not (values[1:] // base == values[:-1] % base ** (k - 1)).all():
            raise TokenizerError("neighbouring k-mers of a row do not overlap")
        first = [int(self._kmers.spell(kept[:1], place)[0]) for place in range(k)] if len(kept) else []
        return bytes(first) + self._kmers.spell(kept[1:], k - 1).tobytes()

    def token_count(self, bases: int) -> int:
        """How many ids a window of that many bases has."""
        return self._frame.count(max(bases - self._kmers.k + 1, 0))

    def spans(self, sequence: bytes) -> NDArray[np.int64]:
        """Where each token of `encode` lies on a normalised window: start and end in bases (tokens × 2)."""
        places = np.arange(max(len(sequence) - self._kmers.k + 1, 0))
        return self._frame.spans(places, places + self._kmers.k)

    def spec(self) -> dict[str, Any]:
        """The specification, which `edgeseq.tokenizers.load_tokenizer` reads."""
        return {
            "type": "kmer",
            "overlap": True,
            **self._kmers.spec(),
            "unknown": self._unknown,
            **self._frame.spec(),
        }


def _before(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many are true before each place, and before the end: one longer than ``mask``."""
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(mask)))
