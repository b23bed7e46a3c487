"""Reads from the panel's training genomes: simulated, with their truth in the header. gzip, FASTQ.

`edgeseq demo` scores a few; many calibrate a compression. They are no evidence of how well the panel does.
"""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np

from export.calibrate import LETTERS, MINIMUM_LENGTH
from export.genomes import OTHER
from export.panel import Panel
from export.simulate import PAD, error_rates, reads


def write_demo_reads(panel: Panel, output: Path, *, per_class: int = 12, background: int = 60, seed: int = 3) -> int:
    """Writes shuffled reads of 300 to 1500 b of every label; returns their number. Same panel and seed: same bytes.

    Base qualities are constant per read, from its simulated error rate.
    """
    rng = np.random.default_rng(seed)
    panel_reads = panel.sampler("train")
    records: list[bytes] = []
    for label in panel.labels:
        sources, weights = panel_reads.background if label == OTHER else panel_reads.classes[label]
        count = background if label == OTHER else per_class
        lengths = rng.integers(300, 1501, count)
        rates = error_rates(rng, count, replace(panel_reads.profile))
        chosen = rng.choice(len(weights), count, p=weights)
        rows = reads(rng, sources, chosen, lengths, 1536, panel_reads.profile, rates=rates)
        for row, rate in zip(rows, rates, strict=True):
            codes = row[row != PAD]
            if len(codes) < MINIMUM_LENGTH:
                continue
            quality = bytes([33 + min(40, round(-10 * np.log10(rate)))]) * len(codes)
            name = "".join("0123456789abcdef"[digit] for digit in rng.integers(0, 16, 12))
            head = f"@demo-{name} runid={'0' * 40} ch={rng.integers(1, 513)} truth={label}".encode()
            records.append(b"\n".join([head, LETTERS[codes].tobytes(), b"+", quality, b""]))
    order = rng.permutation(len(records))
    with output.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        for index in order:
            packed.write(records[index])
    return len(records)
