"""What is left, written into a configuration as each family's published code reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from quantize.prune.anatomy import Config, Kept


def common(kept: Kept) -> int:
    """How many units each part has left. Raises ValueError where that differs."""
    (count,) = {len(part) for part in kept}
    return count


def size(key: str) -> Callable[[Config, Kept], None]:
    """A configuration has the number of units under one key."""

    def write(config: Config, kept: Kept) -> None:
        config[key] = common(kept)

    return write


def layers(key: str) -> Callable[[Config, Sequence[int]], None]:
    """A configuration has the number of layers under one key, and pruned heads, if any, under the layers' numbers."""

    def write(config: Config, kept: Sequence[int]) -> None:
        config[key] = len(kept)
        heads = config.get("pruned_heads")
        if heads:
            config["pruned_heads"] = {
                str(at): heads[str(layer)] for at, layer in enumerate(kept) if heads.get(str(layer))
            }

    return write


def heads(config: Config, kept: Kept) -> None:
    """Pruned heads, layer by layer, by the numbers that they had in the whole model (``pruned_heads``)."""
    before = config.get("pruned_heads") or {}
    gone = {}
    for layer, stay in enumerate(kept):
        first = [head for head in range(int(config["num_attention_heads"])) if head not in before.get(str(layer), [])]
        left = {first[unit] for unit in stay}
        removed = [head for head in range(int(config["num_attention_heads"])) if head not in left]
        if removed:
            gone[str(layer)] = removed
    config["pruned_heads"] = gone
