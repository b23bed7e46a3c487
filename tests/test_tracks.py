"""Scores of bases: known exactly, whatever the windows, the strands, the tokens and the company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_outputs import KMERS, SINGLE, output_of, tiny_output

from edgeseq.chunks import Chunk
from edgeseq.errors import EngineError, UsageError
from edgeseq.manifest import Abstention, Input
from edgeseq.normalise import reverse_complement
from edgeseq.pieces import cut
from edgeseq.read import Read
from edgeseq.scorer import Scorer, load
from edgeseq.tokenizers import load_tokenizer
from edgeseq.windows import tile

BASES = np.zeros((6, 2), np.float32)
BASES[:4] = [[1.0, 0.0], [0.25, 0.5], [-2.0, 1.0], [3.0, 0.125]]
BASES[4] = [9.0, 9.0]
PLAIN = {"activation": "identity"}
OVERLAP = Input(window=16, stride=8, minimum=16, buckets=(16,))


def tracks(scorer: Scorer, *sequences: bytes) -> list[NDArray[np.float32]]:
    """The whole track of each read: (bases × labels)."""
    found: list[list[NDArray[np.float32]]] = [[] for _ in sequences]
    reads = [Read(str(number), sequence) for number, sequence in enumerate(sequences)]
    for stretch in scorer.tracks(reads):
        parts = found[int(stretch.read_id)]
        assert stretch.start == sum(map(len, parts))
        assert stretch.length == len(sequences[int(stretch.read_id)])
        parts.append(stretch.values)
    return [np.concatenate(parts) for parts in found]


def direct(sequence: bytes) -> NDArray[np.float32]:
    """What the letters themselves say, nothing for N."""
    values = BASES[load_tokenizer(SINGLE).encode(sequence)]
    values[np.frombuffer(sequence, np.uint8) == ord("N")] = np.nan
    return values


def random_sequence(length: int, seed: int = 0, letters: bytes = b"ACGT") -> bytes:
    return bytes(np.frombuffer(letters, np.uint8)[np.random.default_rng(seed).integers(0, len(letters), length)])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    folder = tmp_path_factory.mktemp("bundle")
    path = tiny_output(
        folder / "t.edgeseq", BASES, kind="token-classification", labels="xy", task=PLAIN, reading=OVERLAP
    )
    return load(path, threads=2)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(st.text("ACGTN", max_size=90).map(str.encode), max_size=6))
def test_each_base_has_the_score_of_its_letter(plain: Scorer, sequences: list[bytes]) -> None:
    for found, sequence in zip(tracks(plain, *sequences), sequences, strict=True):
        np.testing.assert_array_equal(found, direct(sequence))


def test_lower_case_and_rna_count(plain: Scorer) -> None:
    (found,) = tracks(plain, b"acgu")
    np.testing.assert_array_equal(found, direct(b"ACGT"))


def test_a_base_is_scored_where_it_has_most_context(tmp_path: Path) -> None:
    """A mean over five bases on either side: windows of 32 every 20 share 12, so that all bases see all of theirs."""
    path = tiny_output(
        tmp_path / "t.edgeseq",
        BASES,
        kind="token-classification",
        labels="xy",
        task=PLAIN,
        context=5,
        reading=Input(window=32, stride=20, minimum=32, buckets=(32,), mixed_lengths=False),
    )
    for length in (1, 31, 32, 33, 52, 53, 300):
        sequence = random_sequence(length)
        whole = output_of(BASES, load_tokenizer(SINGLE).encode(sequence)[None, :].astype(np.int64), 5)[0]
        with load(path) as scorer:
            np.testing.assert_allclose(tracks(scorer, sequence)[0], whole, atol=1e-5)


def test_a_graph_that_crops_speaks_for_the_middle(tmp_path: Path) -> None:
    path = tiny_output(
        tmp_path / "t.edgeseq",
        BASES,
        kind="token-classification",
        labels="xy",
        task=PLAIN,
        context=5,
        crop=True,
        reading=Input(window=32, stride=20, minimum=32, buckets=(32,), mixed_lengths=False),
    )
    sequence = random_sequence(200)
    whole = output_of(BASES, load_tokenizer(SINGLE).encode(sequence)[None, :].astype(np.int64), 5)[0]
    with load(path) as scorer:
        (found,) = tracks(scorer, sequence)
    np.testing.assert_allclose(found[5:-5], whole[5:-5], atol=1e-5)
    assert np.isnan(found[:5]).all()
    assert np.isnan(found[-5:]).all()


def test_the_reverse_strand_is_turned_round_and_averaged(tmp_path: Path) -> None:
    reading = Input(window=16, stride=8, minimum=16, buckets=(16,), strand="mean")
    path = tiny_output(
        tmp_path / "t.edgeseq", BASES, kind="token-classification", labels="xy", task=PLAIN, reading=reading
    )
    sequence = b"AACGTNNGGTATTACGCACAGGGTT"
    expected = (direct(sequence) + direct(reverse_complement(sequence))[::-1]) / 2
    with load(path) as scorer:
        np.testing.assert_allclose(tracks(scorer, sequence)[0], expected)


@pytest.mark.parametrize("strand", ["forward", "mean"])
def test_kmers_give_their_mean_to_the_bases_that_they_span(tmp_path: Path, strand: Any) -> None:
    table = np.random.default_rng(1).normal(size=(68, 1)).astype(np.float32)
    reading = Input(window=20, stride=10, minimum=20, buckets=(20,), strand=strand)
    path = tiny_output(
        tmp_path / "t.edgeseq",
        table,
        kind="token-classification",
        tokenizer=KMERS,
        labels=["x"],
        task=PLAIN,
        reading=reading,
    )

    def slow(text: bytes) -> NDArray[np.float64]:
        ids = load_tokenizer(KMERS).encode(text)[1:-1]
        spanning = [[table[ids[at], 0] for at in range(len(ids)) if at <= base < at + 3] for base in range(len(text))]
        return np.array([np.mean(values) for values in spanning])

    sequence = random_sequence(20)
    expected = slow(sequence)
    if strand == "mean":
        expected = (expected + slow(reverse_complement(sequence))[::-1]) / 2
    with load(path) as scorer:
        found, too_short = tracks(scorer, sequence, b"AC")
        np.testing.assert_allclose(found[:, 0], expected, atol=1e-6)
        assert np.isnan(too_short).all()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_activation_and_temperature_come_last(tmp_path: Path, activation: str) -> None:
    task = {"activation": activation, "temperature": 2.0}
    path = tiny_output(tmp_path / "t.edgeseq", BASES, kind="token-classification", labels="xy", task=task)
    logits = BASES[:4] / 2
    expected = {"softmax": np.exp(logits) / np.exp(logits).sum(1, keepdims=True), "sigmoid": 1 / (1 + np.exp(-logits))}
    with load(path) as scorer:
        np.testing.assert_allclose(tracks(scorer, b"ACGT")[0], expected[activation], atol=1e-6)


def test_reads_below_the_minimum_have_no_scores(tmp_path: Path) -> None:
    rule = {**PLAIN, "abstention": Abstention(minimum_length=5)}
    path = tiny_output(tmp_path / "t.edgeseq", BASES, kind="token-classification", labels="xy", task=rule)
    with load(path) as scorer:
        short, enough = tracks(scorer, b"ACGT", b"ACGTA")
    assert np.isnan(short).all()
    assert not np.isnan(enough).any()


def test_one_value_too_many_is_refused(tmp_path: Path) -> None:
    path = tiny_output(tmp_path / "t.edgeseq", BASES, kind="token-classification", labels="xy", pooled=True)
    with load(path) as scorer, pytest.raises(EngineError, match=r"the graph gives \(1, 2\) for a batch"):
        tracks(scorer, b"ACGT")


def test_other_kinds_have_no_tracks(tmp_path: Path) -> None:
    path = tiny_output(tmp_path / "t.edgeseq", BASES, kind="embedding")
    with load(path) as scorer, pytest.raises(UsageError, match="tiny is a embedding model"):
        scorer.tracks([])


def windows_of(length: int, spec: Input) -> list[tuple[int, int]]:
    _, starts, ends = tile(np.array([length]), spec)
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


@given(st.integers(0, 900), st.integers(2, 40), st.data())
def test_the_windows_of_pieces_are_those_of_the_read(length: int, window: int, data: st.DataObject) -> None:
    spec = Input(
        window=window,
        stride=data.draw(st.integers(1, window)),
        minimum=data.draw(st.integers(1, window)),
        buckets=(40,),
    )
    read = Read("r", random_sequence(length))
    pieces = [
        (piece, place)
        for chunk in cut(iter([Chunk([read])]), spec, bases=50)
        if chunk is not None
        for piece, place in zip(chunk, chunk.places, strict=True)
    ]
    found = [
        (start + place.offset, end + place.offset)
        for piece, place in pieces
        for start, end in windows_of(len(piece.sequence), spec)
    ]
    assert found == windows_of(length, spec)
    assert [place.begin for _, place in pieces] == [0, *(place.end for _, place in pieces)][:-1]
    assert pieces[-1][1].end == length
    for piece, place in pieces:
        assert piece.sequence == read.sequence[place.offset : place.offset + len(piece.sequence)]
        assert place.offset <= place.begin <= place.end <= place.offset + len(piece.sequence)


def test_a_long_read_comes_in_stretches(plain: Scorer) -> None:
    sequence = random_sequence(700_000)
    stretches = list(plain.tracks([Read("long", sequence), Read("short", b"A")]))
    assert [(one.read_id, one.last) for one in stretches] == [("long", False)] * 2 + [("long", True), ("short", True)]
    np.testing.assert_array_equal(np.concatenate([one.values for one in stretches[:-1]]), direct(sequence))
