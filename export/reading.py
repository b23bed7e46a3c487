"""How reads become rows for a model: the manifest's input section."""

from __future__ import annotations

from edgeseq.manifest import Input
from edgeseq.tokenizers import Tokenizer
from export.network import Model

SHORTEST_BUCKET = 64


def input_section(model: Model, tokenizer: Tokenizer) -> Input:
    """Windows as long as the model takes, whatever the sequence; buckets in powers of two up to a full window.

    A model whose padding is not exact gets no mixed lengths: rows share a batch only where they are equally long.
    """
    window = longest_window(tokenizer, model.max_length)
    tokens = tokenizer.token_count(window)
    if not model.pads_exactly:
        return Input(model.alphabet, window, window, 1, model.strand, (tokens,), mixed_lengths=False)
    buckets = [tokens]
    while buckets[0] > SHORTEST_BUCKET:
        buckets.insert(0, max(SHORTEST_BUCKET, 1 << ((buckets[0] - 1).bit_length() - 1)))
    return Input(model.alphabet, window, window, 1, model.strand, tuple(buckets))


def longest_window(tokenizer: Tokenizer, tokens: int) -> int:
    """The most bases (residues) whose row never has more than ``tokens`` ids."""
    low, high = 1, 2
    while tokenizer.token_count(high) <= tokens:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if tokenizer.token_count(middle) <= tokens else (low, middle)
    return low
