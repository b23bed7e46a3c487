"""Nucleotide Transformer v2 (Dalla-Torre et al. 2023): ESM's encoder with gated feed-forwards."""

from __future__ import annotations

from export.families.esm import Esm

FAMILY = Esm(name="Nucleotide Transformer v2", tokenizer="6-mers", max_length="2,048 6-mers", gated=True)
