"""A bundle that takes over while reads come in: between two chunks, no read lost, each row names its scorer."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import pytest
from sequencer import Sequencer, names, records, run_folder
from test_daemon import READS, until, write
from tiny_bundle import tiny_bundle

from edgeseq.manifest import Task
from edgeseq.scorer import Scorer, load
from edgeseq.watch.answers import Answers, Questions
from edgeseq.watch.composition import Confusion
from edgeseq.watch.daemon import Daemon
from edgeseq.watch.journal import Journal, JournalError
from edgeseq.watch.journal_reader import JournalReader
from edgeseq.watch.load import Limits


@pytest.fixture
def bundles(tmp_path: Path) -> tuple[Path, Path]:
    """Two bundles that differ in the bases that their labels like."""
    return tiny_bundle(tmp_path / "one.edgeseq"), tiny_bundle(tmp_path / "two.edgeseq", labels=("b", "a", "other"))


def by_bundle(out: Path) -> dict[str, list[tuple[str, str]]]:
    """Read id and label of the rows of each bundle, in order."""
    found: dict[str, list[tuple[str, str]]] = {}
    reader = JournalReader(out)
    for row in reader.rows():
        found.setdefault(row[14], []).append((row[0], row[3]))
    reader.close()
    return found


def labels(bundle: Path, run: Path) -> dict[str, str]:
    """What a bundle calls the reads of a folder."""
    from edgeseq.reads import open_reads

    with load(bundle, threads=1) as scorer:
        return {prediction.read.id: prediction.decision.label for prediction in scorer.score(open_reads(run))}


def test_every_read_is_scored_once_while_bundles_take_turns(tmp_path: Path, bundles: tuple[Path, Path]) -> None:
    reads = records(3000)
    run, out = tmp_path / "run", tmp_path / "out"
    sequencer = Sequencer(run_folder(run, reads, compressed=False), steps=40, pause=0.005)
    first = load(bundles[0], threads=1)
    journal = Journal(out, {"bundle": first.bundle.sha256})
    daemon = Daemon([str(run)], first, journal, until_idle=1.0, interval=0.01, commit=0.02)
    thread = threading.Thread(target=daemon.run)

    def reached(goal: int) -> bool:
        return daemon.progress.reads >= goal or not thread.is_alive()

    sequencer.start()
    thread.start()
    for turn in range(1, 9):
        until(partial(reached, 300 * turn))
        daemon.switch(load(bundles[turn % 2], threads=1))
    sequencer.join()
    thread.join()
    journal.close()
    found = by_bundle(out)
    ids = [name for rows in found.values() for name, _ in rows]
    assert len(ids) == len(reads)
    assert sorted(ids) == sorted(names(reads))
    assert daemon.progress.duplicates == 0
    for bundle in bundles:
        with load(bundle, threads=1) as scorer:
            rows = found[scorer.bundle.sha256]
        assert len(rows) >= 300
        alone = labels(bundle, run)
        assert all(alone[name] == label for name, label in rows)


def test_the_old_scorer_is_closed_and_the_new_one_stays(tmp_path: Path, bundles: tuple[Path, Path]) -> None:
    write(run_folder(tmp_path / "run", READS[:60]))
    scorers = [load(bundle, threads=1) for bundle in bundles]
    journal = Journal(tmp_path / "out", {})
    daemon = Daemon([str(tmp_path / "run")], scorers[0], journal, until_idle=0.5, interval=0.01, commit=0.02)
    daemon.switch(scorers[1])
    daemon.run()
    journal.close()
    assert daemon.scorer is scorers[1]
    assert set(by_bundle(tmp_path / "out")) == {scorers[1].bundle.sha256}
    assert not is_open(scorers[0])
    assert is_open(scorers[1])


def is_open(scorer: Scorer) -> bool:
    return scorer._session is not None


def test_reads_that_are_skipped_name_the_bundle_in_force(tmp_path: Path, bundles: tuple[Path, Path]) -> None:
    path = tmp_path / "run" / "a.fastq"
    path.parent.mkdir()
    path.write_bytes(b"")
    limits = Limits(prefix_after=0.0, sample_after=0.0, one_in=5)
    with load(bundles[0], threads=1) as scorer:
        journal = Journal(tmp_path / "out", {})
        daemon = Daemon([str(path.parent)], scorer, journal, limits=limits, until_idle=0.5, interval=0.01)
        thread = threading.Thread(target=daemon.run)
        thread.start()
        until(lambda: any(daemon.files))
        path.write_bytes(b"".join(READS[:100]))
        thread.join()
        journal.close()
        assert {key: len(rows) for key, rows in by_bundle(tmp_path / "out").items()} == {scorer.bundle.sha256: 100}


def test_a_change_that_the_journal_knows_is_accepted_on_resume_and_a_silent_one_is_not(tmp_path: Path) -> None:
    journal = Journal(tmp_path, {"bundle": "one", "task": "t"})
    journal.change({"bundle": "two"})
    journal.close()
    Journal(tmp_path, {"bundle": "two", "task": "t"}).close()
    with pytest.raises(JournalError, match="bundle was two, is one; go on with the same settings"):
        Journal(tmp_path, {"bundle": "one", "task": "t"})
    Journal(tmp_path, {"bundle": "three", "task": "t"}, accept=True).close()
    reader = JournalReader(tmp_path)
    assert reader.settings() == {"bundle": "three", "format": "1", "task": "t"}
    events = [event[2:] for event in reader.events()]
    reader.close()
    assert events == [("settings", "bundle", "was one, is two"), ("settings", "bundle", "was two, is three")]


def test_pruning_keeps_the_latest_events_and_every_change_of_settings(tmp_path: Path) -> None:
    journal = Journal(tmp_path, {"bundle": "one"})
    journal.change({"bundle": "two"})
    for number in range(20):
        journal.note("damaged file", str(number), "")
    assert journal.prune(5) == 15
    journal.close()
    reader = JournalReader(tmp_path)
    assert [event[3] for event in reader.events()] == ["bundle", "15", "16", "17", "18", "19"]
    reader.close()


def test_the_worst_background_of_all_bundles_holds() -> None:
    task = Task(kind="sequence-classification", labels=("a", "b", "other"), background="other")
    confusion = Confusion.of(
        {"labels": ["a", "b", "other"], "called": ["a", "b", "other", "unclassified"], "counts": [[9, 0, 0, 0]] * 3}
    )
    assert confusion is not None
    alone = Answers(task, Questions(), confusion)
    both = Answers(task, Questions(), confusion, floors={"a": 0.001, "b": 0.2})
    assert both.background("a") == alone.background("a") > 0.5
    assert alone.background("b") < 0.1
    assert both.background("b") == 0.2
    assert Answers(task, Questions(background=0.01), None, floors={"a": 0.3}).background("a") == 0.01


def test_threads_may_write_at_the_same_time(tmp_path: Path) -> None:
    journal = Journal(tmp_path, {})

    def write_notes() -> None:
        for _ in range(50):
            journal.note("kind", "subject", "")

    threads = [threading.Thread(target=write_notes) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    reader = JournalReader(tmp_path)
    assert len(reader.events()) == 200
    reader.close()
