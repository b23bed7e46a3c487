"""Genomes that test reads come from must not train: the reads' consensus finds them."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from made_genomes import Codes, complement, family, genome, letters, random_codes, relative

mappy = pytest.importorskip("mappy", reason="leakage is found with minimap2 (extra `export`)")

from export.genomes import Genome  # noqa: E402
from export.leakage import (  # noqa: E402
    KEEP,
    Consensus,
    References,
    consensus,
    drop_close,
    identity_to,
    representatives,
)
from export.leakage import test_reads as sequences_below  # noqa: E402
from export.simulate import PAD, ErrorProfile, Sources, reads  # noqa: E402

NOISY = ErrorProfile(rates=((1.0, 0.04, 0.06),))


def simulated(codes: Codes, count: int = 150) -> Iterator[str]:
    """Reads of about 600 b from one genome."""
    rng = np.random.default_rng(1)
    rows = reads(rng, Sources.of([codes]), np.zeros(count, np.int64), np.full(count, 600), 1024, NOISY)
    return (letters(row[row != PAD]) for row in rows)


def found(sequences: Iterable[str], genomes: list[Genome]) -> list[Consensus]:
    """The consensuses of one file's reads against the representatives of these genomes."""
    return consensus(sequences, References.of(representatives(genomes)))


def strains() -> list[Genome]:
    """Thirty strains of a virus that differ from each other by about 4 %."""
    return family(np.random.default_rng(1), 30, 3000, 0.02)


def differences(stretch: Codes, source: Codes) -> int:
    """Substituted, missing and surplus bases of a stretch that must align to its source from end to end."""
    (hit,) = mappy.Aligner(seq=letters(source), preset="asm20").map(letters(stretch))
    assert hit.q_en - hit.q_st >= len(stretch) - 20
    return int(hit.NM)


def test_the_consensus_of_reads_is_the_genome_that_they_come_from() -> None:
    source = random_codes(np.random.default_rng(2), 3000)
    ((stretch,),) = found(simulated(source), [genome("source", source)])
    assert len(stretch) > 2800
    assert letters(stretch[50:-50]) in letters(source)


def test_the_consensus_follows_the_reads_where_the_reference_differs() -> None:
    rng = np.random.default_rng(3)
    source = random_codes(rng, 3000)
    reference = relative(rng, source, 0.05)
    ((stretch,),) = found(simulated(source), [genome("near", reference)])
    assert differences(stretch, source) <= 5
    assert differences(stretch, reference) > 100


def test_positions_that_reads_disagree_on_do_not_make_a_genome_look_farther() -> None:
    """At 12 % errors five reads seldom agree everywhere; where they do, they are right."""
    source = random_codes(np.random.default_rng(14), 3000)
    rng = np.random.default_rng(15)
    profile = ErrorProfile(rates=((1.0, 0.11, 0.13),))
    rows = reads(rng, Sources.of([source]), np.zeros(40, np.int64), np.full(40, 600), 1024, profile)
    noisy = found((letters(row[row != PAD]) for row in rows), [genome("source", source)])
    assert any((stretch == 4).any() for stretches in noisy for stretch in stretches)
    assert identity_to(noisy, [genome("source", source)])[0] > 0.99


def test_too_few_reads_make_no_consensus() -> None:
    source = random_codes(np.random.default_rng(4), 3000)
    assert found(list(simulated(source))[:2], [genome("source", source)]) == []
    assert found(["ACGT" * 200, ""], [genome("source", source)]) == []


@pytest.mark.parametrize("difference", [0.0, 0.002, 0.01, 0.03])
def test_identity_to_a_stretch_is_estimated(difference: float) -> None:
    rng = np.random.default_rng(5)
    source = random_codes(rng, 8000)
    near = relative(rng, source, difference)
    closeness = identity_to([[source[1000:7000]]], [genome("near", near), genome("flipped", complement(near))])
    assert closeness == pytest.approx([1 - difference] * 2, abs=0.006)


def test_a_genome_unlike_every_stretch_has_no_identity() -> None:
    rng = np.random.default_rng(6)
    source = random_codes(rng, 3000)
    strangers = [genome("distant", relative(rng, source, 0.10)), genome("other", random_codes(rng, 3000))]
    assert identity_to([[source]], strangers).tolist() == [0.0, 0.0]
    assert identity_to([], strangers).tolist() == [0.0, 0.0]


def test_the_genome_that_reads_come_from_is_dropped_and_relatives_stay() -> None:
    genomes = strains()
    rng = np.random.default_rng(7)
    genomes.append(genome("distant", relative(rng, genomes[0].codes, 0.10)))
    kept, dropped = drop_close("zika", genomes, found(simulated(genomes[0].codes), genomes))
    assert [each.name for each in genomes if each not in kept] == ["file-0"]
    assert (dropped.before, dropped.after, dropped.identity) == (31, 30, 0.99)


def test_reads_of_a_virus_with_many_nearly_identical_genomes_vote_together() -> None:
    """Each of sixty reads aligns to another of thirty genomes as well as to its own; their cluster has one
    representative, and one whole consensus."""
    genomes = family(np.random.default_rng(11), 30, 3000, 0.003)
    assert len(representatives(genomes)) == 1
    ((stretch,),) = found(simulated(genomes[0].codes, 60), genomes)
    assert len(stretch) > 2400
    _, dropped = drop_close("ebola-zaire", genomes, [[stretch]])
    assert dropped.close == 30


def test_two_samples_of_one_virus_are_compared_apart() -> None:
    """The mean of both would be far from the genome that one of them is."""
    rng = np.random.default_rng(12)
    first = random_codes(rng, 4000)
    second = relative(rng, first, 0.025)
    genomes = [genome("first", first), genome("second", second)]
    assert identity_to([[first], [second]], genomes) == pytest.approx([1, 1], abs=1e-6)
    assert identity_to([[first, second]], genomes).max() < 0.995


def test_what_counts_as_a_genome_decides_how_many_are_left() -> None:
    """Fragments do not make up for genomes: here thirty fragments are far from the reads, and one genome."""
    rng = np.random.default_rng(13)
    source = random_codes(rng, 30_000)
    near = [genome(f"near-{n}", relative(rng, source, 0.002)) for n in range(30)]
    far = [
        genome(f"far-{n}", relative(rng, source, 0.015)[:3000] if n else relative(rng, source, 0.015))
        for n in range(31)
    ]

    def whole(genomes: list[Genome]) -> int:
        return sum(len(each) > 20_000 for each in genomes)

    assert drop_close("mpox", near + far, [[source]])[1].identity == 0.99
    kept, dropped = drop_close("mpox", near + far, [[source]], whole)
    assert whole(kept) >= KEEP
    assert dropped.close == 30
    assert 0.997 < dropped.identity < 1


def test_of_a_clone_the_farthest_genomes_stay() -> None:
    """All are closer than the threshold, which rises until enough are left."""
    rng = np.random.default_rng(8)
    source = random_codes(rng, 30_000)
    near = [genome(f"near-{n}", relative(rng, source, 0.0007)) for n in range(20)]
    far = [genome(f"far-{n}", relative(rng, source, 0.004)) for n in range(KEEP)]
    kept, dropped = drop_close("mpox", near + far, [[source]])
    assert {each.name for each in kept} == {each.name for each in far}
    assert 0.995 < dropped.identity < 0.999


def test_a_class_that_has_few_genomes_keeps_them() -> None:
    source = random_codes(np.random.default_rng(9), 3000)
    kept, dropped = drop_close("rubella", [genome("only", source)], [[source]])
    assert [each.name for each in kept] == ["only"]
    assert dropped.identity > 1


def test_reads_are_grouped_by_their_file_and_normalised(tmp_path: Path) -> None:
    for name, sequence in (("a.fastq", b"acgu"), ("b.fastq", b"ACGR")):
        with gzip.open(tmp_path / f"{name}.gz", "wb") as file:
            file.write(b"@r\n" + sequence + b"\n+\nIIII\n")
    files = sequences_below(tmp_path)
    assert [(Path(name).name, reads) for name, reads in files.items()] == [
        ("a.fastq.gz", ["ACGT"]),
        ("b.fastq.gz", ["ACGN"]),
    ]
