"""Nets that are not of a published family, as factories for ``python -m export MODULE:FACTORY``: recipes to start from.

A factory gives a `torch.nn.Module` whose parameters have the names of the checkpoint's. Where it has an argument called
``tensors``, it gets the checkpoint's tensors by name and can take its sizes from them. `docs/other-nets.md` has a
command for each.
"""
