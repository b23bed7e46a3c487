"""A checkpoint without the rows of its vocabulary that a task never uses."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.checkpoint import Checkpoint
from export.pruning.files import write_checkpoint
from quantize.prune.anatomy import Anatomy
from quantize.prune.cut import cut, kept_of, removed_entries
from quantize.prune.errors import PruneError


def cut_vocabulary(
    checkpoint: Checkpoint, anatomy: Anatomy, sequences: Sequence[bytes], folder: Path
) -> tuple[Path, dict[str, str], dict[str, Any]]:
    """Writes the checkpoint to ``folder``: where it is, the tokenizer files that changed, and the report.

    The model gives for these sequences what it gave before. Raises `PruneError` where the vocabulary cannot shrink.
    """
    vocabulary = anatomy.vocabulary
    if vocabulary is None:
        raise PruneError("--vocabulary unused", anatomy.refusals.get("vocabulary", "the model has no vocabulary"))
    count = vocabulary.units.count
    kept, files = vocabulary.rewrite(checkpoint.folder, sequences)
    if len(kept) >= count:
        raise PruneError("--vocabulary unused", f"the sequences need all of the {count} rows")
    config = copy.deepcopy(dict(checkpoint.config))
    vocabulary.configure(config, kept)
    entries = removed_entries((vocabulary.units,), (kept_of(count, kept),))
    folder.mkdir(parents=True)
    write_checkpoint(folder, checkpoint, config, cut(checkpoint.tensors, entries), files)
    return folder, files, {"rows_before": count, "rows_after": len(kept)}
