"""The scorer: reads to predictions, the same whatever the company, the threads and the pauses."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_bundle import tiny_bundle

import edgeseq
from edgeseq.batches import TOKENS
from edgeseq.bundle import Bundle, read_bundle
from edgeseq.errors import EngineError, ReadError, UsageError
from edgeseq.manifest import Abstention, Tensor
from edgeseq.normalise import reverse_complement
from edgeseq.prediction import UNCLASSIFIED, Prediction
from edgeseq.read import Read
from edgeseq.scorer import Scorer, load
from edgeseq.session import Session


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.edgeseq")


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def reads_of(*sequences: bytes) -> list[Read]:
    return [Read(f"read{number}", sequence, record=number) for number, sequence in enumerate(sequences)]


def random_reads(count: int, longest: int = 700, seed: int = 5) -> list[Read]:
    random = np.random.default_rng(seed)
    favour = [[7, 1, 1, 1, 0.2], [1, 7, 1, 1, 0.2], [1, 1, 1, 1, 0.1]]
    sequences = []
    for _ in range(count):
        weights = np.array(favour[random.integers(3)])
        letters = random.choice(list(b"ACGTN"), size=random.integers(0, longest), p=weights / weights.sum())
        sequences.append(letters.astype(np.uint8).tobytes())
    return reads_of(*sequences)


def facts(predictions: Iterable[Prediction]) -> list[tuple[object, ...]]:
    return [
        (one.read.id, one.decision, one.scores.probabilities.tolist(), one.scores.windows.tolist())
        for one in predictions
    ]


class Fake:
    """Stands in for the engine."""

    provider = "fake"

    def __init__(self, answer: object = None, *, gate: threading.Event | None = None) -> None:
        self.answer = answer
        self.gate = gate
        self.calls = 0

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self.calls += 1
        if self.gate is not None:
            assert self.gate.wait(10)
        if isinstance(self.answer, BaseException):
            raise self.answer
        rows = len(inputs["input_ids"])
        return {"logits": np.full((rows, 3), 1.0 if self.answer is None else cast(float, self.answer), np.float32)}


def fake_scorer(bundle: Bundle, fake: Fake, threads: int = 1) -> Scorer:
    return Scorer(bundle, cast(Session, fake), threads=threads)


def test_the_front_door(path: Path) -> None:
    with edgeseq.load(path) as scorer:
        called = [
            prediction.decision.label for prediction in scorer.score(reads_of(b"A" * 50, b"C" * 50, b"ACGT" * 20))
        ]
    assert called == ["a", "b", "other"]


def test_a_read_is_scored_window_by_window(path: Path) -> None:
    with load(path) as scorer:
        (prediction,) = scorer.score(reads_of(b"a" * 64 + b"U" * 64 + b"C" * 40))
    scores = prediction.scores
    assert (scores.starts.tolist(), scores.ends.tolist()) == ([0, 64, 128], [64, 128, 168])
    assert scores.windows.argmax(axis=1).tolist() == [0, 2, 1]
    assert scores.planned == 3


def test_order_and_count_are_those_of_the_reads(path: Path, threads: int) -> None:
    reads = random_reads(500)
    with load(path, threads=threads) as scorer:
        assert [prediction.read.id for prediction in scorer.score(iter(reads))] == [read.id for read in reads]


def test_threads_change_nothing_at_all(path: Path) -> None:
    reads = random_reads(400)
    with load(path, threads=1) as one, load(path, threads=2) as two:
        assert facts(one.score(reads)) == facts(two.score(reads))
        assert facts(one.score(reads, early_stop=True)) == facts(two.score(reads, early_stop=True))


dna = st.binary(max_size=40).map(lambda data: bytes(b"ACGTNacgtR-"[value % 11] for value in data))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(sequences=st.lists(st.tuples(dna, st.integers(0, 8)).map(lambda pair: pair[0] * pair[1]), max_size=25))
def test_together_as_alone(path: Path, sequences: list[bytes]) -> None:
    scorer = SCORERS.setdefault(path, load(path, threads=2))
    reads = reads_of(*sequences)
    for together, read in zip(scorer.score(reads), reads, strict=True):
        alone = scorer.score_one(read)
        np.testing.assert_allclose(together.scores.probabilities, alone.scores.probabilities, atol=1e-5)
        np.testing.assert_allclose(together.scores.windows, alone.scores.windows, atol=1e-5)
        assert together.decision.reason == alone.decision.reason


SCORERS: dict[Path, Scorer] = {}


@pytest.mark.parametrize("mixed", [True, False])
def test_lengths_that_may_or_may_not_be_mixed_give_the_same(tmp_path: Path, path: Path, mixed: bool) -> None:
    other = tiny_bundle(tmp_path / "other.edgeseq", mixed_lengths=mixed, buckets=() if mixed else (64,))
    reads = random_reads(40)
    with load(path) as bucketed, load(other) as unpadded:
        for one, two in zip(bucketed.score(reads), unpadded.score(reads), strict=True):
            np.testing.assert_allclose(one.scores.probabilities, two.scores.probabilities, atol=1e-5)


@pytest.mark.parametrize("strand", ["mean", "equivariant"])
def test_both_strands_agree_where_the_bundle_says_so(tmp_path: Path, strand: Any) -> None:
    both = tiny_bundle(tmp_path / "both.edgeseq", strand=strand)
    sequences = [read.sequence for read in random_reads(30, longest=64)]
    with load(both) as scorer:
        forward = scorer.score(reads_of(*sequences))
        backward = scorer.score(reads_of(*map(reverse_complement, sequences)))
        for one, two in zip(forward, backward, strict=True):
            np.testing.assert_allclose(one.scores.probabilities, two.scores.probabilities, atol=1e-5)
        assert len(scorer.encode(Read("r", b"ACGT" * 32))) == (4 if strand == "mean" else 2)


def test_no_bases_no_call(path: Path) -> None:
    with load(path) as scorer:
        first, empty, last = scorer.score(reads_of(b"A" * 30, b"", b"A" * 30))
    assert (empty.decision.label, empty.decision.reason, empty.scores.planned) == (UNCLASSIFIED, "empty", 0)
    assert first.decision == last.decision


def test_only_empty_reads(path: Path, threads: int) -> None:
    with load(path, threads=threads) as scorer:
        assert len(list(scorer.score(reads_of(*[b""] * 5000)))) == 5000
        assert len(list(scorer.score(reads_of(*[b""] * 5000), early_stop=True))) == 5000
        assert list(scorer.score([])) == []
        assert list(scorer.score([], early_stop=True)) == []


def test_stopping_early_keeps_every_call_and_saves_windows(tmp_path: Path) -> None:
    rule = Abstention(minimum_score=0.6, minimum_length=100, maximum_n_fraction=0.05)
    strict = tiny_bundle(tmp_path / "strict.edgeseq", abstention=rule)
    random = np.random.default_rng(2)
    reads = random_reads(150, longest=3000) + reads_of(*[b"A" * int(n) for n in random.integers(0, 5000, 60)])
    with load(strict, threads=2) as scorer:
        complete = list(scorer.score(reads))
        stopped = list(scorer.score(reads, early_stop=True))
    calls = [(one.decision.label, one.decision.candidate, one.decision.reason) for one in complete]
    assert calls == [(one.decision.label, one.decision.candidate, one.decision.reason) for one in stopped]
    assert len({call[0] for call in calls}) > 2
    windows = [sum(len(one.scores.windows) for one in run) for run in (complete, stopped)]
    assert windows[1] < 0.9 * windows[0]
    assert [one.scores.planned for one in complete] == [one.scores.planned for one in stopped]


def test_minimum_length_can_be_set(path: Path) -> None:
    with load(path, minimum_length=31) as scorer:
        short, enough = scorer.score(reads_of(b"A" * 30, b"A" * 31))
    assert (short.decision.reason, short.decision.candidate) == ("short", "a")
    assert enough.decision.label == "a"


@pytest.mark.parametrize("early_stop", [False, True])
def test_an_error_of_the_reads_comes_after_the_reads_before_it(path: Path, threads: int, early_stop: bool) -> None:
    def cut() -> Iterator[Read]:
        yield from random_reads(100)
        raise ReadError("cut.fastq", "it ends", record=100, offset=9)

    seen: list[Prediction] = []
    with load(path, threads=threads) as scorer, pytest.raises(ReadError, match="record 101 at byte 9"):
        seen.extend(scorer.score(cut(), early_stop=early_stop))
    assert len(seen) == 100


@pytest.mark.parametrize("early_stop", [False, True])
def test_an_engine_that_fails_ends_the_run(path: Path, threads: int, early_stop: bool) -> None:
    scorer = fake_scorer(read_bundle(path), Fake(EngineError("no memory")), threads)
    with pytest.raises(EngineError, match="no memory"):
        list(scorer.score(random_reads(1000), early_stop=early_stop))


def test_values_that_are_no_numbers_are_refused(path: Path) -> None:
    scorer = fake_scorer(read_bundle(path), Fake(float("nan")))
    with pytest.raises(EngineError, match="not finite"):
        list(scorer.score(random_reads(3)))


@pytest.mark.parametrize("early_stop", [False, True])
def test_a_caller_that_leaves_ends_the_threads(path: Path, threads: int, early_stop: bool) -> None:
    def endless() -> Iterator[Read]:
        while True:
            yield from random_reads(50)

    with load(path, threads=threads) as scorer:
        running = scorer.score_batches(endless(), early_stop=early_stop)
        assert next(running)
        running.close()
    for thread in threading.enumerate():
        if thread.name.startswith("edgeseq-"):
            thread.join(5)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("edgeseq-")]


def test_reading_waits_for_a_slow_engine(path: Path) -> None:
    gate = threading.Event()
    drawn = 0

    def counted() -> Iterator[Read]:
        nonlocal drawn
        for read in reads_of(*[b"ACGT" * 16] * 20_000):
            drawn += 1
            yield read

    scorer = fake_scorer(read_bundle(path), Fake(gate=gate))
    running = scorer.score_batches(counted())
    starter = threading.Thread(target=lambda: next(running))
    starter.start()
    rows_in_a_batch, ahead = TOKENS // 64, 4
    threading.Event().wait(0.3)
    assert drawn <= (ahead + 2) * rows_in_a_batch
    gate.set()
    starter.join(10)
    running.close()


def test_a_paused_source_still_delivers(path: Path, threads: int) -> None:
    delivered = threading.Event()

    def paused() -> Iterator[Read]:
        yield from random_reads(7)
        assert delivered.wait(20), "predictions are held back while the source waits"
        yield from random_reads(2)

    for early_stop in (False, True):
        delivered.clear()
        count = 0
        with load(path, threads=threads) as scorer:
            for _ in scorer.score(paused(), live=True, early_stop=early_stop):
                count += 1
                if count == 7:
                    delivered.set()
        assert count == 9


def test_raw_ids(path: Path) -> None:
    with load(path) as scorer:
        ids = np.array(scorer.encode(Read("r", b"A" * 40)))
        logits = scorer.run_ids(ids)["logits"]
        np.testing.assert_allclose(
            scorer.score_one(Read("r", b"A" * 40)).scores.probabilities,
            (np.exp(logits) / np.exp(logits).sum())[0],
            atol=1e-5,
        )


def test_kinds_without_a_score_for_a_read_are_refused(path: Path) -> None:
    bundle = read_bundle(path)
    for kind in ("token-classification", "masked-lm"):
        manifest = replace(bundle.manifest, task=replace(bundle.manifest.task, kind=kind))
        scorer = fake_scorer(replace(bundle, manifest=manifest), Fake())
        with pytest.raises(UsageError, match=f"tiny is a {kind} model"):
            scorer.score_batches([])


def test_graphs_that_want_more_than_ids_run_from_python_and_take_no_reads(path: Path) -> None:
    bundle = read_bundle(path)
    extra = Tensor("aux_features", "float32", ("batch", 3))
    graph = replace(bundle.manifest.graph, inputs=(*bundle.manifest.graph.inputs, extra))
    scorer = fake_scorer(replace(bundle, manifest=replace(bundle.manifest, graph=graph)), Fake())
    with pytest.raises(
        UsageError, match=r"takes aux_features beside input_ids, .* Scorer.run_ids\(ids, aux_features=…\)"
    ):
        list(scorer.score(random_reads(2)))
    assert "logits" in scorer.run_ids(np.array([[1, 2, 3]]), aux_features=np.zeros((1, 3), np.float32))


def test_graphs_without_ids_are_refused(path: Path) -> None:
    bundle = read_bundle(path)
    graph = replace(bundle.manifest.graph, inputs=(Tensor("aux_features", "float32", ("batch", 3)),))
    with pytest.raises(EngineError, match="the graph takes no input_ids, but aux_features"):
        fake_scorer(replace(bundle, manifest=replace(bundle.manifest, graph=graph)), Fake())


def test_a_closed_scorer_says_so(path: Path) -> None:
    scorer = load(path)
    scorer.close()
    with pytest.raises(UsageError, match="closed"):
        list(scorer.score(random_reads(2)))


def test_embeddings_are_averaged_over_tokens_and_windows(path: Path) -> None:
    class Hidden(Fake):
        def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            ids = inputs["input_ids"]
            return {"logits": np.stack([ids, ids * 0 + 1], axis=2).astype(np.float32)}

    bundle = read_bundle(path)
    task = replace(bundle.manifest.task, kind="embedding", labels=())
    scorer = fake_scorer(replace(bundle, manifest=replace(bundle.manifest, task=task)), Hidden())
    prediction = scorer.score_one(Read("r", b"C" * 64 + b"G" * 32))
    np.testing.assert_allclose(prediction.scores.probabilities, [(64 * 1 + 32 * 2) / 96, 1.0], rtol=1e-6)
    assert (prediction.decision.label, prediction.decision.reason) == ("", "")
