"""Learned words (byte pair encoding) that a task never uses, taken out of a tokenizer and of the tables of a model.

Words that the task's sequences are cut into stay, and with them every word that they were joined from on the way: the
same sequences give the same words afterwards. Other sequences may be cut into shorter words; the single letters and the
special tokens always stay, so that everything that had an encoding has one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeseq.tokenizers import load_tokenizer
from export.checkpoint import Checkpoint
from export.pruning.names import Names
from export.tokenizer import tokenizer_spec
from quantize.prune.anatomy import Config, Vocabulary
from quantize.prune.errors import PruneError
from quantize.prune.units import Units

FILE = "tokenizer.json"


def piece_vocabulary(checkpoint: Checkpoint, names: Names, words: str, heads: Sequence[str]) -> Vocabulary | None:
    """The rows of the table ``words`` and of the weights ``heads``, by own names; None where no words were learned."""
    file = checkpoint.folder / FILE
    if not file.is_file() or json.loads(file.read_text(encoding="utf-8")).get("model", {}).get("type") != "BPE":
        return None
    count = int(checkpoint.config["vocab_size"])
    places = names.run(f"{words}.weight", 0, count)
    for own in heads:
        places += names.run(own, 0, count)
    unique = {(place.tensor, place.axis): place for place in places}
    return Vocabulary(Units("vocabulary", count, tuple(unique.values())), _rewrite, _configure)


def _configure(config: Config, kept: Sequence[int]) -> None:
    places = {row: at for at, row in enumerate(kept)}
    config["vocab_size"] = len(kept)
    for key, value in config.items():
        if key.endswith("_token_id") and isinstance(value, int) and value in places:
            config[key] = places[value]


def _rewrite(folder: Path, sequences: Sequence[bytes]) -> tuple[list[int], dict[str, str]]:
    tokenizer = load_tokenizer(tokenizer_spec(folder))
    spec: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    model = spec["model"]
    vocabulary: dict[str, int] = model["vocab"]
    special = {int(token["id"]) for token in spec.get("added_tokens", ())}
    used = special | {number for sequence in sequences for number in tokenizer.encode(sequence).tolist()}
    words = {word: number for word, number in vocabulary.items() if number in used or len(word) == 1}
    words |= {word: vocabulary[word] for word in _roles(model) if word in vocabulary}
    pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model.get("merges", ())]
    for left, right in reversed(pairs):
        if left + right in words:
            words |= {left: vocabulary[left], right: vocabulary[right]}
    kept = sorted({*words.values(), *special})
    if len(kept) == len(vocabulary):
        raise PruneError("--vocabulary unused", "the sequences use every word of the vocabulary")
    places = {row: at for at, row in enumerate(kept)}
    merges = [
        merge
        for merge, (left, right) in zip(model.get("merges", ()), pairs, strict=True)
        if left in words and right in words and left + right in words
    ]
    ordered = dict(sorted(((word, places[number]) for word, number in words.items()), key=lambda item: item[1]))
    spec["model"] = {**model, "vocab": ordered, "merges": merges}
    spec["added_tokens"] = [{**token, "id": places[int(token["id"])]} for token in spec.get("added_tokens", ())]
    _renumber(spec.get("post_processor"), places)
    if isinstance(spec.get("padding"), dict) and "pad_id" in spec["padding"]:
        spec["padding"]["pad_id"] = places[int(spec["padding"]["pad_id"])]
    text = json.dumps(spec, ensure_ascii=False, indent=2)
    _prove(text, places, tokenizer.encode, sequences, folder)
    return kept, {FILE: text}


def _roles(model: dict[str, Any]) -> list[str]:
    return [str(model[key]) for key in ("unk_token",) if model.get(key)]


def _renumber(processor: Any, places: dict[int, int]) -> None:
    """Exchanges the ids that a post-processor names (templates and pairs of a word and its id)."""
    if not isinstance(processor, dict):
        return
    for token in (processor.get("special_tokens") or {}).values():
        token["ids"] = [places[int(number)] for number in token["ids"]]
    for key in ("cls", "sep"):
        if isinstance(processor.get(key), list):
            processor[key][1] = places[int(processor[key][1])]
    for inner in processor.get("processors", ()):
        _renumber(inner, places)


def _prove(text: str, places: dict[int, int], encode: Any, sequences: Sequence[bytes], folder: Path) -> None:
    """Holds the new tokenizer against the old one on all sequences. Raises `PruneError` where they differ."""
    from tokenizers import Tokenizer

    new = Tokenizer.from_str(text)
    new.no_padding()
    new.no_truncation()
    for sequence in sequences:
        wanted = [places[number] for number in encode(sequence).tolist()]
        if new.encode(sequence.decode("ascii")).ids != wanted:
            raise PruneError("--vocabulary unused", f"{folder / FILE} does not give the same words without the others")
