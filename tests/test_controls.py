"""The controls beside the panel: what 5-mers say, and what a net says that nobody has trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_genomes import EXACT, complement, toy_sampler

for tool in ("torch", "sklearn"):
    pytest.importorskip(tool, reason=f"controls need {tool} (extra `export`)")

import torch  # noqa: E402

from export.architectures import SeedNet  # noqa: E402
from export.controls import kmer_counts, kmer_regression, random_twin, window_mcc  # noqa: E402
from export.dataset import Mixture, Sampler  # noqa: E402
from export.seeds import Seed  # noqa: E402

SEEDS = (Seed("11011011011011", 997),)


def easy() -> Sampler:
    """Two classes and one background genome, which a few windows suffice to know."""
    return replace(toy_sampler(profile=EXACT), mixture=Mixture(0.6, 0.4, 0, 0, 0, 0))


def net() -> SeedNet:
    torch.manual_seed(1)
    return SeedNet(SEEDS, 24, 192, 3).eval()


def test_5_mers_are_counted_on_both_strands_alike_and_not_across_unknown_bases() -> None:
    window = np.array([[0, 1, 2, 3, 3, 3, 0, 4, 0, 0, 0, 0, 0, 5, 5, 5]], np.uint8)
    counts = kmer_counts(window)
    assert counts.shape == (1, 512)
    assert np.sort(counts[counts > 0]) == pytest.approx([0.25] * 4)
    np.testing.assert_allclose(kmer_counts(complement(window[0])[None]), counts)


def test_a_regression_on_5_mers_learns_what_5_mers_tell() -> None:
    figures = kmer_regression(easy(), easy(), windows=1024)
    assert figures["mcc"] > 0.8
    assert figures["train_windows"] == 1024


def test_an_untrained_net_with_a_fitted_head_is_better_than_chance() -> None:
    """It is a control: what the shape of the net gives, before any table is learned."""
    figures = random_twin(net(), easy(), easy(), windows=1024)
    assert figures["mcc"] > 0.5
    assert figures == random_twin(net(), easy(), easy(), windows=1024)


def test_the_panel_is_measured_on_the_windows_of_its_controls() -> None:
    figures = window_mcc(net(), easy())
    assert figures["windows"] == kmer_regression(easy(), easy(), windows=512)["windows"]
    assert abs(figures["mcc"]) < 0.4
