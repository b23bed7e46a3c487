"""Where tokens lie on their window: what per-base tracks are made from."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.tokenizers import load_tokenizer

DNA = st.text(alphabet="ACGTN", max_size=120).map(str.encode)

BYTE: dict[str, Any] = {"type": "byte", "pad": 1, "prefix": [0]}
SINGLE: dict[str, Any] = {
    "type": "nucleotide",
    "vocabulary": {"A": 7, "C": 8, "G": 9, "T": 10, "N": 11},
    "pad": 4,
    "prefix": [0],
    "suffix": [1],
}
TILED: dict[str, Any] = {
    "type": "kmer",
    "overlap": False,
    "k": 3,
    "letters": "ATCG",
    "first": 4,
    "vocabulary": {"A": 68, "T": 69, "C": 70, "G": 71, "N": 72},
    "unknown": 0,
    "pad": 1,
    "prefix": [3],
}
OVERLAPPING: dict[str, Any] = {
    "type": "kmer",
    "overlap": True,
    "k": 3,
    "letters": "ATCG",
    "first": 5,
    "unknown": 1,
    "pad": 0,
    "prefix": [2],
    "suffix": [3],
    "piece": 5,
}
PIECES: dict[str, Any] = {
    "added_tokens": [
        {"id": number, "content": name, "special": True, "single_word": False, "lstrip": False, "rstrip": False}
        | {"normalized": False}
        for number, name in enumerate(("[UNK]", "[CLS]", "[SEP]", "[PAD]"))
    ],
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {
            "[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]},
            "[SEP]": {"id": "[SEP]", "ids": [2], "tokens": ["[SEP]"]},
        },
    },
    "model": {
        "type": "BPE",
        "unk_token": "[UNK]",
        "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "[PAD]": 3}
        | {letter: 4 + place for place, letter in enumerate("ACGT")}
        | {"AC": 8, "ACG": 9},
        "merges": [["A", "C"], ["AC", "G"]],
    },
}
SPECS = {"byte": BYTE, "single": SINGLE, "tiled": TILED, "overlapping": OVERLAPPING, "pieces": PIECES}


def spans(spec: dict[str, Any], text: bytes) -> list[tuple[int, int]]:
    return [(int(start), int(end)) for start, end in load_tokenizer(spec).spans(text)]


@pytest.mark.parametrize("name", SPECS)
@given(text=DNA)
def test_every_token_has_a_place(name: str, text: bytes) -> None:
    tokenizer = load_tokenizer(SPECS[name])
    found = tokenizer.spans(text)
    assert found.shape == (len(tokenizer.encode(text)), 2)
    assert ((found[:, 0] >= 0) & (found[:, 0] <= found[:, 1]) & (found[:, 1] <= len(text))).all()


@pytest.mark.parametrize("name", ["byte", "single", "tiled", "pieces"])
@given(text=DNA)
def test_tokens_side_by_side_cover_each_base_once(name: str, text: bytes) -> None:
    assert b"".join(text[start:end] for start, end in spans(SPECS[name], text)) == text


def test_single_bases_and_bytes() -> None:
    assert spans(SINGLE, b"ACN") == [(0, 0), (0, 1), (1, 2), (2, 3), (0, 0)]
    assert spans(BYTE, b"AC") == [(0, 0), (0, 1), (1, 2)]
    assert spans({**SINGLE, "ignore": "N"}, b"ANC") == [(0, 0), (0, 1), (2, 3), (0, 0)]


def test_tiles_start_anew_after_n() -> None:
    assert spans(TILED, b"ACGTANACG") == [(0, 0), (0, 3), (3, 4), (4, 5), (5, 6), (6, 9)]


def test_overlapping_kmers_and_their_pieces() -> None:
    assert spans(OVERLAPPING, b"AC") == [(0, 0), (0, 0)]
    nothing = (0, 0)
    kmers = [(start, start + 3) for start in range(7)]
    assert spans(OVERLAPPING, b"ACGTACGTA") == [nothing, *kmers[:5], nothing, nothing, *kmers[5:], nothing]


def test_learned_pieces_are_as_long_as_they_are() -> None:
    assert spans(PIECES, b"ACGACNT") == [(0, 0), (0, 3), (3, 5), (5, 6), (6, 7), (0, 0)]


def test_a_run_of_unknown_residues_is_one_token() -> None:
    protein: dict[str, Any] = {"type": "protein", "vocabulary": {"L": 4, "A": 5}, "unknown": 3, "pad": 1, "prefix": [0]}
    assert spans(protein, b"LXXA") == [(0, 0), (0, 1), (1, 3), (3, 4)]


@given(st.integers(2, 4), DNA)
def test_each_kmer_is_where_it_says(k: int, text: bytes) -> None:
    words = {"".join(word).encode(): 5 + place for place, word in enumerate(product("ATCG", repeat=k))}
    tokenizer = load_tokenizer({**OVERLAPPING, "k": k, "piece": None})
    ids = tokenizer.encode(text)[1:-1].tolist()
    assert ids == [words.get(text[start:end], 1) for start, end in tokenizer.spans(text)[1:-1].tolist()]
