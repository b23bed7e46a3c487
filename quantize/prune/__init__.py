"""Pruning with real smaller shapes: which entries of which tensors leave together, which of them matter least, and the
checkpoint without them.

Nothing here knows a family of models. `quantize.prune.anatomy` says how a family describes its checkpoints as data;
`export.pruning` has those descriptions and the command ``python -m export prune``, since the parts below may not
import the exporters.
"""
