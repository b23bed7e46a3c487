"""Two language models: the log-likelihood that each gives to a sequence, or the difference that a variant makes.

A causal model's is the mean log-probability of its tokens, as `edgeseq score` gives it. A masked model gets every
seventh token masked, and gives the mean log-probability of those; where its tokenizer has no mask, it sees them all.
With variants, what is compared is the alternative's log-likelihood minus that of the sequence it is a variant of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.batches import Batcher, Rows
from edgeseq.bundle import Bundle
from edgeseq.read import Read
from edgeseq.scorer import Scorer
from edgeseq.tokenizers import Tokenizer, load_tokenizer
from quantize.budget import Budget
from quantize.judge import calls
from quantize.pairs import rank_correlation
from quantize.sample import Sample, SampleError
from quantize.vectors import mean_verdict
from quantize.verdict import SCORE_REPEATS, Size, Verdict, decide

EVERY = 7
"""One token of so many is masked: 14 %, about what such models are trained with."""
TOKENS = 8192
"""Tokens that run together: outputs are as wide as the vocabulary."""
MASKS = ("[MASK]", "<mask>")
LETTERS = {"dna": 4, "protein": 20}


class LikelihoodTrial:
    """A trial of language models. What a model says is one number for each read, NaN for reads without a window."""

    def __init__(self, bundle: Bundle, sample: Sample) -> None:
        self._sample = sample
        self._masked = bundle.manifest.task.kind == "masked-lm"
        self._worst = math.log(LETTERS[bundle.manifest.input.alphabet])

    def listen(self, scorer: Scorer) -> NDArray[np.float64]:
        """The number of each read: of its variant, where it has one."""
        found = self._of(scorer, self._sample)
        if not self._sample.variants:
            return found
        others = replace(self._sample, reads=self._sample.variants, variants=())
        return self._of(scorer, others) - found

    def verdicts(
        self,
        before: NDArray[np.float64],
        after: NDArray[np.float64],
        budgets: Sequence[Budget],
        *,
        confidence: float,
        seed: int,
    ) -> tuple[Verdict, ...]:
        """``spearman``: 1 minus the rank correlation of both models' numbers. ``nats``: their mean distance."""
        known = ~np.isnan(before) & ~np.isnan(after)
        if not known.any():
            raise SampleError(f"{self._sample.path}: no read has a likelihood")
        before, after, source = before[known], after[known], self._sample.source[known]
        found = []
        for number, budget in enumerate(budgets):
            if budget.metric == "nats":
                distance = np.abs(after - before)
                found.append(mean_verdict(budget, distance, source, self._worst, confidence, (seed, number)))
            else:
                found.append(_ranks(budget, before, after, source, confidence, (seed, number)))
        return tuple(found)

    def breakdown(
        self,
        before: NDArray[np.float64],
        after: NDArray[np.float64],
        reference: Scorer,
        candidate: Scorer,
        seed: int,
    ) -> dict[str, Any]:
        """How far single reads moved, in nats for each token."""
        del reference, candidate, seed  # everything is in what they said
        distance = np.abs(after - before)
        return {
            "lengths": [],
            "classes": [],
            "strands": {},
            "likelihoods": {
                "of": "variants" if self._sample.variants else "sequences",
                "mean distance": float(np.nanmean(distance)),
                "largest distance": float(np.nanmax(distance)),
                "spread of the float model": float(np.nanstd(before)),
            },
        }

    def _of(self, scorer: Scorer, sample: Sample) -> NDArray[np.float64]:
        if self._masked:
            return masked_likelihoods(scorer, sample.reads)
        return calls(scorer, sample).values[:, 0].astype(np.float64)


def _ranks(
    budget: Budget,
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    source: NDArray[np.str_],
    confidence: float,
    seed: tuple[int, int],
) -> Verdict:
    rng = np.random.default_rng(seed)
    total = len(before)
    drop = 1 - rank_correlation(before, after)
    files, place = np.unique(source, return_inverse=True)
    members = [np.flatnonzero(place == number) for number in range(len(files))]
    draws = [rng.integers(0, total, (SCORE_REPEATS, total))]
    if len(files) > 1:
        chosen = rng.integers(0, len(files), (SCORE_REPEATS, len(files)))
        draws.append([np.concatenate([members[one] for one in row]) for row in chosen])  # type: ignore[arg-type]
    upper, lower = drop, drop
    for lot in draws:
        drops = [1 - rank_correlation(before[chosen], after[chosen]) for chosen in lot]
        upper = max(upper, float(np.quantile(drops, confidence)))
        lower = min(lower, float(np.quantile(drops, 1 - confidence)))
    spread = upper - drop
    size = Size(total, len(files))
    return decide(budget.metric, budget.limit, size, confidence, 1.0, 1 - drop, drop, lower, upper + 3 / total, spread)


def masked_likelihoods(scorer: Scorer, reads: Sequence[Read]) -> NDArray[np.float64]:
    """The mean log-probability of the masked tokens of each read, NaN for reads without any."""
    tokenizer = load_tokenizer(scorer.bundle.tokenizer)
    mask, silent = mask_id(tokenizer), np.append(np.unique(tokenizer.encode(b"")), tokenizer.pad_id)
    sums, counts = np.zeros(len(reads)), np.zeros(len(reads))
    owner: list[int] = []
    rows: list[NDArray[Any]] = []
    for number, read in enumerate(reads):
        for ids in scorer.encode(read):
            owner.append(number)
            rows.append(ids.astype(np.int64))
    if not rows:
        return np.full(len(reads), np.nan)
    lengths = np.array([len(ids) for ids in rows], np.int64)
    together = Rows(np.concatenate(rows), np.cumsum(lengths) - lengths, lengths, np.arange(len(rows)))
    batcher = Batcher(scorer.manifest.input, tokens=TOKENS)
    for batch in (*batcher.add(together), *batcher.flush()):
        ids = batch.input_ids(tokenizer.pad_id, np.dtype(np.int64), tokenizer.pad_side)
        tokens = batch.attention_mask(np.dtype(np.bool_), tokenizer.pad_side) & ~np.isin(ids, silent)
        asked = tokens & ((np.cumsum(tokens, axis=1) + batch.numbers[:, None]) % EVERY == 0)
        shown = ids if mask is None else np.where(asked, mask, ids)
        logs = own_log_probabilities(scorer.run_ids(shown)["logits"], ids)
        places = np.array(owner)[batch.numbers]
        np.add.at(sums, places, np.where(asked, logs, 0.0).sum(axis=1))
        np.add.at(counts, places, asked.sum(axis=1))
    found: NDArray[np.float64] = np.divide(sums, counts, out=np.full(len(reads), np.nan), where=counts > 0)
    return found


def own_log_probabilities(logits: NDArray[Any], ids: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """The log-probability, in nats, that ``logits`` (rows × tokens × vocabulary) give to ``ids`` (rows × tokens)."""
    values = logits.astype(np.float32, copy=False)
    highest = values.max(axis=2)
    totals = np.log(np.exp(values - highest[:, :, None]).sum(axis=2)) + highest
    own = np.take_along_axis(values, ids[:, :, None], axis=2)[:, :, 0]
    result: NDArray[np.float64] = (own - totals).astype(np.float64)
    return result


def mask_id(tokenizer: Tokenizer) -> int | None:
    """The id of the mask token, None where the tokenizer's specification names none."""
    spec = tokenizer.spec()
    named = dict(spec.get("special", {})) | {each["content"]: each["id"] for each in spec.get("added_tokens", ())}
    return next((int(named[name]) for name in MASKS if name in named), None)
