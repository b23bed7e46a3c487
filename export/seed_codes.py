"""From base codes to table rows of seeds, in operators that every processor computes four values at a time.

A seed's code is a number in base four, its reverse complement's another; the smaller one modulo the number of rows
selects the row. Codes are float32, exact up to 12 bases. They are put together from parts that repeat: ``11011011`` is
``11`` times 16 plus the ``11`` three bases on, and so on, so that ten bases take four products and four sums.

A base that is not known counts as a number so large that no sum with it is a code: such seeds, and those that reach
beyond the row, take the row after the table's last without a comparison.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from onnx import TensorProto

from export.graph_builder import GraphBuilder
from export.seeds import Seed

Offsets = tuple[int, ...]
"""Sampled positions, the first of them 0."""


@functools.cache
def parts(offsets: Offsets) -> frozenset[Offsets]:
    """The codes of more than one base that have to be computed for one of ``offsets``, itself included."""
    if len(offsets) == 1:
        return frozenset()
    return min((_both(offsets, cut) for cut in range(1, len(offsets))), key=len) | {offsets}


def halves(offsets: Offsets) -> tuple[Offsets, Offsets, int]:
    """The two parts that the code of ``offsets`` is computed of, and where the second begins."""
    cut = min(range(1, len(offsets)), key=lambda cut: len(_both(offsets, cut)))
    return offsets[:cut], _moved(offsets[cut:]), offsets[cut]


def _both(offsets: Offsets, cut: int) -> frozenset[Offsets]:
    return parts(offsets[:cut]) | parts(_moved(offsets[cut:]))


def _moved(offsets: Offsets) -> Offsets:
    return tuple(offset - offsets[0] for offset in offsets)


class SeedCodes:
    """The nodes that compute rows of ``seeds`` from a tensor of base codes, float32 (batch × length)."""

    def __init__(self, graph: GraphBuilder, seeds: Sequence[Seed], codes: str) -> None:
        self.graph = graph
        self.reach = max(seed.span for seed in seeds) - 1
        largest = max(max(4**seed.weight, seed.rows) for seed in seeds)
        graph.add("Pad", [codes, graph.whole(0, 0, 0, self.reach), graph.number(5.0)], "padded_codes", mode="constant")
        # 4 and 5, unknown and padding, become 2 and 6 times `largest`; what it makes of 0 to 3 is less than those
        graph.add("Mul", ["padded_codes", graph.number(4.0 * largest)], "steep")
        graph.add("Sub", ["steep", graph.number(14.0 * largest)], "unknown_bases")
        graph.add("Max", ["padded_codes", "unknown_bases"], "forward_bases")
        graph.add("Sub", [graph.number(3.0), "padded_codes"], "complements")
        graph.add("Max", ["complements", "unknown_bases"], "reverse_bases")
        self._made: dict[tuple[str, Offsets], str] = {}

    def rows(self, seed: Seed, at: str) -> str:
        """Row of the seed that starts at each position, int32 (batch × length), as `export.seeds.seed_rows` has it."""
        graph = self.graph
        forward, reverse = (self._code(strand, seed.offsets) for strand in ("forward", "reverse"))
        graph.add("Min", [forward, reverse], f"{at}_smaller")
        code = f"{at}_smaller"
        if self.reach > seed.span - 1:
            code = graph.part(code, f"{at}_canonical", axis=1, end=seed.span - 1 - self.reach)
        modulus = graph.number(float(seed.rows))
        graph.add("Div", [code, modulus], f"{at}_quotient")
        graph.add("Floor", [f"{at}_quotient"], f"{at}_whole")
        most = graph.number(float((4**seed.weight - 1) // seed.rows))
        graph.add("Min", [f"{at}_whole", most], f"{at}_times")
        graph.add("Mul", [f"{at}_times", modulus], f"{at}_taken")
        graph.add("Sub", [code, f"{at}_taken"], f"{at}_rest")
        graph.add("Min", [f"{at}_rest", modulus], f"{at}_row")
        return graph.add("Cast", [f"{at}_row"], f"{at}_rows", to=TensorProto.INT32)

    def _code(self, strand: str, offsets: Offsets) -> str:
        """Codes of the bases at ``offsets`` from each position on; the last ``offsets[-1]`` positions have none."""
        if len(offsets) == 1:
            return f"{strand}_bases"
        name = f"{strand}_{'_'.join(map(str, offsets))}"
        if (strand, offsets) in self._made:
            return name
        first, second, start = halves(offsets)
        surplus = offsets[-1] - first[-1]
        left = self.graph.part(self._code(strand, first), f"{name}_left", axis=1, end=-surplus)
        right = self.graph.part(self._code(strand, second), f"{name}_right", axis=1, start=start)
        high, low, digits = (left, right, len(second)) if strand == "forward" else (right, left, len(first))
        self.graph.add("Mul", [high, self.graph.number(4.0**digits)], f"{name}_high")
        self._made[strand, offsets] = self.graph.add("Add", [f"{name}_high", low], name)
        return name
