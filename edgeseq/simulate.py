"""Made-up reads for measuring speed: random bases, realistic lengths."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgeseq.read import Read

MEDIAN_LENGTH = 1_000
SPREAD = 0.9
"""Standard deviation of the logarithm of length: half of the reads lie between 545 and 1835 bases."""
SHORTEST, LONGEST = 200, 30_000

_BASES = np.frombuffer(b"ACGT", np.uint8)


def simulated_reads(seed: int = 1) -> Iterator[Read]:
    """Reads without end, the same for the same seed. Lengths are log-normal, as those of sequencing runs about are."""
    random = np.random.default_rng(seed)
    number = 0
    while True:
        lengths = np.clip(random.lognormal(np.log(MEDIAN_LENGTH), SPREAD, 256), SHORTEST, LONGEST).astype(np.int64)
        bases = _BASES[random.integers(0, 4, int(lengths.sum()), dtype=np.uint8)].tobytes()
        start = 0
        for length in lengths.tolist():
            yield Read(f"simulated-{number}", bases[start : start + length], source="simulated", record=number)
            start += length
            number += 1
