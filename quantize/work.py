"""How much a device is expected to compute for a mixture of formats, without a clock: what orders mixtures before they
are proven, so that the same inputs and seed choose the same one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from devices.profiles import Profile
from edgeseq.bundle import Bundle
from quantize.calibrate import Rows
from quantize.graph import Operator
from quantize.judge import scorer_of
from quantize.schemes import FLOAT, SCHEMES, Choice

DOT_PRODUCTS = 0.5
"""Work of 8-bit arithmetic beside float32 where the processor has dot products: 168 of 327 million instructions on
Cortex-A76."""
NO_DOT_PRODUCTS = 0.9
"""The same without them: 293 of 327 million on Cortex-A72."""
BLOCKS = (0.57, 1.02)
"""Weight-only formats with and without dot products: 186 and 335 of 327 million."""
LOOKUPS = 1.9
"""Instructions of a lookup in 8 bits and what restores it beside one in float32: 0.23 of 0.12 million a kilobase of
the outbreak panel on Cortex-A76. It moves a quarter of the bytes, which counts where a table outgrows the caches."""


@dataclass(frozen=True, slots=True)
class Work:
    """Operator → multiply-accumulates (tables: values looked up) over the calibration rows."""

    operations: Mapping[str, int]
    kinds: Mapping[str, str]
    dot_products: bool

    @classmethod
    def of(cls, bundle: Bundle, operators: Sequence[Operator], rows: Rows, profile: Profile) -> Work:
        """Counted by running the longest batch once with every operator's result as an output."""
        model = onnx.load_from_string(bundle.graph)
        own = {value.name for value in model.graph.output}
        model.graph.output.extend(onnx.ValueInfoProto(name=each.name) for each in operators if each.name not in own)
        found = scorer_of(bundle, model.SerializeToString(deterministic=True)).run_ids(rows.batches[-1][:1])
        counts = {each.name: int(found[each.name].size) * _depth(each) for each in operators}
        return cls(counts, {each.name: each.kind for each in operators}, profile.cpu.int8_gops > 0)

    def share(self, choice: Choice) -> float:
        """Expected work of a mixture beside float32, 1 for the float graph."""
        total = sum(self.operations.values())
        spent = sum(count * self._share(choice.get(name, FLOAT)) for name, count in self.operations.items())
        return spent / total if total else 1.0

    def _share(self, scheme: str) -> float:
        if scheme in (FLOAT, "stored8", "stored4"):
            return 1.0
        if "table" in SCHEMES[scheme].kinds:
            return LOOKUPS
        if scheme.startswith("blocks"):
            return BLOCKS[0] if self.dot_products else BLOCKS[1]
        return DOT_PRODUCTS if self.dot_products else NO_DOT_PRODUCTS


def _depth(operator: Operator) -> int:
    """Products that are summed for one value of the result."""
    if operator.kind == "dense":
        return min(operator.shape)
    if operator.kind == "convolution":
        return math.prod(operator.shape[1:])
    return 1
