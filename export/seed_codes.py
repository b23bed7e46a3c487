"""From base codes to table rows of seeds, in operators that processors are good at.

A seed's code is a number in base four, its reverse complement's another; the smaller one modulo the number of rows
selects the row. Both are sums of codes times powers of four, so that one matrix gives the codes of a whole block of
positions from the block's bases and those that follow. The sums are exact: whole numbers below 2^24 in float32, in
whatever order, and also where factors are rounded to TF32, which holds powers of four.

A base that is not known counts as a number so large that no sum with it is a code: such seeds, and those that reach
beyond the row, take the row after the table's last without a comparison.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from export.graph_builder import GraphBuilder
from export.seeds import Seed


class SeedCodes:
    """The nodes that compute rows of ``seeds`` from a tensor of base codes, float32 (batch × length, a multiple of
    ``block``)."""

    def __init__(self, graph: GraphBuilder, seeds: Sequence[Seed], codes: str, block: int) -> None:
        self.graph, self.block = graph, block
        self.following = -(-(max(seed.span for seed in seeds) - 1) // block)
        largest = float(max(max(4**seed.weight, seed.rows) for seed in seeds))
        ends = graph.whole(0, 0, 0, self.following * block)
        graph.add("Pad", [codes, ends, graph.number(5.0)], "padded_codes", mode="constant")
        # 4 and 5, unknown and padding, become 4 and 12 times `largest`; what it makes of 0 to 3 is below 0
        graph.add("Mul", ["padded_codes", graph.number(8.0 * largest)], "steep")
        graph.add("Sub", ["steep", graph.number(28.0 * largest)], "large")
        graph.add("Max", ["padded_codes", "large"], "known_or_large")
        graph.add("Reshape", ["known_or_large", graph.whole(0, -1, block)], "code_blocks")
        parts = [
            graph.part("code_blocks", f"code_blocks{at}", axis=1, start=at, end=at - self.following or None)
            for at in range(self.following + 1)
        ]
        graph.add("Concat", parts, "frames", axis=2)

    def rows(self, seed: Seed, at: str) -> str:
        """Row of the seed that starts at each position, int32 (batch × blocks × block), as `export.seeds.seed_rows`
        has it."""
        graph = self.graph
        forward = graph.constant(f"{at}_forward", self._weights(seed, reverse=False))
        graph.add("MatMul", ["frames", forward], f"{at}_up")
        graph.add(
            "MatMul", ["frames", graph.constant(f"{at}_reverse", self._weights(seed, reverse=True))], f"{at}_less"
        )
        graph.add("Sub", [graph.number(float(4**seed.weight - 1)), f"{at}_less"], f"{at}_down")
        graph.add("Abs", [f"{at}_down"], f"{at}_away")  # below 0 only with a large base in it
        graph.add("Min", [f"{at}_up", f"{at}_away"], f"{at}_smaller")
        modulus = graph.number(float(seed.rows))
        graph.add("Div", [f"{at}_smaller", modulus], f"{at}_quotient")
        graph.add("Floor", [f"{at}_quotient"], f"{at}_whole")
        most = graph.number(float((4**seed.weight - 1) // seed.rows))
        graph.add("Min", [f"{at}_whole", most], f"{at}_times")
        graph.add("Mul", [f"{at}_times", modulus], f"{at}_taken")
        graph.add("Sub", [f"{at}_smaller", f"{at}_taken"], f"{at}_rest")
        graph.add("Min", [f"{at}_rest", modulus], f"{at}_row")
        return graph.add("Cast", [f"{at}_row"], f"{at}_rows", to=TensorProto.INT32)

    def _weights(self, seed: Seed, *, reverse: bool) -> NDArray[np.float32]:
        """What each base of a frame counts in the code of each position of its first block."""
        weights = np.zeros(((self.following + 1) * self.block, self.block), np.float32)
        for place, offset in enumerate(seed.offsets):
            power = place if reverse else seed.weight - 1 - place
            weights[np.arange(self.block) + offset, np.arange(self.block)] = 4.0**power
        return weights
