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


def fused(name: str, own: Codes, foreign: int) -> Genome:
    """A construct: some of a virus between two parts of something else."""
    rng = np.random.default_rng(7)
    codes = np.concatenate([random_codes(rng, foreign // 2), own, random_codes(rng, foreign - foreign // 2)])
    return genome(name, codes, "zika", "zika")


@pytest.mark.parametrize(("foreign", "verdict"), [(1000, "kept"), (3000, "mixed")])
def test_less_than_half_of_a_record_must_not_be_something_else(foreign: int, verdict: str) -> None:
    records = classes()
    records["zika"].append(fused("vector", records["zika"].pop().codes, foreign))
    found = verdicts(records)
    assert (found["vector"].verdict, found["vector"].found) == (verdict, "zika")
    assert found["vector"].share == pytest.approx(2000 / (2000 + foreign), abs=0.03)
    assert {checked.verdict for name, checked in found.items() if name != "vector"} == {"kept"}


def test_a_construct_does_not_hide_in_a_cluster_that_it_shares_a_fragment_with() -> None:
    """The fragment is contained in it, which makes them one cluster; it is the longest, and speaks for nobody."""
    records = classes()
    head = records["zika"][0]
    rng = np.random.default_rng(8)
    records["zika"] += [genome(f"near-{n}", relative(rng, head.codes, 0.01), "zika") for n in range(6)]
    records["zika"] += [genome("fragment", head.codes[:800], "zika"), fused("vector", head.codes[:800], 4000)]
    found = verdicts(records)
    assert [(name, each.verdict) for name, each in found.items() if each.verdict != "kept"] == [("vector", "mixed")]
    assert found["fragment"].share == 1


def test_a_cluster_of_enough_records_does_not_need_a_distant_relative() -> None:
    """The only other record of the class is a fragment, which covers little of the genomes."""
    rng = np.random.default_rng(9)
    clone = family(rng, ENOUGH_PEERS, 2000, 0.001, "mpox", "mpox")
    fragment = genome("fragment", relative(rng, clone[0].codes[:400], 0.10), "mpox")
    found = verdicts({**classes(), "mpox": [*clone, fragment]})
    assert {found[each.name].verdict for each in (*clone, fragment)} == {"kept"}


def test_a_misfiled_record_does_not_vote() -> None:
    """Its nearest relative, rightly filed, is more like it than like the rest of its own class."""
    records = classes(5)
    nearest = records["rubella"][0]
    stray = genome("stray", relative(np.random.default_rng(10), nearest.codes, 0.06), "zika", "zika")
    records["zika"].append(stray)
    found = verdicts(records)
    assert (found["stray"].verdict, found["stray"].found) == ("misfiled", "rubella")
    assert found[nearest.name].verdict == "kept"


@pytest.mark.parametrize(("copies", "verdict"), [(ENOUGH_PEERS - 1, "alone"), (ENOUGH_PEERS, "kept")])
def test_where_nothing_aligns_enough_near_identical_records_vouch_for_each_other(copies: int, verdict: str) -> None:
    clone = family(np.random.default_rng(6), copies, 2000, 0.001, "mpox", "mpox")
    found = verdicts({**classes(), "mpox": clone})
    assert {found[genome.name].verdict for genome in clone} == {verdict}


def test_progress_counts_clusters() -> None:
    seen: list[tuple[int, int]] = []
    check(classes(), lambda done, total: seen.append((done, total)))
    assert seen == [(done, 8) for done in range(1, 9)]
