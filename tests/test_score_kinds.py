"""``edgeseq score`` with a bundle of every kind, from reads in every format to the numbers in its output.

The numbers are those of a direct computation in plain numpy, read by read, that shares no code with the runtime: its
own windows, ids, means over strands and windows. The model is a table: a token's output is the row of its id.
"""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pysam
import pytest
from conftest import RunEdgeseq
from numpy.typing import NDArray
from test_token_spans import PIECES
from tiny_outputs import KMERS, SINGLE, tiny_output
from tokenizers import Tokenizer as Learned

from edgeseq.manifest import Input

Array = NDArray[np.float64]

TABLE = np.random.default_rng(7).normal(size=(68, 3)).astype(np.float32)
"""Rows for the ids of all tokenizers here."""
READING = Input(window=64, stride=40, minimum=20, buckets=(16, 32, 64))
FORMATS = ("fasta", "fastq", "fastq.gz", "bam")


def made_reads() -> dict[str, str]:
    """Reads shorter and longer than the window, some with N, lower case and U."""
    rng = np.random.default_rng(8)
    lengths = (1, 5, 19, 63, 64, 65, 104, 105, 123, 124, 125, 700)
    reads = {f"r{length}": "".join(rng.choice(list("ACGT"), length)) for length in lengths}
    reads["n"] = "ACGTNNNN" * 20 + "N" * 70 + "ACG" * 30
    return reads | {"lower": reads["r105"].lower(), "rna": reads["r124"].replace("T", "U")}


READS = made_reads()


def write_reads(folder: Path, kind: str, reads: dict[str, str] = READS) -> Path:
    path = folder / f"reads.{kind}"
    fastq = "".join(f"@{name}\n{bases}\n+\n{'I' * len(bases)}\n" for name, bases in reads.items()).encode()
    if kind == "fasta":
        path.write_text("".join(f">{name} words\n{bases[:50]}\n{bases[50:]}\n" for name, bases in reads.items()))
    elif kind == "bam":
        with pysam.AlignmentFile(str(path), "wb", header={"HD": {"VN": "1.6"}}) as file:
            for name, bases in reads.items():
                record = pysam.AlignedSegment()
                record.query_name, record.query_sequence, record.flag = name, bases.upper().replace("U", "T"), 4
                file.write(record)
    else:
        path.write_bytes(gzip.compress(fastq) if kind.endswith("gz") else fastq)
    return path


def bases_of(written: str) -> str:
    return written.upper().replace("U", "T")


def turned(bases: str) -> str:
    return bases[::-1].translate(str.maketrans("ACGT", "TGCA"))


def windows_of(length: int, reading: Input) -> list[tuple[int, int]]:
    """Starts every stride until the end is reached; a last one that is too short lies at the end, as long as all."""
    found = [(0, min(reading.window, length))]
    while found[-1][1] < length:
        start = found[-1][0] + reading.stride
        found.append((start, min(start + reading.window, length)))
    if length > reading.window and found[-1][1] - found[-1][0] < reading.minimum:
        found[-1] = (length - reading.window, length)
    return found


def ids_of(bases: str, tokenizer: Any) -> list[int]:
    if tokenizer is SINGLE:
        return ["ACGTN".index(base) for base in bases]
    if tokenizer is KMERS:
        words = [bases[at : at + 3] for at in range(len(bases) - 2)]
        numbers = [
            4 + sum("ACGT".index(b) * 4 ** (2 - at) for at, b in enumerate(word)) for word in words if "N" not in word
        ]
        known = iter(numbers)
        return [2, *(1 if "N" in word else next(known) for word in words), 3]
    ids: list[int] = Learned.from_str(json.dumps({"version": "1.0", **tokenizer})).encode(bases).ids
    return ids


def strands_of(bases: str, reading: Input) -> list[str]:
    return [bases, turned(bases)] if reading.strand == "mean" else [bases]


def row_means(bases: str, reading: Input, tokenizer: Any, table: NDArray[np.float32]) -> Array:
    """The mean over the tokens of a window, then over its strands."""
    rows = [table[ids_of(text, tokenizer)].astype(np.float64).mean(axis=0) for text in strands_of(bases, reading)]
    found: Array = np.mean(rows, axis=0)
    return found


def log_softmax(row: Array) -> Array:
    shifted = row - row.max()
    found: Array = shifted - np.log(np.exp(shifted).sum())
    return found


def direct(bases: str, reading: Input, tokenizer: Any, task: str, table: NDArray[np.float32] = TABLE) -> Array:
    """What a read gets: the mean over its windows, weighted by their lengths; of classes, that of logarithms."""
    windows = windows_of(len(bases), reading)
    weights = [end - start for start, end in windows]
    rows = [row_means(bases[start:end], reading, tokenizer, table) for start, end in windows]
    if task == "softmax":
        mean = np.exp(np.average([log_softmax(row) for row in rows], axis=0, weights=weights))
        return np.asarray(mean / mean.sum())
    if task == "sigmoid":
        return np.asarray(np.exp(np.average([-np.log1p(np.exp(-row)) for row in rows], axis=0, weights=weights)))
    return np.asarray(np.average(rows, axis=0, weights=weights))


def objects(path: Path) -> dict[str, dict[str, Any]]:
    return {row["read_id"]: row for row in map(json.loads, path.read_text().splitlines())}


def reading_for(strand: Any, tokenizer: Any) -> Input:
    """Rows of 3-mers have two ids more than letters less two, those of learned pieces at most two more."""
    buckets = {id(SINGLE): (16, 32, 64), id(KMERS): (32, 64), id(PIECES): (32, 66)}[id(tokenizer)]
    return Input(window=64, stride=40, minimum=20, strand=strand, buckets=buckets)


@pytest.mark.parametrize("tokenizer", [SINGLE, KMERS, PIECES], ids=["bases", "kmers", "pieces"])
@pytest.mark.parametrize("strand", ["forward", "mean"])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_classes_and_several_labels(
    run_edgeseq: RunEdgeseq, tmp_path: Path, activation: str, strand: str, tokenizer: Any
) -> None:
    reading = reading_for(strand, tokenizer)
    settings = {"activation": activation}
    bundle = tiny_output(
        tmp_path / "c.edgeseq",
        TABLE,
        kind="sequence-classification",
        labels="xyz",
        task=settings,
        reading=reading,
        tokenizer=tokenizer,
    )
    long_enough = {name: bases for name, bases in READS.items() if len(bases) > 2}
    done = run_edgeseq("score", write_reads(tmp_path, "fastq", long_enough), "-m", bundle, "-o", tmp_path / "c.jsonl")
    assert done.code == 0, done.err
    found = objects(tmp_path / "c.jsonl")
    assert list(found) == list(long_enough)
    for name, bases in long_enough.items():
        wanted = direct(bases_of(bases), reading, tokenizer, activation)
        np.testing.assert_allclose(list(found[name]["probabilities"].values()), wanted, atol=1e-5, err_msg=name)
        assert found[name]["label"] == "xyz"[int(wanted.argmax())]
        assert found[name]["windows"] == len(windows_of(len(bases), reading))


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_of_reads_gives_the_same_rows(run_edgeseq: RunEdgeseq, tmp_path: Path, kind: str) -> None:
    bundle = tiny_output(
        tmp_path / "c.edgeseq", TABLE, kind="sequence-classification", labels="xyz", reading=reading_for("mean", SINGLE)
    )
    done = run_edgeseq("score", write_reads(tmp_path, kind), "-m", bundle)
    rows = [line.split("\t") for line in done.out.splitlines()[1:]]
    assert [row[0] for row in rows] == list(READS)
    for row in rows:
        wanted = direct(bases_of(READS[row[0]]), reading_for("mean", SINGLE), SINGLE, "softmax")
        assert (int(row[2]), row[3]) == (len(READS[row[0]]), "xyz"[int(wanted.argmax())])
        assert float(row[4]) == pytest.approx(wanted.max(), abs=6e-5)


@pytest.mark.parametrize("strand", ["forward", "mean"])
def test_regression(run_edgeseq: RunEdgeseq, tmp_path: Path, strand: str) -> None:
    reading = reading_for(strand, SINGLE)
    bundle = tiny_output(
        tmp_path / "r.edgeseq", TABLE[:, :1], kind="regression", reading=reading, task={"activation": "identity"}
    )
    done = run_edgeseq("score", write_reads(tmp_path, "bam"), "-m", bundle, "-o", tmp_path / "r.jsonl")
    assert done.code == 0, done.err
    for name, row in objects(tmp_path / "r.jsonl").items():
        wanted = direct(bases_of(READS[name]), reading, SINGLE, "identity", TABLE[:, :1])
        np.testing.assert_allclose([row["score"], *row["values"]], [wanted[0]] * 2, atol=1e-5)
    table = run_edgeseq("score", write_reads(tmp_path, "bam"), "-m", bundle).out.splitlines()
    assert float(table[5].split("\t")[4]) == pytest.approx(
        direct(READS["r64"], reading, SINGLE, "identity", TABLE[:, :1])[0], abs=1e-5
    )


@pytest.mark.parametrize("strand", ["forward", "mean"])
@pytest.mark.parametrize("kind", FORMATS)
def test_embeddings(run_edgeseq: RunEdgeseq, tmp_path: Path, strand: str, kind: str) -> None:
    reading = reading_for(strand, SINGLE)
    bundle = tiny_output(tmp_path / "e.edgeseq", TABLE, kind="embedding", reading=reading)
    done = run_edgeseq("score", write_reads(tmp_path, kind), "-m", bundle, "-o", tmp_path / "e.npz")
    assert done.code == 0, done.err
    with np.load(tmp_path / "e.npz") as found:
        assert found["read_ids"].tolist() == list(READS)
        assert found["lengths"].tolist() == list(map(len, READS.values()))
        wanted = [direct(bases_of(bases), reading, SINGLE, "identity") for bases in READS.values()]
        np.testing.assert_allclose(found["embeddings"], wanted, atol=1e-5)


def direct_track(bases: str, reading: Input, tokenizer: Any, table: NDArray[np.float32]) -> Array:
    """Scores of the bases of a read that the table answers for: context plays no part, so windows do not either."""
    found = np.full((len(bases), table.shape[1]), np.nan)
    for text, back in zip(strands_of(bases, reading), (False, True), strict=False):
        values = table[ids_of(text, tokenizer)].astype(np.float64)
        values = values[::-1] if back else values
        found = values if np.isnan(found).all() else (found + values) / 2
    found[np.array(list(bases)) == "N"] = np.nan
    return found


@pytest.mark.parametrize("strand", ["forward", "mean"])
def test_tracks(run_edgeseq: RunEdgeseq, tmp_path: Path, strand: Any) -> None:
    reading = Input(window=64, stride=40, minimum=64, strand=strand, buckets=(16, 32, 64))
    settings = {"activation": "identity"}
    bundle = tiny_output(
        tmp_path / "t.edgeseq", TABLE, kind="token-classification", labels="xyz", task=settings, reading=reading
    )
    done = run_edgeseq("score", write_reads(tmp_path, "fastq.gz"), "-m", bundle, "-o", tmp_path / "t.bedgraph")
    assert done.code == 0, done.err
    for column, label in enumerate("xyz"):
        tracks = {name: np.full(len(bases), np.nan) for name, bases in READS.items()}
        for line in (tmp_path / f"t.{label}.bedgraph").read_text().splitlines():
            name, start, end, score = line.split("\t")
            tracks[name][int(start) : int(end)] = float(score)
        for name, bases in READS.items():
            wanted = direct_track(bases_of(bases), reading, SINGLE, TABLE)[:, column]
            np.testing.assert_allclose(tracks[name], wanted, rtol=1e-5, atol=1e-5, err_msg=name)
    done = run_edgeseq(
        "score", write_reads(tmp_path, "fasta"), "-m", bundle, "--format", "bed", "--track", "x", "--min-score", "0.5"
    )
    called = {
        (name, at)
        for name, start, end, *_ in map(str.split, done.out.splitlines())
        for at in range(int(start), int(end))
    }
    assert called == {
        (name, int(at))
        for name, bases in READS.items()
        for at in np.flatnonzero(direct_track(bases_of(bases), reading, SINGLE, TABLE)[:, 0] >= 0.5)
    }


@pytest.mark.parametrize("strand", ["forward", "mean"])
def test_likelihoods_of_reads(run_edgeseq: RunEdgeseq, tmp_path: Path, strand: Any) -> None:
    """The mean log-probability of each token after the first of a row, in nats."""
    table = np.random.default_rng(9).normal(size=(6, 6)).astype(np.float32)
    reading = reading_for(strand, SINGLE)
    bundle = tiny_output(tmp_path / "l.edgeseq", table, kind="causal-lm", reading=reading)
    done = run_edgeseq("score", write_reads(tmp_path, "fastq"), "-m", bundle, "-o", tmp_path / "l.jsonl")
    assert done.code == 0, done.err
    found = objects(tmp_path / "l.jsonl")

    def of_row(text: str) -> float:
        ids = ids_of(text, SINGLE)
        given = [log_softmax(table[one].astype(np.float64))[other] for one, other in pairwise(ids)]
        return float(np.mean(given)) if given else 0.0

    for name, written in READS.items():
        bases = bases_of(written)
        windows = windows_of(len(bases), reading)
        rows = [np.mean([of_row(text) for text in strands_of(bases[start:end], reading)]) for start, end in windows]
        wanted = np.average(rows, weights=[end - start for start, end in windows])
        assert found[name]["score"] == pytest.approx(wanted, abs=1e-5), name


def test_a_model_that_fills_in_tokens_says_what_to_do_instead(run_edgeseq: RunEdgeseq, tmp_path: Path) -> None:
    bundle = tiny_output(tmp_path / "m.edgeseq", TABLE, kind="masked-lm")
    done = run_edgeseq("score", write_reads(tmp_path, "fasta"), "-m", bundle, "-o", tmp_path / "m.tsv")
    assert done.code == 2
    assert "export its checkpoint again with --task embedding" in done.err
    assert not (tmp_path / "m.tsv").exists()


def test_pieces_that_are_too_many_for_a_row_are_scored_in_two(run_edgeseq: RunEdgeseq, tmp_path: Path) -> None:
    """A row holds 30 tokens, a window of 64 bases mostly fewer than that; a run of N has a token for each base."""
    reading = Input(window=64, stride=64, minimum=4, buckets=(30,), mixed_lengths=True)
    bundle = tiny_output(tmp_path / "e.edgeseq", TABLE, kind="embedding", reading=reading, tokenizer=PIECES)
    reads = {"a": "ACG" * 40 + "N" * 64 + "ACG" * 24, "b": "ACG" * 30}
    done = run_edgeseq("score", write_reads(tmp_path, "fasta", reads), "-m", bundle, "-o", tmp_path / "e.npz")
    assert done.code == 0, done.err

    def halves(start: int, end: int, bases: str) -> list[tuple[int, int]]:
        if len(ids_of(bases[start:end], PIECES)) <= 30:
            return [(start, end)]
        middle = (start + end) // 2
        return halves(start, middle, bases) + halves(middle, end, bases)

    wanted = []
    for bases in reads.values():
        parts = [part for start, end in windows_of(len(bases), reading) for part in halves(start, end, bases)]
        rows = [row_means(bases[start:end], reading, PIECES, TABLE) for start, end in parts]
        wanted.append(np.average(rows, axis=0, weights=[end - start for start, end in parts]))
    with np.load(tmp_path / "e.npz") as found:
        np.testing.assert_allclose(found["embeddings"], wanted, atol=1e-5)
