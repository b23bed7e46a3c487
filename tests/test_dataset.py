"""Splits never have a cluster on both sides; batches are what the mixture says, the same for the same seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from made_genomes import EXACT, Codes, complement, family, genome, letters, random_codes, relative, toy_sampler

from export.dataset import Mixture, Side, sources_of, split_background, split_class
from export.genomes import Genome
from export.simulate import PAD
from export.sketches import clusters, sketch

KINDS = {
    "virus": Mixture(1, 0, 0, 0, 0, 0),
    "background": Mixture(0, 1, 0, 0, 0, 0),
    "outside": Mixture(0, 0, 1, 0, 0, 0),
    "reversed": Mixture(0, 0, 0, 1, 0, 0),
    "shuffled": Mixture(0, 0, 0, 0, 1, 0),
    "random": Mixture(0, 0, 0, 0, 0, 1),
}


def names(genomes: object) -> set[str]:
    assert isinstance(genomes, list)
    return {genome.name for genome in genomes}


def clustered(count: int = 30, size: int = 3) -> list[Genome]:
    """Clusters of near-identical records; between clusters 12 % differ."""
    rng = np.random.default_rng(1)
    return [
        genome(f"{head.name}.{n}", relative(rng, head.codes, 0.002))
        for head in family(rng, count, 2000, 0.06)
        for n in range(size)
    ]


# --- splits --------------------------------------------------------------------------------------------------------


def test_whole_clusters_are_held_out() -> None:
    genomes = clustered()
    split = split_class("zika", genomes, np.random.default_rng(1))
    assert (split.clusters, split.identity) == (30, 0.95)
    assert (len(split.held), len(split.tuned)) == (6, 3), "a tenth of 30 clusters, three records each"
    assert names(split.train) | names(split.tuned) | names(split.held) == names(genomes)
    assert len(split.train) + len(split.tuned) + len(split.held) == len(genomes)


def test_no_record_is_near_one_of_another_side() -> None:
    split = split_class("zika", clustered(), np.random.default_rng(2))
    sides = [split.train, split.tuned, split.held]
    found = clusters([sketch(each.codes) for side in sides for each in side], split.identity)
    train, tuned, held = (set(part) for part in np.split(found, np.cumsum([len(side) for side in sides])[:-1]))
    assert not train & (tuned | held)
    assert not tuned & held


@pytest.mark.parametrize("seed", range(10))
def test_every_class_has_records_to_fit_on_and_others_to_report_on(seed: int) -> None:
    """Also where all but one cluster are major lineages: then records are split closer."""
    rng = np.random.default_rng(seed)
    few = [
        genome(f"{n}-{k}", relative(rng, head.codes, 0.004))
        for n, head in enumerate(family(rng, 20, 9000, 0.06))
        for k in range(1 if n == 0 else 9)
    ]
    split = split_class("zika", few, rng)
    assert split.tuned
    assert split.held
    with pytest.raises(ValueError, match="zika: 2 records are too few"):
        split_class("zika", few[:2], rng)


def test_a_major_lineage_is_never_held_out() -> None:
    rng = np.random.default_rng(3)
    major = [genome(f"major-{n}", codes.codes) for n, codes in enumerate(family(rng, 40, 2000, 0.002))]
    for seed in range(20):
        split = split_class("zika", clustered(25, 1) + major, np.random.default_rng(seed))
        assert split.held
        assert not any(each.name.startswith("major") for each in (*split.tuned, *split.held))


def test_a_class_of_near_identical_records_is_split_closer() -> None:
    split = split_class("zika", family(np.random.default_rng(4), 30, 20_000, 0.003), np.random.default_rng(1))
    assert 0.99 <= split.identity <= 0.998
    clone = [genome(f"clone-{n}", random_codes(np.random.default_rng(5), 2000)) for n in range(30)]
    split = split_class("zika", clone, np.random.default_rng(1))
    assert (split.identity, split.clusters, len(split.tuned), len(split.held)) == (1.0, 30, 1, 2)


@pytest.mark.parametrize(("segmented", "times"), [(False, 4), (True, 2)])
def test_a_large_cluster_weighs_by_the_root_of_its_size(segmented: bool, times: float) -> None:
    """Of a segmented virus by the root of that, since clusters are segments."""
    rng = np.random.default_rng(6)
    many = [genome(f"many-{n}", relative(rng, random_codes(np.random.default_rng(7), 2000), 0.002)) for n in range(16)]
    split = split_class("zika", clustered(25, 1) + many, np.random.default_rng(1), segmented=segmented)
    assert split.train_weights.sum() == pytest.approx(1)
    weights = {each.name: weight for each, weight in zip(split.train, split.train_weights, strict=True)}
    large = sum(weight for name, weight in weights.items() if name.startswith("many"))
    single = next(weight for name, weight in weights.items() if not name.startswith("many"))
    assert large / single == pytest.approx(times)


def test_background_is_held_out_by_name_and_by_record() -> None:
    rng = np.random.default_rng(8)
    genomes = [genome(f"contig-{n}", random_codes(rng, 500), "other", "bacteria") for n in range(400)]
    genomes += [genome("Truepera_1", random_codes(rng, 500), "other", "bacteria")]
    genomes += [genome("NC_1", random_codes(rng, 500), "other", "mumps")]
    genomes.append(genome("chromosome", random_codes(rng, 30_000), "other", "bacteria"))
    split = split_background(genomes, rng)
    out = names(split.tuned) | names(split.held)
    assert {"Truepera_1", "NC_1"} <= out
    assert "chromosome" in names(split.train)
    assert 0.07 < len(out) / 400 < 0.17
    assert len(split.tuned) == pytest.approx(len(split.held), abs=1)
    assert len(split.held) + len(split.tuned) + len(split.train) == len(genomes)
    assert names(split.train) | out == names(genomes)


def test_background_that_is_alike_is_not_both_fitted_and_reported_on() -> None:
    rng = np.random.default_rng(9)
    mumps = [
        genome(f"{head.name}.{n}", relative(rng, head.codes, 0.02), "other", "mumps")
        for head in family(rng, 12, 2000, 0.15)
        for n in range(5)
    ]
    split = split_background([genome("contig", random_codes(rng, 30_000), "other", "bacteria"), *mumps], rng)
    tuned, held = ({each.name.split(".")[0] for each in side} for side in (split.tuned, split.held))
    assert (len(tuned), len(held)) == (6, 6)
    assert not tuned & held


def test_sources_keep_the_sides_apart() -> None:
    split = split_class("zika", clustered(25, 1), np.random.default_rng(1))
    sides: tuple[tuple[Side, Sequence[Genome]], ...] = (
        ("train", split.train),
        ("tuned", split.tuned),
        ("held", split.held),
    )
    for side, records in sides:
        sources, weights = sources_of(split, side)
        assert len(weights) == len(records) == len(sources.starts)
        assert weights.sum() == pytest.approx(1)
        np.testing.assert_array_equal(sources.codes, np.concatenate([each.codes for each in records]))


def test_an_empty_side_is_named() -> None:
    rng = np.random.default_rng(1)
    split = split_background([genome("chromosome", random_codes(rng, 30_000), "other", "bacteria")], rng)
    with pytest.raises(ValueError, match="other: no records on side 'tuned'"):
        sources_of(split, "tuned")


# --- batches -------------------------------------------------------------------------------------------------------


def batch(kind: str, rows: int = 40, width: int = 256, seed: int = 1) -> tuple[list[str], Codes]:
    """Windows of one kind without padding, and their labels."""
    sampler = replace(toy_sampler(profile=EXACT), mixture=KINDS[kind])
    windows, labels = sampler.batch(np.random.default_rng(seed), rows, width)
    assert windows.shape == (rows, width)
    return [letters(row[row != PAD]) for row in windows], labels.astype(np.uint8)


def strands(codes: Codes, *, backwards: bool = False) -> tuple[str, str]:
    return letters(codes[::-1] if backwards else codes), letters(
        complement(codes)[::-1] if backwards else complement(codes)
    )


def inside(window: str, sources: tuple[str, ...]) -> bool:
    return any(window in source for source in sources)


def test_windows_carry_the_label_of_their_source() -> None:
    sampler = toy_sampler(profile=EXACT)
    windows, labels = batch("virus")
    assert set(labels) == {0, 1}
    for window, label in zip(windows, labels, strict=True):
        assert inside(window, strands(sampler.classes[sampler.labels[label]][0].codes))
    for kind, (sources, _) in (("background", sampler.background), ("outside", sampler.outside)):
        windows, labels = batch(kind)
        assert set(labels) == {2}
        assert all(inside(window, strands(sources.codes)) for window in windows)


def test_decoys_are_made_of_panel_genomes_but_are_not_panel_sequence() -> None:
    sampler = toy_sampler(profile=EXACT)
    viruses = [sources.codes for sources, _ in sampler.classes.values()]
    forward = tuple(strand for codes in viruses for strand in strands(codes))
    backward = tuple(strand for codes in viruses for strand in strands(codes, backwards=True))
    windows, labels = batch("reversed")
    assert set(labels) == {2}
    assert all(inside(window, backward) and not inside(window, forward) for window in windows)
    for kind in ("shuffled", "random"):
        windows, labels = batch(kind)
        assert set(labels) == {2}
        assert not any(inside(window[:40], forward + backward) for window in windows)


def test_a_shuffled_window_has_the_bases_of_the_window_that_it_was() -> None:
    """From a source of one base and its complement, every piece is the same whichever order it takes."""
    sampler = replace(toy_sampler(profile=EXACT), mixture=KINDS["shuffled"])
    for sources, _ in sampler.classes.values():
        sources.codes[:] = 1
    windows, _ = sampler.batch(np.random.default_rng(1), 20, 256)
    assert {frozenset(row[row != PAD].tolist()) for row in windows} == {frozenset({1}), frozenset({2})}


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_on_the_right_of_every_kind_of_window(kind: str) -> None:
    """As it is in a real read's last window."""
    windows, _ = replace(toy_sampler(), mixture=KINDS[kind]).batch(np.random.default_rng(4), 60, 256)
    known = np.count_nonzero(windows != PAD, axis=1)
    assert known.min() < 256
    np.testing.assert_array_equal(windows == PAD, np.arange(256)[None, :] >= known[:, None])


def test_kinds_are_as_frequent_as_the_mixture_says() -> None:
    sampler = replace(toy_sampler(), mixture=Mixture(0.5, 0.1, 0.1, 0.1, 0.1, 0.1), class_weights=np.array([0.8, 0.2]))
    counts = Counter(sampler.batch(np.random.default_rng(2), 4000, 256)[1].tolist())
    assert counts[2] / 4000 == pytest.approx(0.5, abs=0.03)
    assert counts[0] / counts[1] == pytest.approx(4, rel=0.15)


def test_windows_fill_the_row_or_at_least_half_of_it() -> None:
    lengths = toy_sampler().lengths(np.random.default_rng(3), 5000, 512)
    assert lengths.min() >= 281
    assert lengths.max() == 512
    assert 0.3 < np.mean(lengths == 512) < 0.4


def test_the_same_seed_gives_the_same_batch() -> None:
    first, again, other = (toy_sampler().batch(np.random.default_rng(seed), 64, 256) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).any()
