"""Pruning of checkpoints: how each family's are built, as data, and the command ``python -m export prune``.

The arithmetic of pruning is in `quantize.prune`, which knows no family.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from export.checkpoint import Checkpoint
from export.errors import FamilyError
from export.families import Family
from export.network import Model
from export.pruning.names import Names
from quantize.prune.anatomy import Anatomy
from quantize.prune.units import check

ANATOMIES: Mapping[str, str] = {
    "ESM-1b, ESM-1v, ESM-2, Nucleotide Transformer v1": "encoders",
    "Nucleotide Transformer v2": "encoders",
    "DNABERT": "encoders",
    "GENA-LM": "encoders",
    "DNABERT-2": "mosaic",
    "GPN": "gpn",
    "GPN-MSA": "encoders",
    "Nucleotide Transformer v3": "ntv3",
    "MxDNA": "mxdna",
    "any other transformers architecture": "native",
    "HyenaDNA": "hyenadna",
    "Caduceus": "caduceus",
    "Evo 1": "striped",
    "Evo 2": "striped",
}
"""Name of a family → the module of this package that describes its checkpoints."""


def anatomy_of(family: Family, checkpoint: Checkpoint, model: Model) -> Anatomy:
    """What can leave a checkpoint that was read as ``model``. Raises `FamilyError` for a family that is not described
    here."""
    module = ANATOMIES.get(family.name)
    if module is None:
        raise FamilyError(
            checkpoint, f"checkpoints of {family.name} cannot be pruned", remedy=f"known: {', '.join(ANATOMIES)}"
        )
    found: Anatomy = import_module(f"{__name__}.{module}").anatomy(
        checkpoint, model, Names(model.loaded, checkpoint.tensors.keys())
    )
    shapes = {name: tuple(value.shape) for name, value in checkpoint.tensors.items()}
    for kind in found.kinds:
        check(kind.units, shapes)
    return found
