"""Published models that are known but cannot be read, each with the reason."""

from __future__ import annotations

import re

from export.checkpoint import Checkpoint
from export.errors import FamilyError

_CHUNKER_TYPES = ("hnet", "hnet_ntv2", "caduceus_hnet", "caduceus_hnet_transformer")
_CHUNKER_KEYS = ("target_ratio", "target_ratio_stage1")
_ROUTER = re.compile(r"(?:.+\.)?routing_module(?:_stage\d)?\.w_[qk]\.weight")


def refuse_unread(checkpoint: Checkpoint) -> None:
    """Raises `FamilyError` for DNAChunker (arXiv 2601.03019), recognised by its ``model_type`` with the share of chunks
    that it was trained for, or by the tensors of its router.

    Its code runs on CUDA kernels alone, so that there are no reference outputs to prove a module with: which of its
    masks, norms and rounded boundaries a published checkpoint was trained with cannot be told from its tensors.
    """
    config = checkpoint.config
    typed = config.get("model_type") in _CHUNKER_TYPES and any(key in config for key in _CHUNKER_KEYS)
    if typed or any(_ROUTER.fullmatch(name) for name in checkpoint.tensors):
        raise FamilyError(
            checkpoint,
            "DNAChunker is known but not read: its published code needs CUDA kernels (mamba_ssm), and there are no "
            "reference outputs that a graph for other processors could be proven with",
            remedy="take MxDNA for a learned tokenizer, or give a module of your own: "
            "python -m export package.module:factory --checkpoint FILE",
        )
