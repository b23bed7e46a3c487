"""The controls that every figure of the panel stands beside: counts of short k-mers, and the same net left at
random."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

from export.architectures import SeedNet
from export.dataset import Sampler
from export.measure import mcc

K = 5
WIDTH = 512


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


def kmer_regression(train: Sampler, held: Sampler, *, seed: int = 5, windows: int = 24_000) -> dict[str, float]:
    """MCC on held-out windows of 512 b of a logistic regression on 5-mer frequencies."""
    rows, truth = _windows(train, seed, windows)
    scaler = StandardScaler().fit(kmer_counts(rows))
    model = LogisticRegression(max_iter=80, C=0.3).fit(scaler.transform(kmer_counts(rows)), truth)
    test, answer = _windows(held, seed + 1, 6_000)
    called = model.predict(scaler.transform(kmer_counts(test)))
    return {"mcc": mcc(answer.astype(str), called.astype(str)), "windows": len(answer), "train_windows": len(truth)}


def random_twin(net: SeedNet, train: Sampler, held: Sampler, *, seed: int = 5, steps: int = 300) -> dict[str, float]:
    """MCC on held-out windows of 512 b of a net of the same shape whose tables stay random; only its dense layers
    are trained."""
    torch.manual_seed(seed)
    twin = SeedNet(
        net.seeds, net.width, net.mix.out_features, net.pool.second.out_features, hidden=net.pool.first.out_features
    )
    for table in twin.tables.parameters():
        table.requires_grad_(False)
    adam = torch.optim.Adam([p for p in twin.parameters() if p.requires_grad], lr=2e-3)
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        rows, truth = train.batch(rng, 256, WIDTH)
        loss = nn.functional.cross_entropy(twin(torch.from_numpy(rows)), torch.from_numpy(truth))
        adam.zero_grad()
        loss.backward()
        adam.step()
    return {**window_mcc(twin.eval(), held, seed=seed), "steps": steps}


def window_mcc(net: nn.Module, held: Sampler, *, seed: int = 5) -> dict[str, float]:
    """MCC of a net on the same held-out windows of 512 b as the controls'."""
    test, answer = _windows(held, seed + 1, 6_000)
    with torch.no_grad():
        called = np.concatenate([net(torch.from_numpy(part)).argmax(1).numpy() for part in np.array_split(test, 24)])
    return {"mcc": mcc(answer.astype(str), called.astype(str)), "windows": len(answer)}
