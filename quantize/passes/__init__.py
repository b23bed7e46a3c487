"""Passes: each takes one operator of a float graph and writes it in a smaller format."""
