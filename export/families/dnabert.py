"""DNABERT (Ji et al. 2021): stock BERT on overlapping words of 3 to 6 bases."""

from __future__ import annotations

from edgeseq.manifest import TaskKind
from export.checkpoint import Checkpoint
from export.families.bert import TASKS, read_bert
from export.network import Model, Request

_VOCABULARIES = {4**k + 5: k for k in (3, 4, 5, 6)}
"""Five special tokens and all words of ``k`` bases."""


class DnaBert:
    """Reads DNABERT checkpoints."""

    name = "DNABERT"
    tokenizer = "overlapping words of 3 to 6 bases"
    tasks: tuple[TaskKind, ...] = TASKS
    max_length = "512 tokens"
    proven = "golden outputs"
    options: dict[str, str] = {}  # noqa: RUF012

    def recognises(self, checkpoint: Checkpoint) -> bool:
        """A stock BERT (its norms behind each step, its own tensors for query, key and value), with the words of one
        length as its vocabulary."""
        config = checkpoint.config
        return (
            config.get("model_type") in (None, "bert")
            and "pre_layer_norm" not in config
            and config.get("vocab_size") in _VOCABULARIES
            and _has_words(checkpoint)
            and any(name.endswith("encoder.layer.0.attention.self.query.weight") for name in checkpoint.tensors)
            and not any(name.endswith(".pre_attention_ln.weight") for name in checkpoint.tensors)
        )

    def read(self, checkpoint: Checkpoint, request: Request) -> Model:
        k = _VOCABULARIES[checkpoint.config["vocab_size"]]
        notes = [f"Words of {k} bases overlap: a single masked word can be read off its neighbours."]
        return read_bert(checkpoint, request, notes=tuple(notes))


def _has_words(checkpoint: Checkpoint) -> bool:
    """Whether ``vocab.txt`` holds words of the length that the configuration's vocabulary asks for, or all tokenizer
    files are absent."""
    file = checkpoint.folder / "vocab.txt"
    if not file.is_file():
        return not (checkpoint.folder / "tokenizer.json").is_file()
    words = {line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines()}
    return "A" * _VOCABULARIES[checkpoint.config["vocab_size"]] in words


FAMILY = DnaBert()
