"""How an exported model's reads are cut: windows, strides and buckets of the manifest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from test_token_spans import OVERLAPPING, PIECES, SINGLE, TILED

from edgeseq.chunks import Chunk
from edgeseq.encode import Encoder
from edgeseq.errors import UsageError
from edgeseq.manifest import Input
from edgeseq.read import Read
from edgeseq.tokenizers import load_tokenizer
from export.network import Model, Network, Outputs
from export.reading import Reading, input_section, longest_window, shortest_row
from export.weights import Loaded


class Nothing(Network):
    def forward(self, *inputs: Any) -> Outputs:
        return {"logits": inputs[0]}


def model(tokenizer: dict[str, Any], **more: Any) -> Model:
    settings = {"task": "embedding", "max_length": 100, **more}
    return Model(network=Nothing(), tokenizer=tokenizer, loaded=Loaded(0, {}, ()), **settings)


def test_single_bases_fill_the_row() -> None:
    assert input_section(model(SINGLE)) == Input("dna", 98, 98, 24, "forward", (64, 100))
    assert input_section(model(SINGLE, pads_exactly=False)) == Input(
        "dna", 98, 98, 24, buckets=(100,), mixed_lengths=False
    )


def test_windows_for_bases_overlap_and_are_whole() -> None:
    found = input_section(model(SINGLE, task="token-classification"))
    assert (found.window, found.stride, found.minimum) == (98, 74, 98)


def test_what_the_user_and_the_model_ask_for() -> None:
    asked = input_section(model(SINGLE, window=80, stride=40))
    assert (asked.window, asked.stride) == (80, 40)
    other = input_section(model(SINGLE, window=80, stride=40), Reading(60, None, "mean"))
    assert (other.window, other.stride, other.strand, other.buckets) == (60, 60, "mean", (62,))


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        (Reading(window=99), "--window 99 has 101 tokens; the model takes 100"),
        (Reading(window=50, stride=51), "--stride 51 is more than the window of 50"),
        (Reading(strand="equivariant"), "take mean"),
    ],
)
def test_what_cannot_be_is_refused(asked: Reading, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        input_section(model(SINGLE), asked)


def test_a_protein_has_one_strand() -> None:
    protein = {"type": "protein", "vocabulary": {"A": 4, "C": 5, "G": 6, "T": 7}, "unknown": 3, "pad": 1}
    with pytest.raises(UsageError, match="a protein has one strand"):
        input_section(model(protein, alphabet="protein"), Reading(strand="mean"))


def test_a_tokenizer_that_cuts_rows_is_refused() -> None:
    with pytest.raises(UsageError, match="cuts long rows off"):
        input_section(model({**SINGLE, "max_length": 50}))


def test_tokens_of_several_bases_make_long_windows() -> None:
    tokenizer = load_tokenizer(TILED)
    window = longest_window(tokenizer, 100)
    assert 100 < 280 <= window <= 297
    letters = np.frombuffer(b"ACGT", np.uint8)[np.random.default_rng(1).integers(0, 4, (200, window))]
    assert max(len(tokenizer.encode(row.tobytes())) for row in letters) <= 100


def test_the_shortest_row_has_a_token() -> None:
    assert shortest_row(load_tokenizer(OVERLAPPING), 1) == 3
    assert shortest_row(load_tokenizer(SINGLE), 2) == 2


@pytest.mark.parametrize("strand", ["forward", "mean"])
@pytest.mark.parametrize("tokenizer", [TILED, PIECES])
def test_nothing_is_cut_off_where_a_window_has_too_many_tokens(tokenizer: dict[str, Any], strand: Any) -> None:
    """Windows of N have a token for each base; the runtime halves them until they fit."""
    made = load_tokenizer(tokenizer)
    spec = replace(input_section(model(tokenizer, max_length=30)), strand=strand)
    sequence = b"N" * 100 + b"ACG" * 200 + b"T" * 50 + b"N" * 7
    encoder = Encoder(spec, made)
    encoded = encoder.plan(Chunk([Read("a", sequence), Read("b", b""), Read("c", b"ACGACG")]))
    assert encoded.starts[0] == 0
    assert encoded.counts[1] == 0
    of_first = slice(0, int(encoded.counts[0]))
    assert encoded.ends[of_first][-1] == len(sequence)
    assert (encoded.starts[of_first][1:] <= encoded.ends[of_first][:-1]).all()
    rows = encoder.rows(encoded)
    assert len(rows) == encoder.strands * len(encoded.starts)
    assert int(rows.lengths.max()) <= 30
    for row, (start, end) in enumerate(zip(encoded.starts[of_first], encoded.ends[of_first], strict=True)):
        at = row * encoder.strands
        ids = rows.ids[rows.starts[at] : rows.starts[at] + rows.lengths[at]]
        np.testing.assert_array_equal(ids, made.encode(sequence[start:end]))


def test_parts_of_overlapping_windows_follow_each_other() -> None:
    """Windows of 40 every 10 bases, of which those with N are cut: none of the parts lies in another one."""
    made = load_tokenizer(PIECES)
    sequence = b"ACG" * 20 + b"N" * 17 + b"ACG" * 30
    spec = Input("dna", 40, 10, 40, buckets=(20,), mixed_lengths=False)
    encoded = Encoder(spec, made).plan(Chunk([Read("a", sequence)]))
    assert (np.diff(encoded.starts) > 0).all()
    assert (np.diff(encoded.ends) > 0).all()
    assert (encoded.starts[0], encoded.ends[-1]) == (0, len(sequence))
    assert (encoded.starts[1:] <= encoded.ends[:-1]).all()
    rows = Encoder(spec, made).rows(encoded)
    assert int(rows.lengths.max()) <= 20
