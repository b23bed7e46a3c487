"""How reads become rows for a model: the manifest's input section."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import UsageError
from edgeseq.manifest import Input, Strand
from edgeseq.tokenizers import Tokenizer, load_tokenizer
from export.network import Model

SHORTEST_BUCKET = 64
SHARED = 8
"""Windows for token classification share a quarter: each base has this part of a window on either side of it."""
LAST = 4
"""A last window shorter than this part of a window is moved back to a whole one."""
SLICE = 5040
SAMPLE = 52 * SLICE
"""Bases of random sequence, for each of `COMPOSITIONS`, in which tokens are counted."""
COMPOSITIONS = (0.35, 0.5, 0.65)
"""Shares of G and C: those of most genomes."""
ENDLESS = 1 << 40
"""Bases that no row ever has."""
FITTING = 0.999
"""Share of the windows of random sequence that fit into the longest row; the runtime cuts others in halves."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the user asks for; None: what the model asks for, or else what suits it."""

    window: int | None = None
    """Bases of a window."""
    stride: int | None = None
    """Bases between the starts of neighbouring windows."""
    strand: Strand | None = None


AS_IT_IS = Reading()


def input_section(model: Model, asked: Reading = AS_IT_IS) -> Input:
    """Windows as asked for, or as the model asks for, or as long as it takes, with buckets in powers of two.

    Windows for token classification overlap and are all of full length, so that every base is seen with some context.
    Others lie side by side. A model whose padding is not exact gets no mixed lengths: rows share a batch only where
    they are equally long; one whose rows change each other gets one row a batch. Raises UsageError where what is asked
    for cannot be.
    """
    if model.alphabet == "signal":
        return Input("signal", model.max_length, model.max_length, model.min_length, buckets=(), mixed_lengths=False)
    tokenizer = load_tokenizer(model.tokenizer)
    if tokenizer.token_count(ENDLESS) < ENDLESS // 1024:
        raise UsageError("the tokenizer cuts long rows off; remove truncation (max_length) from its specification")
    window = asked.window or model.window or longest_window(tokenizer, model.max_length)
    by_base = model.task == "token-classification"
    stride = asked.stride or (model.stride if window == model.window else None)
    stride = stride or (window - 2 * (window // SHARED) if by_base else window)
    strand = asked.strand or model.strand
    shortest = shortest_row(tokenizer, 2 if model.task == "causal-lm" else 1)
    _check(model, tokenizer, Input(model.alphabet, window, stride, strand=strand), shortest)
    minimum = window if by_base else max(shortest, window // LAST)
    buckets = [min(tokenizer.token_count(window), model.max_length)]
    while model.pads_exactly and buckets[0] > SHORTEST_BUCKET:
        buckets.insert(0, max(SHORTEST_BUCKET, 1 << ((buckets[0] - 1).bit_length() - 1)))
    if not model.shares_batches:
        buckets = []
    return Input(model.alphabet, window, stride, minimum, strand, tuple(buckets), mixed_lengths=model.pads_exactly)


def longest_window(tokenizer: Tokenizer, tokens: int) -> int:
    """The most bases (residues) whose row has at most ``tokens`` ids.

    Where tokens have several bases, their number depends on the sequence. `FITTING` of all windows of random sequence
    have no more than ``tokens`` then; real sequence mostly has longer tokens.
    """
    always = _last(lambda bases: tokenizer.token_count(bases) <= tokens)
    if tokenizer.bases_per_token <= 1:
        return always
    room = tokens - len(tokenizer.encode(b"")) - int(np.ceil(tokenizer.bases_per_token))
    samples = [_token_starts(tokenizer, share) for share in COMPOSITIONS]
    return max(always, _last(lambda bases: max(_usual_most(starts, bases) for starts in samples) <= room))


def shortest_row(tokenizer: Tokenizer, tokens: int) -> int:
    """The fewest bases that give so many tokens beside the special ones."""
    added = len(tokenizer.encode(b""))
    bases = 1
    while len(tokenizer.encode(b"ACGT" * bases)[: added + tokens]) < added + tokens:
        bases += 1
    text = b"ACGT" * bases
    return next(end for end in range(1, len(text) + 1) if len(tokenizer.encode(text[:end])) >= added + tokens)


def _check(model: Model, tokenizer: Tokenizer, wanted: Input, shortest: int) -> None:
    """Raises UsageError for a window, stride or strand that this model cannot have."""
    if wanted.stride > wanted.window:
        raise UsageError(f"--stride {wanted.stride} is more than the window of {wanted.window}: bases would go unseen")
    if wanted.window < shortest:
        raise UsageError(f"--window {wanted.window}: the tokenizer needs {shortest} bases for a row")
    tokens = tokenizer.token_count(wanted.window)
    if tokenizer.bases_per_token > 1:
        tokens = int(wanted.window / tokenizer.bases_per_token)
    if tokens > model.max_length:
        raise UsageError(f"--window {wanted.window} has {tokens} tokens; the model takes {model.max_length}")
    if wanted.strand != "forward" and model.alphabet != "dna":
        raise UsageError(f"--strand {wanted.strand}: a {model.alphabet} has one strand")
    if wanted.strand == "equivariant" and model.strand != "equivariant":
        raise UsageError("--strand equivariant: the model does not treat both strands alike; take mean")


def _token_starts(tokenizer: Tokenizer, share: float) -> NDArray[np.int64]:
    """Where the tokens of a random sequence start, cut in slices: learned pieces take long on long text."""
    odds = [(1 - share) / 2, share / 2, share / 2, (1 - share) / 2]
    letters = np.random.default_rng(0).choice(np.frombuffer(b"ACGT", np.uint8), SAMPLE, p=odds)
    found = []
    for begin in range(0, SAMPLE, SLICE):
        spans = tokenizer.spans(letters[begin : begin + SLICE].tobytes())
        found.append(begin + spans[spans[:, 0] < spans[:, 1], 0])
    return np.concatenate(found)


def _usual_most(starts: NDArray[np.int64], bases: int) -> int:
    """How many tokens start in windows of so many bases, in all but the fullest of them."""
    if bases > SAMPLE // 2:
        return int(np.ceil(bases * len(starts) / SAMPLE * 1.01))
    begins = np.arange(0, SAMPLE - bases, max(1, (SAMPLE - bases) // 4096))
    counts = np.searchsorted(starts, begins + bases) - np.searchsorted(starts, begins)
    return int(np.quantile(counts, FITTING, method="higher"))


def _last(holds: Callable[[int], bool]) -> int:
    """The largest number, of 1 at least, for which something holds that holds for all smaller ones."""
    low, high = 1, 2
    while holds(high):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
