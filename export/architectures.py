"""The nets that were compared for the outbreak panel. All take base codes, uint8 (batch × length), and give logits
(batch × labels).

Lengths are multiples of `BLOCK`. Padding and N contribute nothing, so that a window's logits do not depend on its
padding.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from export.seeds import Seed, seed_rows

BLOCK = 16


def _blocks_known(codes: Tensor, block: int) -> Tensor:
    """1 where a block holds a known base, float32 (batch × blocks)."""
    return (codes < 4).view(codes.shape[0], -1, block).any(2).float()


class Pool(nn.Module):
    """Masked mean over blocks and the mean of the strongest part, into a two-layer head."""

    def __init__(self, channels: int, hidden: int, labels: int) -> None:
        super().__init__()
        self.first = nn.Linear(2 * channels, hidden)
        self.second = nn.Linear(hidden, labels)

    @staticmethod
    def pooled(features: Tensor, known: Tensor) -> Tensor:
        """What the head sees of ``features`` (batch × blocks × channels), not negative, in ``known`` blocks (batch ×
        blocks): (batch × 2·channels)."""
        total = (features * known[:, :, None]).sum(1)
        count = known.sum(1, keepdim=True).clamp(min=1.0)
        return torch.sqrt(torch.cat([total / count, total / count.sqrt() / 4.0], 1) + 1e-4)

    def forward(self, features: Tensor, known: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(self.pooled(features, known))))


class SeedNet(nn.Module):
    """Hashed canonical seeds: embeddings summed over blocks, squared ReLU of a dense layer per block, pooled.

    ``context`` > 1 adds a convolution over that many neighbouring blocks (the hybrid). Strand symmetric but for block
    phase (and the convolution's order, where there is one).
    """

    def __init__(
        self,
        seeds: tuple[Seed, ...],
        width: int,
        channels: int,
        labels: int,
        *,
        context: int = 1,
        hidden: int = 128,
    ) -> None:
        super().__init__()
        self.seeds = seeds
        self.width = width
        self.tables = nn.ModuleList(
            nn.EmbeddingBag(seed.rows + 1, width, mode="sum", padding_idx=seed.rows) for seed in seeds
        )
        for table in self.tables:
            assert isinstance(table, nn.EmbeddingBag)
            nn.init.normal_(table.weight, std=0.25)
            with torch.no_grad():
                table.weight[-1] = 0
        total = width * len(seeds)
        self.mix = nn.Linear(2 * total, channels)
        self.context = nn.Conv1d(channels, channels, context, padding=context // 2) if context > 1 else None
        self.pool = Pool(channels, hidden, labels)

    def block_sums(self, codes: Tensor) -> Tensor:
        """Summed embeddings of the seeds that start in each block, (batch × blocks × width·seeds)."""
        batch = codes.shape[0]
        sums = []
        for seed, table in zip(self.seeds, self.tables, strict=True):
            rows = seed_rows(codes, seed).view(-1, BLOCK)
            sums.append(table(rows).view(batch, -1, self.width))
        return torch.cat(sums, 2) if len(sums) > 1 else sums[0]

    def block_features(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """What is pooled, (batch × blocks × channels), and which blocks are (batch × blocks)."""
        sums = self.block_sums(codes)
        following = nn.functional.pad(sums[:, 1:], (0, 0, 0, 1))
        preceding = nn.functional.pad(sums[:, :-1], (0, 0, 1, 0))
        both = torch.cat([sums, preceding + following], 2)
        features = torch.relu(self.mix(both)).square()
        known = _blocks_known(codes, BLOCK)
        if self.context is not None:
            masked = (features * known[:, :, None]).transpose(1, 2)
            features = torch.relu(self.context(torch.sqrt(masked + 1e-4) - 0.01)).square().transpose(1, 2)
        return features, known

    def forward(self, codes: Tensor) -> Tensor:
        return self.pool(*self.block_features(codes))

    def macs_per_base(self) -> float:
        """Multiply–accumulates per base; an embedding's sum counts one per value."""
        total = self.width * len(self.seeds)
        per_block = self.mix.in_features * self.mix.out_features
        if self.context is not None:
            per_block += self.context.in_channels * self.context.out_channels * self.context.kernel_size[0]
        return total + per_block / BLOCK


class ConvNet(nn.Module):
    """Strided and depthwise-separable convolutions on single bases."""

    def __init__(self, labels: int, *, stem: int = 96, channels: int = 192, layers: int = 4, hidden: int = 128) -> None:
        super().__init__()
        self.stem = nn.Conv1d(4, stem, 16, stride=4, padding=6)
        self.down = nn.Conv1d(stem, channels, 8, stride=4, padding=2)
        self.depthwise = nn.ModuleList(
            nn.Conv1d(channels, channels, 5, padding=2, groups=channels) for _ in range(layers)
        )
        self.pointwise = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in range(layers))
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in range(layers))
        self.pool = Pool(channels, hidden, labels)

    def forward(self, codes: Tensor) -> Tensor:
        onehot = (codes[:, None, :] == torch.arange(4, dtype=torch.uint8)[None, :, None]).float()
        features = torch.relu(self.down(torch.relu(self.stem(onehot))))
        for depthwise, pointwise, norm in zip(self.depthwise, self.pointwise, self.norms, strict=True):
            features = features + torch.relu(norm(pointwise(depthwise(features))))
        return self.pool(torch.relu(features).transpose(1, 2), _blocks_known(codes, BLOCK))

    def macs_per_base(self) -> float:
        channels = self.down.out_channels
        separable = sum(channels * 5 + channels * channels for _ in self.depthwise) / 16
        return 4 * self.stem.out_channels * 16 / 4 + self.stem.out_channels * channels * 8 / 16 + separable


def parameter_count(net: nn.Module) -> int:
    return sum(math.prod(parameter.shape) for parameter in net.parameters())
