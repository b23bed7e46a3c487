"""The tokenizer of a published checkpoint folder, as a specification for the device.

Everything is read from the folder's own files (``config.json`` or ``config.yml``, ``tokenizer_config.json``,
``special_tokens_map.json``, ``vocab.txt``, ``vocab.json``, ``tokenizer.json``); code in the folder is never run.
Folders whose model has one fixed vocabulary, and which therefore carry no tokenizer files, are recognised by their
configuration.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from edgeseq.errors import TokenizerError

_CHARACTER_SPECIALS = ("[CLS]", "[SEP]", "[BOS]", "[MASK]", "[PAD]", "[RESERVED]", "[UNK]")
_SPLIT_BY_CHARACTER_TOKENIZERS = ("[CLS]", "[SEP]", "[BOS]", "[MASK]", "[PAD]", "[UNK]")
_DNABERT_PIECE = 510
_BERT_BLANKS = "".join(map(chr, (*range(33), 127)))
_WHITESPACE = " \t\n\r\x0b\x0c"
_NTV3 = ("<unk>", "<pad>", "<mask>", "<cls>", "<eos>", "<bos>", *"ATCGN")
_GPN = {"[PAD]": 0, "[MASK]": 1, "[UNK]": 2}
_MXDNA = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"ATCG")


def tokenizer_spec(folder: Path, *, max_length: int | None = None) -> dict[str, Any]:
    """The specification of the folder's tokenizer, for `edgeseq.tokenizers.load_tokenizer`.

    For learned vocabularies it is the folder's ``tokenizer.json`` with its pad token filled in. ``max_length`` asks for
    rows cut to that many ids, special tokens included; a limit in the folder's files is only advice and is not taken
    over. Raises `TokenizerError` where the folder's tokenizer is none of the known ones.
    """
    published = _Published.read(folder)
    for key in (published.tokenizer_class, published.model_type):
        reader = _READERS.get(key)
        if reader is not None:
            spec = reader(published)
            break
    else:
        if not (folder / "tokenizer.json").is_file():
            raise TokenizerError(
                f"{folder}: tokenizer class {published.tokenizer_class!r} of model type {published.model_type!r} is "
                "unknown, and there is no tokenizer.json"
            )
        spec = _pieces(published)
    if max_length is None:
        return spec
    if "type" in spec:
        return {**spec, "max_length": max_length}
    return {**spec, "truncation": _truncation(max_length)}


@dataclass(frozen=True, slots=True)
class _Published:
    """The files of a checkpoint folder that say how text becomes ids."""

    folder: Path
    config: Mapping[str, Any]
    tokenizer: Mapping[str, Any]
    """``tokenizer_config.json`` over ``special_tokens_map.json``."""

    @classmethod
    def read(cls, folder: Path) -> _Published:
        settings = {**_json(folder / "special_tokens_map.json"), **_json(folder / "tokenizer_config.json")}
        return cls(folder, {**_yaml(folder / "config.yml"), **_json(folder / "config.json")}, settings)

    @property
    def tokenizer_class(self) -> str:
        return str(self.tokenizer.get("tokenizer_class") or self.config.get("tokenizer_type") or "")

    @property
    def model_type(self) -> str:
        """The configuration's model type; that of the original HyenaDNA is the name of its layer."""
        layer = self.config.get("layer")
        original = layer.get("_name_") if isinstance(layer, Mapping) else None
        return str(self.config.get("model_type") or original or "")

    def token(self, role: str, default: str | None = None) -> str | None:
        """The text of the token with a role such as ``mask``, or None where the files say that there is none."""
        value = self.tokenizer.get(f"{role}_token", default)
        if isinstance(value, Mapping):
            value = value.get("content")
        return None if value is None else str(value)

    def vocabulary(self, default: tuple[str, ...] = ()) -> dict[str, int]:
        """Token → id, from ``vocab.txt``, ``vocab.json`` or ``tokenizer.json``, whichever there is."""
        if (self.folder / "vocab.txt").exists():
            lines = (self.folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
            return {line.strip(): number for number, line in enumerate(lines)}
        entries = _json(self.folder / "vocab.json") or _json(self.folder / "tokenizer.json").get("model", {})
        entries = entries.get("vocab", entries)
        if not entries and not default:
            raise TokenizerError(f"{self.folder}: no vocab.txt, vocab.json or tokenizer.json with a vocabulary")
        return dict(entries) if entries else {token: number for number, token in enumerate(default)}


def _json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TokenizerError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise TokenizerError(f"{path} is not a JSON object")
    return content


def _yaml(path: Path) -> dict[str, str]:
    """The top-level ``name: word`` lines of a file, which is all that a tokenizer needs of it."""
    if not path.exists():
        return {}
    return dict(re.findall(r"^(\w+):[ \t]+([\w.+-]+)[ \t]*$", path.read_text(encoding="utf-8"), flags=re.MULTILINE))


def _esm(published: _Published) -> dict[str, Any]:
    """Single residues, or 6-mers with single bases (Nucleotide Transformer), of one published class."""
    vocabulary = published.vocabulary()
    letters = {token: number for token, number in vocabulary.items() if len(token) == 1}
    words = {token: number for token, number in vocabulary.items() if len(token) > 1 and token.isalpha()}
    special = {token: number for token, number in vocabulary.items() if token not in letters and token not in words}
    eos = published.token("eos", "<eos>")
    frame: dict[str, Any] = {
        "unknown": vocabulary[published.token("unk", "<unk>") or "<unk>"],
        "pad": vocabulary[published.token("pad", "<pad>") or "<pad>"],
        "prefix": [vocabulary[published.token("cls", "<cls>") or "<cls>"]],
        "special": special,
    }
    if eos is not None:
        frame["suffix"] = [vocabulary[eos]]
    if not words:
        return {"type": "protein", "vocabulary": letters, **frame}
    return {"type": "kmer", "overlap": False, **_kmers(published, words), "vocabulary": letters, **frame}


def _kmers(published: _Published, words: Mapping[str, int]) -> dict[str, Any]:
    """``k``, ``letters`` and ``first`` of a vocabulary of k-mers. Raises `TokenizerError` if it is not all in order."""
    in_order = sorted(words, key=words.__getitem__)
    k = len(in_order[0])
    letters = "".join(dict.fromkeys(word[-1:] for word in in_order))
    first = words[in_order[0]]
    expected = {"".join(word): first + place for place, word in enumerate(product(letters, repeat=k))}
    if expected != words:
        raise TokenizerError(f"{published.folder}: the vocabulary does not hold all {k}-mers of {letters} in order")
    return {"k": k, "letters": letters, "first": first}


def _bert(published: _Published) -> dict[str, Any]:
    """Overlapping k-mers (DNABERT) or spaced single bases (MxDNA), by what the vocabulary holds.

    ``do_lower_case`` is not honoured: published folders have it true with an upper-case vocabulary.
    """
    vocabulary = published.vocabulary(_MXDNA if published.model_type == "mxdna" else ())
    words = {token: number for token, number in vocabulary.items() if token.isalpha()}
    special = {token: number for token, number in vocabulary.items() if token not in words}
    lengths = {len(word) for word in words}
    if len(lengths) != 1:
        return _pieces(published)
    frame: dict[str, Any] = {
        "unknown": vocabulary[published.token("unk", "[UNK]") or "[UNK]"],
        "pad": vocabulary[published.token("pad", "[PAD]") or "[PAD]"],
        "prefix": [vocabulary[published.token("cls", "[CLS]") or "[CLS]"]],
        "suffix": [vocabulary[published.token("sep", "[SEP]") or "[SEP]"]],
        "special": special,
    }
    if lengths == {1}:
        return {"type": "nucleotide", "vocabulary": words, "ignore": _BERT_BLANKS, **frame}
    return {"type": "kmer", "overlap": True, **_kmers(published, words), **frame, "piece": _DNABERT_PIECE}


def _pieces(published: _Published) -> dict[str, Any]:
    """The ``tokenizer.json`` itself, or single bases where its vocabulary holds nothing longer (GPN)."""
    spec = _json(published.folder / "tokenizer.json")
    if not spec and published.model_type in ("GPN", "ConvNet"):
        return _gpn(_GPN, {"a": 3, "c": 4, "g": 5, "t": 6}, either_case=True)
    if "model" not in spec:
        raise TokenizerError(f"{published.folder}: no tokenizer.json of the tokenizers library")
    model = spec["model"]
    special = {token["content"]: token["id"] for token in spec.get("added_tokens", ())}
    letters = {token: number for token, number in model.get("vocab", {}).items() if token not in special}
    steps = {name: (spec.get(name) or {}).get("type") for name in ("normalizer", "pre_tokenizer", "post_processor")}
    single = model.get("type") == "BPE" and not model.get("merges") and all(len(token) == 1 for token in letters)
    if single and steps == {"normalizer": "Lowercase", "pre_tokenizer": "Whitespace", "post_processor": None}:
        return _gpn(special, letters, either_case=True)
    name = published.token("pad", "[PAD]" if "[PAD]" in special else "<pad>") or ""
    number = special.get(name, model.get("vocab", {}).get(name))
    if number is None:
        raise TokenizerError(f"{published.folder}: the pad token {name!r} is not in the vocabulary")
    side = "Left" if published.tokenizer.get("padding_side") == "left" else "Right"
    padding = {
        "strategy": "BatchLongest",
        "direction": side,
        "pad_to_multiple_of": None,
        "pad_id": number,
        "pad_type_id": 0,
        "pad_token": name,
    }
    return {**spec, "truncation": None, "padding": padding}


def _truncation(max_length: int) -> dict[str, Any]:
    return {"direction": "Right", "max_length": max_length, "strategy": "LongestFirst", "stride": 0}


def _gpn(special: Mapping[str, int], letters: Mapping[str, int], *, either_case: bool) -> dict[str, Any]:
    return {
        "type": "nucleotide",
        "vocabulary": {letter.upper(): number for letter, number in letters.items()},
        "case": "either" if either_case else "exact",
        "ignore": _WHITESPACE,
        "unknown": special["[UNK]"],
        "pad": special["[PAD]"],
        "special": dict(special),
    }


def _gpn_msa(_: _Published) -> dict[str, Any]:
    """Bases and the gap; the gap also stands for the unknown and for padding, ``?`` is the mask."""
    vocabulary = {letter: number for number, letter in enumerate("-ACGT?")}
    return {"type": "nucleotide", "vocabulary": vocabulary, "case": "either", "unknown": 0, "pad": 0}


def _characters(published: _Published) -> dict[str, Any]:
    """HyenaDNA as published for transformers: ``[SEP]`` after the bases, nothing before them."""
    special = {token: number for number, token in enumerate(_CHARACTER_SPECIALS)}
    characters = published.tokenizer.get("characters") or "ACGTN"
    return {
        "type": "nucleotide",
        "vocabulary": {letter: len(special) + place for place, letter in enumerate(characters)},
        "unknown": special["[UNK]"],
        "pad": special["[PAD]"],
        "pad_side": published.tokenizer.get("padding_side", "left"),
        "suffix": [special["[SEP]"]],
        "special": {token: special[token] for token in _SPLIT_BY_CHARACTER_TOKENIZERS},
    }


def _original_hyena(published: _Published) -> dict[str, Any]:
    """HyenaDNA of the authors' repository: ``[CLS]`` and ``[SEP]``, and a mask that swallows the space before it."""
    return {**_characters(published), "prefix": [_CHARACTER_SPECIALS.index("[CLS]")], "strips_left": ["[MASK]"]}


def _caduceus(published: _Published) -> dict[str, Any]:
    return {**_characters(published), "case": "either"}


def _ntv3(published: _Published) -> dict[str, Any]:
    vocabulary = published.vocabulary(_NTV3)
    letters = {token: number for token, number in vocabulary.items() if len(token) == 1}
    roles = {role: published.token(role, f"<{role}>") for role in ("unk", "pad", "mask", "cls", "eos", "bos")}
    return {
        "type": "nucleotide",
        "vocabulary": letters,
        "case": "either",
        "unknown": vocabulary[roles["unk"] or "<unk>"],
        "pad": vocabulary[roles["pad"] or "<pad>"],
        "pad_side": published.tokenizer.get("padding_side", "right"),
        "special": {token: vocabulary[token] for token in roles.values() if token in vocabulary},
    }


def _bytes(published: _Published) -> dict[str, Any]:
    return {"type": "byte", "vocabulary_size": int(published.config.get("vocab_size", 512)), "pad": 1}


_READERS: Mapping[str, Callable[[_Published], dict[str, Any]]] = {
    "EsmTokenizer": _esm,
    "BertTokenizer": _bert,
    "BertTokenizerFast": _bert,
    "DNATokenizer": _bert,
    "PreTrainedTokenizerFast": _pieces,
    "HyenaDNATokenizer": _characters,
    "CaduceusTokenizer": _caduceus,
    "NTv3Tokenizer": _ntv3,
    "CharLevelTokenizer": _bytes,
    "ByteTokenizer": _bytes,
    "esm": _esm,
    "bert": _bert,
    "mxdna": _bert,
    "hyenadna": _characters,
    "hyena": _original_hyena,
    "caduceus": _caduceus,
    "GPN": _pieces,
    "ConvNet": _pieces,
    "GPNRoFormer": _gpn_msa,
    "stripedhyena": _bytes,
    "stripedhyena2": _bytes,
}
"""By tokenizer class, and for folders without one by model type."""
