"""Published tokenizers, folder → specification → ids, against the ids that the published code gave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeseq.errors import TokenizerError
from edgeseq.tokenizers import Tokenizer, load_tokenizer
from export.tokenizer import tokenizer_spec

if TYPE_CHECKING:
    from conftest import Shared

Case = tuple[str, list[int]]

SINGLE = (
    "dnabert2",
    "dnabert6",
    "esm2",
    "gena_lm",
    "gpn_convnet",
    "hyenadna_hf",
    "nt_v1",
    "nt_v2",
    "ntv3_conv_transpose",
    "ntv3_repeat_conv",
)
CHARACTER = {
    "hyenadna/tiny-original-ckpt": "original",
    "hyenadna/tiny-lm": "hf",
    "caduceus/ps_tiny": "",
    "evo1/evo1_tiny_131k": "",
    "evo2/evo2_tiny_8k": "",
}


@pytest.fixture
def fixtures(shared: Shared) -> Path:
    return shared / "fixtures"


def load(folder: Path, max_length: int | None = None) -> Tokenizer:
    """The tokenizer of a folder, as the device gets it: through the text of the bundle's ``tokenizer.json``."""
    return load_tokenizer(json.dumps(tokenizer_spec(folder, max_length=max_length)).encode())


def bare(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer without the special tokens around a sequence."""
    return load_tokenizer({key: value for key, value in tokenizer.spec().items() if key not in ("prefix", "suffix")})


def check(tokenizer: Tokenizer, cases: list[Case]) -> None:
    assert cases
    wrong = [(text, ids, got) for text, ids in cases if (got := tokenizer.encode(text.encode()).tolist()) != ids]
    assert not wrong


def padded(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    rows = [tokenizer.encode(text.encode()).tolist() for text in texts]
    longest = max(map(len, rows))
    pads = [[tokenizer.pad_id] * (longest - len(row)) for row in rows]
    left = tokenizer.pad_side == "left"
    return [pad + row if left else row + pad for row, pad in zip(rows, pads, strict=True)]


def examples(fixtures: Path, family: str) -> dict[str, Any]:
    content = json.loads((fixtures / family / "tokenizer_examples.json").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize("family", SINGLE)
def test_published_examples(fixtures: Path, family: str) -> None:
    golden = examples(fixtures, family)
    tokenizer = load(fixtures / family)
    check(tokenizer, [(case["text"], case["input_ids"]) for case in golden["single"]])
    if "input_ids_no_special" in golden["single"][0]:
        check(bare(tokenizer), [(case["text"], case["input_ids_no_special"]) for case in golden["single"]])
    if "padded_batch" in golden:
        assert padded(tokenizer, golden["padded_batch"]["texts"]) == golden["padded_batch"]["input_ids"]


@pytest.mark.parametrize(("folder", "section"), CHARACTER.items())
def test_published_character_tokenizers(fixtures: Path, folder: str, section: str) -> None:
    family = fixtures / folder.split("/", maxsplit=1)[0]
    golden = json.loads((family / "tokenizer.json").read_text(encoding="utf-8"))
    golden = golden[section] if section else golden
    tokenizer = load(fixtures / folder)
    check(tokenizer, [(case["text"], case.get("with_special", case.get("ids"))) for case in golden["examples"]])
    if "without_special" in golden["examples"][0]:
        check(bare(tokenizer), [(case["text"], case["without_special"]) for case in golden["examples"]])
    if "padding_example" in golden:
        assert padded(tokenizer, golden["padding_example"]["texts"]) == golden["padding_example"]["input_ids"]
    if "truncation_example" in golden:
        case = golden["truncation_example"]
        check(load(fixtures / folder, case["model_max_length"]), [(case["text"], case["input_ids"])])
    for case in golden.get("decode_examples", ()):
        assert tokenizer.decode(np.array(case["ids"])).decode() == case["text"]


def test_dnabert_gives_each_piece_of_a_long_sequence_its_own_ends(fixtures: Path) -> None:
    golden = examples(fixtures, "dnabert6")["long_split"]
    ids = load(fixtures / "dnabert6").encode(golden["text"].encode())
    assert len(ids) == golden["n_ids"]
    assert np.flatnonzero(ids == 2).tolist() == golden["positions_of_cls"]
    assert np.flatnonzero(ids == 3).tolist() == golden["positions_of_sep"]


def test_mxdna_reads_single_bases_with_or_without_spaces(fixtures: Path) -> None:
    folder = fixtures / "mxdna"
    cases = examples(fixtures, "mxdna")["single"]
    tokenizer = load(folder)
    check(tokenizer, [(case["text"], case["input_ids_spaced"]) for case in cases])
    check(tokenizer, [(case["spaced"], case["input_ids_spaced"]) for case in cases])
    words = load_tokenizer((folder / "tokenizer.json").read_bytes())
    check(words, [(case["text"], case["input_ids"]) for case in cases])
    check(words, [(case["spaced"], case["input_ids_spaced"]) for case in cases])


def test_gpn_msa_has_gap_bases_and_mask(fixtures: Path) -> None:
    check(load(fixtures / "gpn_msa"), [("-ACGTNacgt?", [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5])])


@pytest.mark.parametrize("family", ["gpn_bytenet", "gpn_convnet/seqcls"])
def test_a_gpn_folder_without_tokenizer_files_has_the_published_vocabulary(fixtures: Path, family: str) -> None:
    assert tokenizer_spec(fixtures / family) == tokenizer_spec(fixtures / "gpn_convnet")


def test_every_fixture_with_examples_is_covered(fixtures: Path) -> None:
    found = {path.parent.name for path in fixtures.glob("*/tokenizer_examples.json")}
    assert found == {*SINGLE, "mxdna"}


@pytest.mark.parametrize("family", ["dnabert2", "gena_lm"])
def test_a_length_limit_cuts_learned_pieces(fixtures: Path, family: str) -> None:
    folder = fixtures / family
    text = b"ACGTAGCATCGGATCTATCTATCGACACTTGG"
    whole, cut = load(folder).encode(text), load(folder, max_length=5).encode(text)
    assert cut.tolist() == [*whole[:4].tolist(), whole[-1]]


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, "class '' of model type '' is unknown"),
        ({"config.json": "{"}, "not JSON"),
        ({"config.json": "[]"}, "not a JSON object"),
        ({"config.json": '{"model_type": "llama"}'}, "'llama' is unknown"),
        ({"config.json": '{"model_type": "esm"}'}, "no vocab.txt"),
        ({"config.json": '{"model_type": "bert"}'}, "no vocab.txt"),
        ({"tokenizer_config.json": '{"tokenizer_class": "PreTrainedTokenizerFast"}'}, "no tokenizer.json"),
        (
            {
                "config.json": '{"model_type": "bert"}',
                "vocab.txt": "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nAA\nAC\nCC\nCA\n",
            },
            "does not hold all 2-mers of AC in order",
        ),
    ],
)
def test_a_folder_without_a_known_tokenizer_is_refused(tmp_path: Path, files: dict[str, str], problem: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(TokenizerError, match=problem):
        tokenizer_spec(tmp_path)


def test_any_k_is_read_from_the_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    words = [first + second for first in "ACGT" for second in "ACGT"]
    (tmp_path / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]), encoding="utf-8"
    )
    check(load(tmp_path), [("AACGT", [2, 5, 6, 11, 16, 3])])


def test_tokens_may_be_written_with_their_properties(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "EsmTokenizer", "cls_token": {"content": "<cls>"}, "eos_token": null}', encoding="utf-8"
    )
    (tmp_path / "vocab.txt").write_text("<cls>\n<pad>\n<eos>\n<unk>\nL\nA\n", encoding="utf-8")
    check(load(tmp_path), [("LA<eos>J", [0, 4, 5, 2, 3])])
