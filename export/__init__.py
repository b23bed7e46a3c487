"""Checkpoints and genomes to bundles: model export, parity, and the training of the embedded panel."""
