"""What the daemon says of itself: three different answers, bounded history, and a status file that is always whole."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from living import Run, living, row, until

from edgeseq.manifest import Task
from edgeseq.watch.answers import Answers, Questions
from edgeseq.watch.composition import Confusion
from edgeseq.watch.evidence import Answer, Bounds, exceeds, lower, weigh
from edgeseq.watch.history import REST, History, leading, restored
from edgeseq.watch.journal_reader import JournalReader
from edgeseq.watch.live import confusion_of
from edgeseq.watch.load import SKIPPED
from edgeseq.watch.shares import Shares
from edgeseq.watch.snapshot import sample_facts, state_of
from edgeseq.watch.tallies import Sample, Tallies
from edgeseq.watch.words import answer_words, share_words

HEALTHY = {"trouble": "", "quiet_seconds": 0.0, "unlisted": {}, "policy": "all", "files": 1}


def words(run: Run, barcode: str, label: str) -> str:
    answers = run.live.snapshot(0)["samples"][barcode]["answers"]
    return next(str(one["words"]) for one in answers if one["label"] == label)


def test_three_answers_are_three_answers(tmp_path: Path, bundle_path: Path) -> None:
    with living(tmp_path, bundle_path) as run:
        told = run.live.snapshot(0)
        assert told["samples"] == {}
        assert [one["words"] for one in told["run"]["answers"]] == ["no data yet", "no data yet"]
        run.score("barcode01", a=50, other=50)
        run.score("barcode02", other=3)
        run.score("barcode03", reason="short", unclassified=9)
        assert words(run, "barcode01", "a") == "detected, at 100 reads"
        assert words(run, "barcode01", "b") == "not detected at 100 reads"
        assert words(run, "barcode02", "a") == "not detected at 3 reads"
        assert words(run, "barcode03", "a") == "no data yet"
        told = run.live.snapshot(0)
        assert [one["words"] for one in told["run"]["answers"]] == [
            "detected in barcode01",
            "not detected at 103 reads",
        ]
        assert told["samples"]["barcode01"]["words"] == "a detected"
        assert told["samples"]["barcode02"]["words"] == "nothing detected at 3 reads"
        assert told["samples"]["barcode03"]["words"] == "no data yet"


def test_a_class_is_ruled_out_at_the_share_that_was_asked_about(tmp_path: Path, bundle_path: Path) -> None:
    with living(tmp_path, bundle_path, Questions(least=0.05)) as run:
        run.score("barcode01", other=500)
        assert words(run, "barcode01", "a") == "not detected at 500 reads; below 5 % of them"


def test_skipped_reads_say_nothing(tmp_path: Path, bundle_path: Path) -> None:
    with living(tmp_path, bundle_path) as run:
        run.score("barcode01", reason=SKIPPED, unclassified=1000)
        assert words(run, "barcode01", "a") == "no data yet"
        assert run.live.snapshot(0)["run"]["composition"] is None
        run.score("barcode01", other=1)
        assert words(run, "barcode01", "a") == "not detected at 1 read"


def test_the_negative_control_is_no_news_and_raises_the_background(tmp_path: Path, bundle_path: Path) -> None:
    with living(tmp_path, bundle_path, Questions(control="barcode01")) as run:
        run.score("barcode01", a=100, other=900)
        run.score("barcode02", a=100, other=900)
        run.score("barcode03", a=500, other=500)
        told = run.live.snapshot(0)
        assert told["samples"]["barcode01"]["control"]
        assert words(run, "barcode02", "a") == "not detected at 1,000 reads"
        assert [(one["barcode"], one["label"]) for one in told["detections"]] == [("barcode03", "a")]
        assert told["run"]["answers"][0]["words"] == "detected in barcode03"


def test_nothing_is_said_of_more_barcodes_than_were_expected(tmp_path: Path, bundle_path: Path) -> None:
    questions = Questions(barcodes=2)
    with living(tmp_path, bundle_path, questions) as run:
        for barcode in ("barcode09", "barcode01", "barcode02"):
            run.score(barcode, a=50)
        assert run.live.snapshot(0)["questions"]["untested"] == ["barcode02"]
    with living(tmp_path, bundle_path, questions) as run:  # the same ones after a restart
        told = run.live.snapshot(0)
    assert told["questions"]["untested"] == ["barcode02"]
    assert told["samples"]["barcode02"]["words"] == "not asked"
    assert not told["samples"]["barcode02"]["asked"]


def test_what_was_detected_stays_so_and_is_not_news_again(tmp_path: Path, bundle_path: Path) -> None:
    with living(tmp_path, bundle_path) as run:
        run.score("barcode01", a=10)
        before = run.live.snapshot(0)["detections"]
    with living(tmp_path, bundle_path) as run:
        run.score("barcode01", other=5000)
        after = run.live.snapshot(0)
        assert words(run, "barcode01", "a") == "detected, at 5,010 reads"
    assert after["detections"] == before
    assert weigh(10, 5010, Bounds(0.001, 0.01, 0.01 / 192, 0.05)).answer is Answer.NOT_DETECTED


def test_a_barcode_that_is_expected_and_has_no_reads_is_listed(tmp_path: Path, bundle_path: Path) -> None:
    with living(tmp_path, bundle_path) as run:
        run.live.names = {"barcode01": "Patient 17", "barcode12": "water"}
        run.score("barcode01", other=5)
        run.score("barcode03", other=5)
        told = run.live.snapshot(0)["samples"]
        assert [(barcode, one["name"], one["words"]) for barcode, one in told.items()] == [
            ("barcode01", "Patient 17", "nothing detected at 5 reads"),
            ("barcode03", "", "nothing detected at 5 reads"),
            ("barcode12", "water", "no data yet"),
        ]
        assert words(run, "barcode12", "a") == "no data yet"


def test_a_model_without_classes_detects_nothing() -> None:
    answers = Answers(Task("regression"), Questions())
    told = sample_facts("barcode01", Sample(5, 5000), answers, [])
    assert (told["words"], told["answers"]) == ("5 reads scored", [])
    assert sample_facts("barcode01", Sample(), answers, [])["words"] == "no data yet"


def test_other_questions_hold_from_now_on(tmp_path: Path, bundle_path: Path) -> None:
    with living(tmp_path, bundle_path, Questions(background=0.4)) as run:
        run.score("barcode01", a=20, other=80)
        assert run.live.snapshot(0)["detections_total"] == 0
        run.live.questions(Questions(background=0.01))
        assert run.live.snapshot(0)["detections_total"] == 1


def test_the_status_file_is_there_from_start_to_end(tmp_path: Path, bundle_path: Path) -> None:
    path = tmp_path / "status.json"
    with living(tmp_path, bundle_path) as run:
        until(path.exists)
        assert json.loads(path.read_text())["state"] == "waiting"
        run.score("barcode01", a=50)
    told = json.loads(path.read_text())
    assert told["state"] == "ended"
    assert told["totals"]["reads"] == 50
    assert told["bundle"]["name"] == "tiny"
    assert told["questions"]["classes"][0]["threshold"] == pytest.approx(-math.log10(0.01 / 192))
    assert "history" not in told
    assert [file.name for file in tmp_path.glob(".status*")] == []


def test_a_status_file_that_cannot_be_written_stops_nothing(tmp_path: Path, bundle_path: Path) -> None:
    (tmp_path / "status.json").mkdir(parents=True)
    with living(tmp_path, bundle_path) as run:
        run.score("barcode01", other=5)
        assert run.live.snapshot(0)["totals"]["reads"] == 5


def test_a_restart_knows_all_that_was_counted(tmp_path: Path, bundle_path: Path) -> None:
    with living(tmp_path, bundle_path) as run:
        run.score("barcode01", a=5, other=7)
        run.score("", reason="short", unclassified=2)
        before = run.live.snapshot(0)
    with living(tmp_path, bundle_path) as run:
        after = run.live.snapshot(0)
    assert after["samples"] == before["samples"]
    assert after["history"]["run"] == before["history"]["run"] == {"other": [7], "a": [5], "unclassified": [2]}
    assert set(after["samples"]) == {"barcode01", "unclassified"}


def test_rows_that_came_before_count_once(tmp_path: Path, bundle_path: Path) -> None:
    with living(tmp_path, bundle_path) as run:
        run.store([row(1, "barcode01", "a"), row(2, "barcode01", "a")])
        run.store([row(2, "barcode01", "a"), row(3, "barcode01", "a")])
        assert run.live.snapshot(0)["samples"]["barcode01"]["labels"] == {"a": 3}


@given(
    times=st.lists(st.floats(0, 1e6), min_size=1, max_size=60),
    stretches=st.integers(1, 40),
)
def test_history_keeps_its_bound_and_loses_no_read(times: list[float], stretches: int) -> None:
    history = History(1000.0, stretches=stretches, finest=10.0)
    for when in times:
        history.add("barcode01", "a", 3, 1000.0 + when)
    (counts,) = history.table("barcode01").values()
    assert len(counts) == len(history) <= stretches
    assert sum(counts) == 3 * len(times)
    assert max(times) < stretches * history.seconds


def test_stretches_are_merged_with_their_neighbours() -> None:
    history = History(0.0, stretches=4, finest=10.0)
    for when in (5, 15, 25, 35, 36):
        history.add("barcode01", "a", 1, when)
    assert history.table() == {"a": [1, 1, 1, 2]}
    history.add("barcode02", "b", 1, 45)
    assert history.seconds == 20.0
    assert history.table() == {"a": [2, 3, 0], "b": [0, 0, 1]}
    history.add("barcode02", "b", 1, -99)  # a clock that jumped back
    assert history.table("barcode02") == {"b": [1, 0, 1]}


def test_history_from_the_journal_spans_a_long_run(tmp_path: Path, bundle_path: Path) -> None:
    with living(tmp_path, bundle_path) as run:
        for place in range(20):
            run.score("barcode01", a=2)
            moved = "UPDATE reads SET scored = ? WHERE number = (SELECT max(number) FROM reads)"
            run.journal._db.execute(moved, (1_000_000.0 + 100 * place,))
        run.journal._db.execute("UPDATE reads SET scored = 1000000.0 WHERE scored > 1100000.0")
    reader = JournalReader(tmp_path)
    history, tallies, order = restored(reader, 0.0, stretches=16)
    reader.close()
    assert (history.start, history.seconds, order) == (1_000_000.0, 160.0, ["barcode01"])
    assert sum(history.table()["a"]) == tallies.whole().reads == 40
    assert history.table()["a"][1:] == [2, 1, 2, 1, 2, 2, 1, 2, 1, 2, 2]


def test_of_many_labels_the_most_frequent_are_told_apart() -> None:
    table = {f"c{place}": [place, 1] for place in range(12)}
    found = leading(table)
    assert list(found) == [*(f"c{place}" for place in range(11, 3, -1)), REST]
    assert found[REST] == [0 + 1 + 2 + 3, 4]


@given(hits=st.integers(0, 60), misses=st.integers(0, 3000), background=st.sampled_from([1e-4, 0.002, 0.03, 0.3]))
def test_the_cheap_question_has_the_answer_of_the_interval(hits: int, misses: int, background: float) -> None:
    alpha = 1e-4
    low = lower(hits, hits + misses, alpha)
    if abs(low - background) > 1e-9:
        assert exceeds(hits, hits + misses, background, alpha) == (low > background)


def test_one_crossing_however_often_it_is_asked() -> None:
    answers = Answers(Task("sequence-classification", ("a", "other"), background="other"), Questions())
    tallies = Tallies()
    told = []
    for _ in range(30):
        tallies.add("barcode01", "a", "", 1, 1000)
        told += answers.update(tallies)
    assert [(one.barcode, one.label, one.evidence.answer) for one in told] == [("barcode01", "a", Answer.DETECTED)]
    assert [evidence.reads for _, _, evidence in answers] == [30]


def test_compositions_are_corrected_and_kept_until_it_matters() -> None:
    confusion = Confusion.of(
        {"labels": ["a", "b"], "called": ["a", "b", "unclassified"], "counts": [[80, 20, 0], [0, 100, 0]]}
    )
    shares = Shares(confusion, ("a", "b"))
    sample = Sample(1000, 0)
    sample.labels.update(a=400, b=600)
    made = shares.update([("x", sample)])["x"]
    found = {one.label: one for one in made.shares}
    assert made.corrected
    assert found["a"].called == 400
    assert found["a"].share == pytest.approx(0.5, abs=0.01)
    assert found["a"].low < 0.5 < found["a"].high
    sample.reads += 10
    sample.labels["a"] += 10
    assert shares.update([("x", sample)])["x"] is made
    sample.reads += 100
    sample.labels["a"] += 100
    assert shares.update([("x", sample)])["x"].reads == 1110


def test_without_a_confusion_matrix_shares_are_those_of_the_calls() -> None:
    sample = Sample(10, 0)
    sample.labels.update(a=4, unclassified=6)
    sample.reasons["short"] = 2
    made = Shares(None, ("a", "b")).update([("x", sample)])["x"]
    assert not made.corrected
    assert [(one.label, one.called, one.share) for one in made.shares] == [("a", 4, 0.5), ("b", 0, 0.0)]


def test_the_matrix_is_found_in_a_report() -> None:
    matrix = {"labels": ["a"], "called": ["a", "unclassified"], "counts": [[9, 1]]}
    assert confusion_of({"held_out": {"confusion": matrix}}) is not None
    assert confusion_of({"confusion": matrix}) is not None
    assert confusion_of({"held_out": {"confusion": {"labels": ["a"]}}}) is None
    assert confusion_of({"reads": 0}) is None


@pytest.mark.parametrize(
    ("health", "reads", "state"),
    [
        ({}, 5, "running"),
        ({}, 0, "waiting"),
        ({"files": 0}, 0, "waiting"),
        ({"policy": "prefix"}, 5, "behind"),
        ({"policy": "sample"}, 5, "behind"),
        ({"trouble": "disk is full"}, 5, "trouble"),
        ({"unlisted": {"/x": "denied"}}, 5, "trouble"),
        ({"quiet_seconds": 61.0}, 5, "stalled"),
    ],
)
def test_one_word_for_how_it_is(health: dict[str, object], reads: int, state: str) -> None:
    found, why = state_of({**HEALTHY, **health}, reads)
    assert found == state
    assert bool(why) == (state != "running")


def test_words() -> None:
    assert answer_words("no data yet", 0) == "no data yet"
    assert answer_words(Answer.NOT_DETECTED, 1) == "not detected at 1 read"
    assert answer_words("detected", 12_345) == "detected, at 12,345 reads"
    assert [share_words(share) for share in (0.01, 0.0123, 0.5, 1.0, 0.0004)] == [
        "1 %",
        "1.2 %",
        "50 %",
        "100 %",
        "0.04 %",
    ]


def test_detections_are_never_pruned(tmp_path: Path, bundle_path: Path) -> None:
    with living(tmp_path, bundle_path) as run:
        run.score("barcode01", a=50)
        for number in range(20):
            run.journal.note("damaged file", f"{number}.fastq", "cut")
        run.journal.prune(5)
    reader = JournalReader(tmp_path)
    kinds = [kind for _, _, kind, _, _ in reader.events()]
    reader.close()
    assert [kind for kind in kinds if kind != "background"] == ["detected", *["damaged file"] * 5]
