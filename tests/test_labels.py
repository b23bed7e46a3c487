"""The label check: a record belongs to the class that other records of that class say it does."""

from __future__ import annotations

import numpy as np
import pytest
from made_genomes import Codes, complement, family, genome, random_codes, relative

pytest.importorskip("mappy", reason="the label check aligns with minimap2 (extra `export`)")

from export.genomes import Genome
from export.labels import ENOUGH_PEERS, Checked, check


def strayed(records: dict[str, list[Genome]]) -> Codes:
    """A rubella genome that resembles the others a little less than they do each other."""
    return relative(np.random.default_rng(2), records["rubella"].pop().codes, 0.02)


def classes(records: int = 4) -> dict[str, list[Genome]]:
    """Two unrelated viruses; records of one differ by about 12 %, each a cluster of its own."""
    rng = np.random.default_rng(1)
    return {label: family(rng, records, 2000, 0.06, label, label) for label in ("zika", "rubella")}


def verdicts(records: dict[str, list[Genome]]) -> dict[str, Checked]:
    return {checked.genome.name: checked for checked in check(records)}


def test_records_that_agree_with_their_class_are_kept() -> None:
    records = classes()
    found = verdicts(records)
    assert {name: checked.verdict for name, checked in found.items()} == dict.fromkeys(
        [genome.name for genomes in records.values() for genome in genomes], "kept"
    )
    assert all(checked.found == checked.genome.label for checked in found.values())
    assert all(checked.matches > 1000 for checked in found.values())


def test_a_record_in_the_file_of_another_class_is_caught() -> None:
    records = classes(5)
    records["zika"].append(genome("planted", complement(strayed(records)), "zika", "zika"))
    found = verdicts(records)
    assert (found["planted"].verdict, found["planted"].found) == ("misfiled", "rubella")
    assert [name for name, checked in found.items() if checked.verdict != "kept"] == ["planted"]


def test_one_verdict_holds_for_all_of_a_cluster() -> None:
    """Near-identical copies cannot vouch for each other against another class."""
    records = classes(5)
    rng = np.random.default_rng(3)
    original = strayed(records)
    records["zika"] += [genome(f"copy-{n}", relative(rng, original, 0.005), "zika") for n in range(3)]
    found = verdicts(records)
    assert {name for name, checked in found.items() if checked.verdict == "misfiled"} == {"copy-0", "copy-1", "copy-2"}


def test_relatives_in_classes_of_their_own_are_left_there() -> None:
    """Sister viruses that are 78 % identical align to each other, less well than to their own kind."""
    rng = np.random.default_rng(4)
    ancestor = random_codes(rng, 2000)
    sisters = {"dengue": relative(rng, ancestor, 0.11), "zika": relative(rng, ancestor, 0.11)}
    records = {
        label: [genome(f"{label}-{n}", relative(rng, codes, 0.04), label) for n in range(4)]
        for label, codes in sisters.items()
    }
    assert {checked.verdict for checked in check(records)} == {"kept"}


def test_the_only_record_of_a_virus_is_not_mistaken_for_its_sister() -> None:
    """It resembles the sister too little to be misfiled, and has nobody to confirm it."""
    rng = np.random.default_rng(5)
    records = classes()
    sister = genome("sister", relative(rng, records["zika"][0].codes, 0.20), "dengue")
    found = verdicts({**records, "dengue": [sister]})
    assert (found["sister"].verdict, found["sister"].found, found["sister"].matches) == ("alone", "", 0)


@pytest.mark.parametrize(("copies", "verdict"), [(ENOUGH_PEERS - 1, "alone"), (ENOUGH_PEERS, "kept")])
def test_where_nothing_aligns_enough_near_identical_records_vouch_for_each_other(copies: int, verdict: str) -> None:
    clone = family(np.random.default_rng(6), copies, 2000, 0.001, "mpox", "mpox")
    found = verdicts({**classes(), "mpox": clone})
    assert {found[genome.name].verdict for genome in clone} == {verdict}


def test_progress_counts_clusters() -> None:
    seen: list[tuple[int, int]] = []
    check(classes(), lambda done, total: seen.append((done, total)))
    assert seen == [(done, 8) for done in range(1, 9)]
