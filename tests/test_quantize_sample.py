"""Labelled reads from folders and tables, and the wall between calibration and evaluation."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from labelled_reads import labelled_folder, sequences, unlabelled_file

from edgeseq.errors import UsageError
from edgeseq.manifest import Task
from edgeseq.normalise import reverse_complement
from quantize.disjoint import demand_disjoint, overlap
from quantize.sample import SampleError, labelled, unlabelled

TASK = Task(kind="sequence-classification", labels=("a", "b", "other"))


def test_a_folder_of_reads_with_its_truth(tmp_path: Path) -> None:
    folder = labelled_folder(tmp_path / "data", 5, seed=1)
    sample = labelled(folder / "reads", TASK)
    assert (len(sample), sample.files, sample.left_out) == (15, 3, 0)
    truth = {read.id: label for read, label in zip(sample.reads, sample.truth.tolist(), strict=True)}
    assert (truth["r0"], truth["r5"], truth["r14"]) == ("a", "b", "other")


def test_reads_without_truth_and_short_ones_are_counted_out(tmp_path: Path) -> None:
    folder = labelled_folder(tmp_path / "data", 5, seed=1)
    table = folder / "truth.tsv"
    table.write_text(table.read_text().replace("r3\t", "gone\t").replace("\tother\n", "\tunverified\n", 1))
    sample = labelled(folder / "reads", TASK, shortest=60)
    assert sample.left_out == 15 - len(sample)
    assert "r3" not in {read.id for read in sample.reads}


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_of_sequences(tmp_path: Path, packed: bool) -> None:
    text = "seq,label\nACGTACGT,0\nACGGACGG,2\n"
    path = tmp_path / "table.csv"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    sample = labelled(path, TASK)
    assert [read.sequence for read in sample.reads] == [b"ACGTACGT", b"ACGGACGG"]
    assert sample.truth.tolist() == ["a", "other"]


def test_overlapping_words_become_a_sequence_again(tmp_path: Path) -> None:
    path = tmp_path / "words.tsv"
    path.write_text("sequence\tlabel\r\nACGTAC CGTACG GTACGT\ta\r\n")
    assert labelled(path, TASK).reads[0].sequence == b"ACGTACGT"


def test_labels_that_the_model_does_not_have(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("sequence,label\nACGT,promoter\nACGA,a\n")
    with pytest.raises(SampleError, match=r"no label 'promoter' \(1 reads\).*--rename"):
        labelled(path, TASK)
    assert labelled(path, TASK, renamed={"promoter": "b"}).truth.tolist() == ["b", "a"]


def test_truths_of_a_regression_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("sequence,label\nACGT,0.5\nACGA,-2e1\n")
    task = Task(kind="regression", activation="identity")
    assert labelled(path, task).truth.tolist() == ["0.5", "-2e1"]
    path.write_text("sequence,label\nACGT,high\n")
    with pytest.raises(SampleError, match="'high' is not a number"):
        labelled(path, task)


def test_a_damaged_table_names_its_row(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    path.write_text("sequence\tlabel\nACGT\ta\nACGT\n")
    with pytest.raises(SampleError, match="row 3 has 1 columns; the first row has 2"):
        labelled(path, TASK)


def test_missing_truth(tmp_path: Path) -> None:
    reads = unlabelled_file(tmp_path / "reads.fasta", 2, seed=1)
    with pytest.raises(UsageError, match="--truth"):
        labelled(reads, TASK)
    (tmp_path / "truth.tsv").write_text("read\tlabel\n")
    with pytest.raises(SampleError, match="lacks the columns file, read_id, truth"):
        labelled(reads, TASK)


def test_the_digest_is_over_content(tmp_path: Path) -> None:
    first = unlabelled(unlabelled_file(tmp_path / "a.fasta", 3, seed=1))
    again = unlabelled(unlabelled_file(tmp_path / "b.fasta", 3, seed=1))
    other = unlabelled(unlabelled_file(tmp_path / "c.fasta", 3, seed=2))
    assert first.sha256 == again.sha256 != other.sha256


def test_drawing_some_reads_depends_on_the_seed_alone(tmp_path: Path) -> None:
    path = unlabelled_file(tmp_path / "a.fasta", 20, seed=1)
    ids = [[read.id for read in unlabelled(path, most=10, seed=seed).reads] for seed in (1, 1, 2)]
    assert ids[0] == ids[1] != ids[2]
    assert len(ids[0]) == 10


def _fasta(path: Path, found: list[bytes]) -> Path:
    path.write_bytes(b"".join(b">x%d\n%s\n" % (number, each) for number, each in enumerate(found)))
    return path


def test_copies_and_near_duplicates_are_found_on_both_strands(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    held = [each.encode() for each in sequences("other", 30, rng)]
    changed = bytearray(held[2])
    changed[len(changed) // 2] = ord("A") if changed[len(changed) // 2] != ord("A") else ord("C")
    fresh = [each.encode() for each in sequences("other", 5, rng)]
    ours = [held[0], reverse_complement(held[1]), bytes(changed), reverse_complement(held[3][:-8]), *fresh]
    evaluation = unlabelled(_fasta(tmp_path / "held.fasta", held))
    calibration = unlabelled(_fasta(tmp_path / "ours.fasta", ours))
    found = overlap(calibration, evaluation, "dna", identity=0.9)
    assert (found.exact, found.near, found.places) == (2, 2, (0, 1, 2, 3))
    with pytest.raises(SampleError, match="2 reads are in the evaluation data as well, and 2 more"):
        demand_disjoint(calibration, evaluation, "dna", identity=0.9)
    demand_disjoint(calibration.part(np.arange(4, 9)), evaluation, "dna", identity=0.9)


def test_lower_case_and_uracil_hide_nothing(tmp_path: Path) -> None:
    sequence = sequences("other", 1, np.random.default_rng(3))[0]
    evaluation = unlabelled(_fasta(tmp_path / "held.fasta", [sequence.encode()]))
    calibration = unlabelled(_fasta(tmp_path / "ours.fasta", [sequence.lower().replace("t", "u").encode()]))
    assert overlap(calibration, evaluation, "dna").exact == 1


def test_proteins_are_compared_as_proteins(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    residues = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", np.uint8)
    held = [rng.choice(residues, 120).tobytes() for _ in range(4)]
    near = held[1][:60] + b"W" + held[1][61:]
    evaluation = unlabelled(_fasta(tmp_path / "held.fasta", held))
    calibration = unlabelled(_fasta(tmp_path / "ours.fasta", [held[0], near, rng.choice(residues, 120).tobytes()]))
    found = overlap(calibration, evaluation, "protein")
    assert (found.exact, found.near) == (1, 1)
