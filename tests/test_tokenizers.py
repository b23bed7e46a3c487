"""Tokenizers as data: what a specification means, and what is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.errors import MissingExtraError, TokenizerError
from edgeseq.tokenizers import Tokenizer, load_tokenizer

PANEL: dict[str, Any] = {"type": "nucleotide", "vocabulary": {"A": 0, "C": 1, "G": 2, "T": 3, "N": 4}, "pad": 5}
HYENA: dict[str, Any] = {
    "type": "nucleotide",
    "vocabulary": {"A": 7, "C": 8, "G": 9, "T": 10, "N": 11},
    "unknown": 6,
    "pad": 4,
    "pad_side": "left",
    "prefix": [0],
    "suffix": [1],
    "special": {"[CLS]": 0, "[SEP]": 1, "[MASK]": 3, "[PAD]": 4, "[UNK]": 6},
    "strips_left": ["[MASK]"],
}
ESM: dict[str, Any] = {
    "type": "protein",
    "vocabulary": {letter: 4 + place for place, letter in enumerate("LAGVSERTIDPKQNFYMHWCXBUZO.-")},
    "unknown": 3,
    "pad": 1,
    "prefix": [0],
    "suffix": [2],
    "special": {"<cls>": 0, "<pad>": 1, "<eos>": 2, "<unk>": 3, "<mask>": 32},
}
BPE: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [
        {"id": number, "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        | {"special": True}
        for number, name in enumerate(("[UNK]", "[CLS]", "[PAD]"))
    ],
    "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]}},
    },
    "decoder": None,
    "model": {
        "type": "BPE",
        "dropout": None,
        "unk_token": "[UNK]",
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "vocab": {"[UNK]": 0, "[CLS]": 1, "[PAD]": 2, "A": 3, "C": 4, "G": 5, "T": 6, "AC": 7, "GT": 8, "ACGT": 9},
        "merges": ["A C", "G T", "AC GT"],
    },
}
WITHOUT_PAD = {"type": "BPE", "vocab": {"A": 0}, "merges": []}

DNA = st.text(alphabet="ACGTN", max_size=200).map(str.encode)


def tiled(k: int, **more: Any) -> dict[str, Any]:
    """Specification of k-mers side by side: specials 0 to 3, k-mers from 4, then A, T, C, G, N."""
    single = {letter: 4 + 4**k + place for place, letter in enumerate("ATCGN")}
    base = {"type": "kmer", "overlap": False, "k": k, "letters": "ATCG", "first": 4, "vocabulary": single}
    return base | {"unknown": 0, "pad": 1, "prefix": [3], "special": {"<mask>": 2, "<cls>": 3}} | more


def overlapping(k: int, **more: Any) -> dict[str, Any]:
    """Specification of k-mers at every base: specials 0 to 4, k-mers from 5."""
    base = {"type": "kmer", "overlap": True, "k": k, "letters": "ATCG", "first": 5, "unknown": 1, "pad": 0}
    return base | {"prefix": [2], "suffix": [3]} | more


def kmer_ids(k: int, first: int) -> dict[str, int]:
    return {"".join(word): first + place for place, word in enumerate(product("ATCG", repeat=k))}


def slow_tiled(text: str, k: int) -> list[int]:
    ids, at, known = [3], 0, tiled(k)["vocabulary"] | kmer_ids(k, 4)
    while at < len(text):
        step = k if text[at : at + k] in known and len(text) >= at + k else 1
        ids.append(known[text[at : at + step]])
        at += step
    return ids


def slow_overlapping(text: str, k: int) -> list[int]:
    known = kmer_ids(k, 5)
    return [2, *(known.get(text[at : at + k], 1) for at in range(len(text) - k + 1)), 3]


def encode(spec: dict[str, Any], text: str) -> list[int]:
    ids = load_tokenizer(spec).encode(text.encode())
    assert ids.ndim == 1
    return [int(each) for each in ids]


def test_the_panel_has_one_byte_per_base() -> None:
    tokenizer = load_tokenizer(json.dumps(PANEL).encode())
    ids = tokenizer.encode(b"ACGTNA")
    assert ids.tolist() == [0, 1, 2, 3, 4, 0]
    assert ids.dtype == np.uint8
    assert tokenizer.pad_id == 5
    assert tokenizer.encode(b"").shape == (0,)


@given(DNA, st.integers(1, 7))
def test_tiled_kmers_equal_a_slow_reference(sequence: bytes, k: int) -> None:
    assert encode(tiled(k), sequence.decode()) == slow_tiled(sequence.decode(), k)


@given(DNA, st.integers(1, 7))
def test_overlapping_kmers_equal_a_slow_reference(sequence: bytes, k: int) -> None:
    assert encode(overlapping(k), sequence.decode()) == slow_overlapping(sequence.decode(), k)


def specs() -> list[dict[str, Any]]:
    with_limit = {**HYENA, "max_length": 20}
    pieces = overlapping(3, piece=10)
    return [PANEL, HYENA, with_limit, {"type": "byte", "pad": 1}, tiled(6), tiled(1), overlapping(6), pieces, BPE]


@given(DNA, st.sampled_from(specs()))
def test_token_count_bounds_the_row(sequence: bytes, spec: dict[str, Any]) -> None:
    tokenizer = load_tokenizer(spec)
    length, bound = len(tokenizer.encode(sequence)), tokenizer.token_count(len(sequence))
    assert length <= bound
    if spec is not BPE and spec.get("overlap") is not False:
        assert length == bound


@pytest.mark.parametrize("spec", [tiled(6), tiled(2), BPE])
def test_token_count_is_reached_by_a_window_of_n(spec: dict[str, Any]) -> None:
    tokenizer = load_tokenizer(spec)
    assert len(tokenizer.encode(b"N" * 50)) == tokenizer.token_count(50)


@given(DNA, st.sampled_from([PANEL, HYENA, {"type": "byte", "pad": 1}, tiled(6), tiled(3)]))
def test_decode_gives_the_bases_back(sequence: bytes, spec: dict[str, Any]) -> None:
    tokenizer = load_tokenizer(spec)
    assert tokenizer.decode(tokenizer.encode(sequence)) == sequence


@given(st.text(alphabet="ACGT", min_size=6, max_size=200).map(str.encode), st.sampled_from([None, 7]))
def test_overlapping_kmers_decode_across_pieces(sequence: bytes, piece: int | None) -> None:
    tokenizer = load_tokenizer(overlapping(6, piece=piece))
    assert tokenizer.decode(tokenizer.encode(sequence)) == sequence


@pytest.mark.parametrize(
    ("spec", "ids"),
    [
        (HYENA, [7, 6]),
        (HYENA, [99]),
        (tiled(3), [4, 0]),
        (overlapping(3), [5, 1, 6]),
        (overlapping(3), [5, 30]),
        (BPE, [3, 0]),
    ],
)
def test_decode_refuses_tokens_that_lost_their_bases(spec: dict[str, Any], ids: list[int]) -> None:
    with pytest.raises(TokenizerError):
        load_tokenizer(spec).decode(np.array(ids))


@given(st.sampled_from([*specs(), ESM]))
def test_a_specification_survives_its_own_spec(spec: dict[str, Any]) -> None:
    tokenizer = load_tokenizer(spec)
    again = load_tokenizer(json.dumps(tokenizer.spec()).encode())
    text = b"ACGTNACGTACGTACGTACGTNNACGT"
    assert again.spec() == tokenizer.spec()
    assert again.encode(text).tolist() == tokenizer.encode(text).tolist()
    assert (again.pad_id, again.pad_side) == (tokenizer.pad_id, tokenizer.pad_side)


def test_ids_above_255_are_int32() -> None:
    spec = {"type": "nucleotide", "vocabulary": {"A": 300, "N": 1}, "pad": 0}
    ids = load_tokenizer(spec).encode(b"ANC")
    assert ids.tolist() == [300, 1, 1]
    assert ids.dtype == np.int32


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", []),
        ("acgt", [6, 6, 6, 6]),
        ("AC[MASK]GT", [7, 8, 3, 9, 10]),
        ("AC [MASK] GT", [7, 8, 3, 6, 9, 10]),
        ("AC [PAD]", [7, 8, 6, 4]),
        ("[MASK][SEP]", [3, 1]),
        ("[MASK", [6, 6, 7, 6, 6]),
        ("é", [6]),
    ],
)
def test_special_tokens_in_text_keep_their_meaning(text: str, ids: list[int]) -> None:
    assert encode(HYENA, text) == [0, *ids, 1]


@pytest.mark.parametrize(("case", "ids"), [("exact", [7, 6]), ("either", [7, 7])])
def test_lower_case_counts_only_where_the_specification_says_so(case: str, ids: list[int]) -> None:
    assert encode({**HYENA, "case": case, "prefix": [], "suffix": []}, "Aa") == ids


def test_ignored_characters_have_no_token() -> None:
    assert encode({**PANEL, "ignore": " \n"}, "A C\nG") == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("M K\tT", [20, 15, 11]),
        ("mkt", [3]),
        ("mk t", [3, 3]),
        ("MéTJ*J", [20, 3, 11, 3]),
        ("<mask>M<unk>", [32, 20, 3]),
        ("M<mask", [20, 3]),
        ("\u2003M\u2003", [20]),
    ],
)
def test_protein_merges_unknown_runs_and_drops_white_space(text: str, ids: list[int]) -> None:
    assert encode(ESM, text) == [0, *ids, 2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ATCGA", "ATC G A"),
        ("ATNATC", "A T N ATC"),
        ("NATCN", "N ATC N"),
        ("ATCrykATC", "ATC ? ATC"),
        ("ATCry kATC", "ATC ? ? ATC"),
        ("A TCG", "A TCG"),
        ("AT<mask>CATC", "A T <mask> CAT C"),
        ("AéT", "A ? T"),
    ],
)
def test_tiles_start_anew_after_anything_that_is_no_base(text: str, words: str) -> None:
    known = kmer_ids(3, 4) | tiled(3)["vocabulary"] | {"?": 0, "<mask>": 2}
    assert encode(tiled(3), text) == [3, *(known[word] for word in words.split())]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("AT", ""),
        ("ATC", "ATC"),
        ("atC", "?"),
        ("ATC-", "ATC ? ?"),
        ("A-T", "? ? ?"),
        ("A TC", "? ? ?"),
        ("   ATC", "? ? ATC"),
        ("AT\x01CG", "? ? ?"),
        ("\x01\x01\x01ATC", "? ? ATC"),
        ("ATéCAT", "? ? ? CAT"),
    ],
)
def test_kmers_are_read_as_words_of_a_text(text: str, words: str) -> None:
    known = kmer_ids(3, 5) | {"?": 1}
    assert encode(overlapping(3), text) == [2, *(known[word] for word in words.split()), 3]


def bert_words(text: str) -> list[str]:
    """ASCII text as BERT splits it before it looks words up."""
    kept = "".join(" " if c in "\t\r\n" else c for c in text if c in "\t\r\n" or " " <= c < "\x7f")
    return "".join(c if c.isalnum() or c == " " else f" {c} " for c in kept).split()


@given(st.text(alphabet="ATCGNa -.\n\x01", max_size=30), st.integers(1, 5))
def test_kmers_of_any_text_equal_a_slow_reference(text: str, k: int) -> None:
    joined = " ".join(text[at : at + k] for at in range(len(text) - k + 1))
    known = kmer_ids(k, 5)
    assert encode(overlapping(k), text) == [2, *(known.get(word, 1) for word in bert_words(joined)), 3]


def test_a_special_token_that_is_a_kmer_is_known() -> None:
    spec = overlapping(6, special={"[MASK]": 4, "[UNK]": 1})
    ids = encode(spec, "ATCGAT[MASK]")
    assert ids[-2] == 4
    assert 4 not in ids[:-2]


@pytest.mark.parametrize("kmers", [0, 9, 10, 11, 19, 20, 21])
def test_each_piece_of_a_long_row_has_its_own_ends(kmers: int) -> None:
    ids = encode(overlapping(3, piece=10), "A" * (kmers + 2 if kmers else 0))
    pieces = [min(10, kmers - start) for start in range(0, kmers + 1, 10)]
    assert ids == [id_ for length in pieces for id_ in (2, *[5] * length, 3)]


def test_a_limit_cuts_the_right_end_and_keeps_special_tokens() -> None:
    assert encode({**HYENA, "max_length": 4}, "ACGTACGT") == [0, 7, 8, 1]
    assert encode({**PANEL, "max_length": 3}, "ACGT") == [0, 1, 2]


def test_bytes_keep_everything() -> None:
    tokenizer = load_tokenizer({"type": "byte", "pad": 1})
    text = "acgT\n|é".encode()
    assert tokenizer.encode(text).tolist() == list(text)
    assert tokenizer.encode(text).dtype == np.uint8
    assert tokenizer.decode(np.array([1, 65, 10])) == b" A "


def test_learned_pieces_come_from_the_library() -> None:
    tokenizer = load_tokenizer(json.dumps(BPE).encode())
    ids = tokenizer.encode(b"ACGTACNA")
    assert ids.tolist() == [1, 9, 7, 0, 3]
    assert tokenizer.pad_id == 2
    assert tokenizer.decode(tokenizer.encode(b"ACGTACA")) == b"ACGTACA"
    assert 1.0 < tokenizer.bases_per_token < 4.0


def test_without_the_library_the_error_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgeseq\[bpe\]'"):
        load_tokenizer(BPE)


def test_importing_tokenizers_does_not_import_the_library() -> None:
    check = "import sys, edgeseq.tokenizers; sys.exit('tokenizers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "type None is unknown"),
        ({"type": "sentencepiece"}, "'sentencepiece' is unknown"),
        ({"type": "nucleotide", "pad": 5}, "'vocabulary' is missing"),
        ({"type": "nucleotide", "vocabulary": {"A": 0, "N": 1}}, "'pad' is missing"),
        ({"type": "nucleotide", "vocabulary": {"A": 0}, "pad": 1}, "'unknown' is missing"),
        ({"type": "nucleotide", "vocabulary": {}, "pad": 1}, "single ASCII letters"),
        ({"type": "nucleotide", "vocabulary": {"AA": 0}, "pad": 1}, "single ASCII letters"),
        ({**PANEL, "vocabulary": {"A": -1}}, "'vocabulary.A' is -1"),
        ({**PANEL, "vocabulary": {"A": 2**31}}, "expected a number"),
        ({**PANEL, "vocabulary": {"A": True}}, "expected a number"),
        ({**PANEL, "vocabulary": [1]}, "expected an object"),
        ({**PANEL, "case": "upper"}, "'exact' or 'either'"),
        ({**PANEL, "ignore": "é"}, "outside ASCII"),
        ({**PANEL, "colour": "red"}, "no 'colour'"),
        ({**PANEL, "prefix": 1}, "'prefix'"),
        ({**PANEL, "special": {"": 1}}, "'special'"),
        ({**PANEL, "strips_left": ["[MASK]"]}, "names no special token"),
        ({**PANEL, "strips_left": "x"}, "list of texts"),
        ({**HYENA, "max_length": 1}, "no room"),
        ({"type": "kmer", "overlap": "yes"}, "expected true or false"),
        (tiled(0), "'k' is 0"),
        (tiled(3, letters="AATCG"), "distinct letters"),
        (tiled(3, vocabulary={"A": 70, "T": 71}), "lacks some"),
        (overlapping(16), "more ids than"),
        ({"type": "byte", "pad": 1, "special": {"<x>": 3}}, "no 'special'|find no 'special'"),
        ({"type": "byte", "pad": 1, "prefix": [300]}, "above 255"),
        ({"model": {"type": "BPE"}}, "refuses this tokenizer.json"),
        ({**BPE, "added_tokens": [], "post_processor": None, "model": WITHOUT_PAD}, "names no pad token"),
    ],
)
def test_a_bad_specification_is_refused(data: bytes | dict[str, Any], problem: str) -> None:
    with pytest.raises(TokenizerError, match=problem):
        load_tokenizer(data)


@given(st.binary(max_size=60), st.sampled_from([*specs(), ESM]))
def test_no_bytes_crash_a_tokenizer(sequence: bytes, spec: dict[str, Any]) -> None:
    tokenizer: Tokenizer = load_tokenizer(spec)
    ids = tokenizer.encode(sequence)
    assert ids.ndim == 1
    assert np.issubdtype(ids.dtype, np.integer)


def test_the_specifications_in_the_documentation_are_valid(repository: Path) -> None:
    page = (repository / "docs/tokenizers.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```json\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    panel, dnabert, transformer = (load_tokenizer(block.encode()) for block in blocks)
    assert panel.encode(b"ACGTN").tolist() == [0, 1, 2, 3, 4]
    assert dnabert.encode(b"ACGTAC").tolist() == [2, 727, 3]
    assert transformer.encode(b"ATTCCG").tolist() == [3, 369]
