"""A lineage that is left out of training is left out whole: records by name, and what is as close by sequence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_genomes import family, genome, random_codes, relative, write_fasta

from export.genomes import CLASSES, Genome
from export.lineages import LINEAGES, take_out


def names(genomes: list[Genome]) -> set[str]:
    return {genome.name for genome in genomes}


def dengue() -> list[Genome]:
    """Two serotypes of three records; one of serotype 4 lies in a file that does not say so."""
    rng = np.random.default_rng(1)
    first, fourth = random_codes(rng, 4000), random_codes(rng, 4000)
    genomes = [genome(f"one-{n}", relative(rng, first, 0.02), "dengue", "dengue1") for n in range(3)]
    genomes += [genome(f"four-{n}", relative(rng, fourth, 0.02), "dengue", "dengue4") for n in range(3)]
    return [*genomes, genome("unnamed", relative(rng, fourth, 0.02), "dengue", "dengue-all")]


def test_a_lineage_leaves_by_file_and_its_lookalikes_go_with_it(tmp_path: Path) -> None:
    zika = family(np.random.default_rng(2), 3, 4000, 0.02)
    remaining, taken = take_out(tmp_path, {"dengue": dengue(), "zika": zika}, ["dengue-4"])
    assert names(taken["dengue-4"]) == {"four-0", "four-1", "four-2"}
    assert names(remaining["dengue"]) == {"one-0", "one-1", "one-2"}
    assert remaining["zika"] is zika


def test_what_was_given_is_not_changed(tmp_path: Path) -> None:
    classes = {"dengue": dengue()}
    take_out(tmp_path, classes, ["dengue-4"])
    assert len(classes["dengue"]) == 7


def test_nothing_leaves_without_a_name(tmp_path: Path) -> None:
    classes = {"dengue": dengue()}
    assert take_out(tmp_path, classes, []) == (classes, {})


def test_where_names_do_not_tell_types_all_but_the_largest_cluster_leave(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    large, small = (family(rng, count, 4000, 0.01, "adenovirus", f"type{count}") for count in (4, 2))
    remaining, taken = take_out(tmp_path, {"adenovirus": small + large}, ["adenovirus-minor-types"])
    assert names(remaining["adenovirus"]) == names(large)
    assert names(taken["adenovirus-minor-types"]) == names(small)


def test_a_lineage_in_no_class_comes_from_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "genomes").mkdir()
    sudan = family(np.random.default_rng(4), 2, 1000, 0.01, "ebola-zaire", "ebola-sudan")
    write_fasta(tmp_path / "genomes" / "ebola-sudan.fasta.gz", sudan)
    zaire = family(np.random.default_rng(5), 2, 1000, 0.01, "ebola-zaire", "ebola-zaire")
    remaining, taken = take_out(tmp_path, {"ebola-zaire": zaire}, ["ebola-sudan"])
    assert remaining == {"ebola-zaire": zaire}
    assert names(taken["ebola-sudan"]) == names(sudan)


@pytest.mark.parametrize(
    ("lineage", "inside", "outside"),
    [
        ("dengue-4", "dengue4|NC_1", "dengue-all|dengue 1 strain 4"),
        ("enterovirus-d68", "enterovirus|EV-D68/1", "enterovirus|EV-A71/1"),
        ("influenza-a-h5-ha", "influenza-a|iav-h5/HA/1", "influenza-a|iav-h5/NA/1"),
        ("influenza-a-h3-ha", "influenza-a|H3N2_HA_7", "influenza-a|H3N2_NA_7"),
        ("norovirus-gi", "norovirus|x|GI|1", "norovirus|x|GII|1"),
        ("rsv-b", "rsv-b|1", "rsv-a|rsv-b"),
    ],
)
def test_names_tell_lineages_apart(lineage: str, inside: str, outside: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    expected = LINEAGES[lineage].expected
    records = []
    for name in (inside, outside):
        group, _, record = name.partition("|")
        records.append(genome(record, random_codes(rng, 2000), expected, group))
    remaining, taken = take_out(tmp_path, {expected: records}, [lineage])
    assert (taken[lineage], remaining[expected]) == (records[:1], records[1:])


def test_every_lineage_names_a_label_of_the_panel() -> None:
    assert {lineage.expected for lineage in LINEAGES.values()} <= set(CLASSES)
    assert all(lineage.files or lineage.pattern or lineage.minor for lineage in LINEAGES.values())
