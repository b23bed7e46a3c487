"""The controls that every figure of the panel stands beside: counts of short k-mers, and the same net left at
random."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from export.architectures import SeedNet
from export.dataset import Sampler
from export.measure import mcc

K = 5
WIDTH = 512
ITERATIONS = 2000


def kmer_counts(windows: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Frequencies of canonical 5-mers, float32 (windows × 512)."""
    count, width = windows.shape
    codes = np.zeros((count, width - K + 1), np.int64)
    reverse = np.zeros_like(codes)
    known = np.ones(codes.shape, bool)
    for offset in range(K):
        base = windows[:, offset : offset + codes.shape[1]].astype(np.int64)
        known &= base < 4
        codes = codes * 4 + base
        reverse += (3 - base) << (2 * offset)
    canonical = np.where(known, np.minimum(codes, reverse), 4**K)
    flat = (np.arange(count)[:, None] * (4**K + 1) + canonical).ravel()
    counts = np.bincount(flat, minlength=count * (4**K + 1)).reshape(count, -1)[:, : 4**K]
    used = np.unique(np.minimum(np.arange(4**K), _reverse_codes()))
    share = counts[:, used] / np.maximum(known.sum(1, keepdims=True), 1)
    return np.asarray(share, np.float32)


def _reverse_codes() -> NDArray[np.int64]:
    codes = np.arange(4**K)
    reverse = np.zeros_like(codes)
    for _ in range(K):
        reverse = reverse * 4 + (3 - codes % 4)
        codes //= 4
    return reverse


def _windows(sampler: Sampler, seed: int, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    parts = [sampler.batch(rng, 512, WIDTH) for _ in range(max(1, count // 512))]
    return np.concatenate([rows for rows, _ in parts]), np.concatenate([truth for _, truth in parts])


def _regression(
    features: Callable[[NDArray[np.uint8]], NDArray[np.float32]], train: Sampler, held: Sampler, seed: int, windows: int
) -> dict[str, float]:
    """MCC on held-out windows of 512 b of a logistic regression on standardised features of training windows."""
    rows, truth = _windows(train, seed, windows)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=ITERATIONS, C=0.3, tol=1e-3))
    model.fit(features(rows), truth)
    test, answer = _windows(held, seed + 1, 6_000)
    called = model.predict(features(test))
    return {"mcc": mcc(answer.astype(str), called.astype(str)), "windows": len(answer), "train_windows": len(truth)}


def kmer_regression(train: Sampler, held: Sampler, *, seed: int = 5, windows: int = 24_000) -> dict[str, float]:
    """MCC on held-out windows of 512 b of a logistic regression on 5-mer frequencies."""
    return _regression(kmer_counts, train, held, seed, windows)


def random_twin(
    net: SeedNet, train: Sampler, held: Sampler, *, seed: int = 5, windows: int = 24_000
) -> dict[str, float]:
    """MCC on held-out windows of 512 b of a net of the same shape that stays as it was drawn; a logistic regression on
    what its head would see takes the head's place."""
    torch.manual_seed(seed)
    twin = SeedNet(net.seeds, net.width, net.mix.out_features, net.pool.second.out_features).eval()

    def pooled(rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.no_grad():
            parts = [twin.pool.pooled(*twin.block_features(torch.from_numpy(part))) for part in _parts(rows)]
        return np.asarray(torch.cat(parts).numpy(), np.float32)

    return _regression(pooled, train, held, seed, windows)


def _parts(rows: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return np.array_split(rows, max(1, len(rows) // 256))


def window_mcc(net: nn.Module, held: Sampler, *, seed: int = 5) -> dict[str, float]:
    """MCC of a net on the same held-out windows of 512 b as the controls'."""
    test, answer = _windows(held, seed + 1, 6_000)
    with torch.no_grad():
        called = np.concatenate([net(torch.from_numpy(part)).argmax(1).numpy() for part in _parts(test)])
    return {"mcc": mcc(answer.astype(str), called.astype(str)), "windows": len(answer)}
