"""GENA-LM (Fishman et al. 2025): BERT with its norms before each step, on learned words of DNA."""

from __future__ import annotations

from edgeseq.manifest import TaskKind
from export.checkpoint import Checkpoint
from export.errors import FamilyError
from export.families.bert import TASKS, read_bert
from export.network import Model, Request
from export.settings import Settings

_ELSEWHERE = ("sparse", "rotary", "rope", "bigbird")
"""Parts of keys that only the sparse variants have."""


class GenaLm:
    """Reads GENA-LM checkpoints with full attention and learned positions."""

    name = "GENA-LM"
    tokenizer = "32,000 learned words (BPE)"
    tasks: tuple[TaskKind, ...] = TASKS
    max_length = "512 tokens"
    proven = "golden outputs"
    options: dict[str, str] = {}  # noqa: RUF012

    def recognises(self, checkpoint: Checkpoint) -> bool:
        """A BERT whose configuration says where its norms are, or whose tensors do."""
        return checkpoint.config.get("model_type") in (None, "bert") and (
            "pre_layer_norm" in checkpoint.config
            or any(name.endswith(".pre_attention_ln.weight") for name in checkpoint.tensors)
        )

    def read(self, checkpoint: Checkpoint, request: Request) -> Model:
        _refuse_sparse(checkpoint)
        settings = Settings(checkpoint.config, checkpoint.config_file)
        if "pre_layer_norm" not in settings:
            raise FamilyError(
                checkpoint.config_file,
                "pre_layer_norm is missing, but the tensors hold norms before attention (pre_attention_ln); read as "
                "stock BERT, the model would run without them and give wrong results",
                remedy='take the configuration that was published with the weights ("pre_layer_norm": true)',
            )
        first = settings.flag("pre_layer_norm")
        last = settings.flag("last_layer_norm", first)
        return read_bert(checkpoint, request, norm_first=first, norm_last=last)


def _refuse_sparse(checkpoint: Checkpoint) -> None:
    """Raises `FamilyError` for the variants with sparse attention or rotary positions."""
    found: list[tuple[str, object]] = [
        (key, value) for key, value in checkpoint.config.items() if value and any(part in key for part in _ELSEWHERE)
    ]
    kind = checkpoint.config.get("position_embedding_type")
    if kind not in (None, "absolute"):
        found.append(("position_embedding_type", kind))
    if found:
        key, value = found[0]
        raise FamilyError(
            checkpoint.config_file,
            f"{key} is {value!r}: GENA-LM with sparse attention or rotary positions is not implemented; its reference "
            "needs DeepSpeed's sparse attention, which no golden output covers",
            remedy="take a variant with full attention, such as gena-lm-bert-base-t2t",
        )


FAMILY = GenaLm()
