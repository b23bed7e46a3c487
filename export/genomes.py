"""Genome records of the outbreak panel's classes and of its background, from a folder of FASTA files.

`CLASSES` and `BACKGROUND` say which file feeds which label. A class is kept when at least `MINIMUM_GENOMES` of its
records are near full length and survive the label check (see `export.labels`).
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pysam
from numpy.typing import NDArray

from edgeseq.normalise import normalise

OTHER = "other"
MINIMUM_GENOMES = 25

CLASSES: dict[str, tuple[str, ...]] = {
    "sars-cov-2": ("sars-cov-2",),
    "influenza-a": ("influenza-a",),
    "influenza-b": ("influenza-b",),
    "rsv": ("rsv-a", "rsv-b"),
    "ebola-zaire": ("ebola-zaire",),
    "mpox": ("mpox",),
    "rabies": ("rabies", "rabies_rage"),
    "enterovirus": ("enterovirus", "enterovirus_vp1", "poliovirus_wg"),
    "dengue": ("dengue1", "dengue2", "dengue3", "dengue4", "dengue-all"),
    "zika": ("zika",),
    "chikungunya": ("chikungunya",),
    "yellow-fever": ("yellow-fever",),
    "lassa": ("lassa",),
    "marburg": ("marburg",),
    "nipah": ("nipah",),
    "norovirus": ("norovirus",),
    "hiv-1": ("hiv-1",),
    "hbv": ("hbv",),
    "hmpv": ("hmpv",),
    "adenovirus": ("hadv",),
    "rubella": ("rubella",),
    "oropouche": ("oropouche",),
    "hantavirus": ("hantavirus",),
    "measles": ("measles",),
    "mumps": ("mumps",),
    "vzv": ("vzv",),
    "hav": ("hav",),
    "west-nile": ("west-nile",),
}
"""Candidate label → FASTA names. Ebolaviruses other than Zaire are in no class and not in the background either."""

FULL_LENGTH: dict[str, tuple[int, ...]] = {
    "influenza-a": (800, 950, 1350, 1500, 1650, 2150, 2250),
    "influenza-b": (1000, 1150, 1450, 1700, 1750, 2250, 2300),
    "lassa": (3200, 7000),
    "oropouche": (850, 4100, 6500),
    "hantavirus": (1600, 3400, 6300),
}
"""Segmented viruses: the lowest near-full length of each segment; the shortest counts. Elsewhere: 80 % of the
class's longest decile."""

BACKGROUND: dict[str, tuple[str, ...]] = {
    "bacteria": ("Zymo_D6321", "ecoli_EC590", "ecoli_K12", "ecoli_o157", "salmonella", "tiara_bacteria_fr"),
    "archaea": ("tiara_archaea_fr",),
    "eukarya": ("tiara_eukarya_fr",),
    "organelle": ("tiara_mitochondria_fr", "tiara_plast_fr"),
    "animal-plant": (
        "human_enhancers_cohn_test",
        "human_nontata_promoters_test",
        "regulatory_ensembl_train1500",
        "CNNPromoter_Mouse_nonprom",
        "CNNPromoter_Mouse_tata",
        "CNNPromoter_Arabidopsis_non_prom",
        "CNNPromoter_Arabidopsis_non_tata",
    ),
}


@dataclass(frozen=True, slots=True)
class Genome:
    """One record: ``codes`` is uint8 (bases,), A C G T N = 0 1 2 3 4; ``group`` is the file that it came from."""

    name: str
    label: str
    group: str
    codes: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.codes)


_CODES = np.full(256, 4, np.uint8)
_CODES[[65, 67, 71, 84]] = [0, 1, 2, 3]


def encode(sequence: str) -> NDArray[np.uint8]:
    """Base codes (0–4) of a sequence after the project's one normaliser."""
    return _CODES[np.frombuffer(normalise(sequence.encode("ascii", "replace"), "dna"), np.uint8)]


def read_fasta(path: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Name and base codes of each record."""
    with pysam.FastxFile(str(path)) as records:
        for record in records:
            yield record.name or "", encode(record.sequence or "")


def _read_table(path: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Every cell of a CSV or TSV file that is a DNA sequence of 100 b or more."""
    with gzip.open(path, "rt", newline="") as text:
        rows = csv.reader(text, delimiter="\t" if ".tsv" in path.name else ",")
        for number, row in enumerate(rows):
            for cell in row:
                if len(cell) >= 100 and set(cell.upper()) <= set("ACGTN"):
                    yield f"{path.name}:{number}", encode(cell)


def find(data: Path, name: str) -> Path | None:
    """The file of this name below ``data``, whatever its suffix."""
    for folder in ("genomes", "labelled"):
        for path in sorted((data / folder).glob(f"{name}.*")):
            return path
    return None


def load(data: Path, label: str, files: tuple[str, ...]) -> list[Genome]:
    """All records of the given files, in file order. Records of fewer than 200 known bases are left out."""
    genomes = []
    for name in files:
        path = find(data, name)
        if path is None:
            continue
        table = ".csv" in path.name or ".tsv" in path.name
        for record, codes in _read_table(path) if table else read_fasta(path):
            if np.count_nonzero(codes < 4) >= 200:
                genomes.append(Genome(record, label, name, codes))
    return genomes


def full_length(label: str, genomes: list[Genome]) -> float:
    """The length in bases from which a record of this class is near full length: of the shortest segment where the
    virus is segmented, else 80 % of the longest decile."""
    floors = FULL_LENGTH.get(label)
    if floors:
        return float(floors[0])
    return float(0.8 * np.quantile([len(genome) for genome in genomes], 0.95)) if genomes else 0.0


def near_full_genomes(label: str, genomes: list[Genome], floor: float | None = None) -> int:
    """Near-full-length genomes among the records; of a segmented virus, near-full-length segments over their number.

    ``floor`` is the class's `full_length` where the records are only a part of the class.
    """
    floor = full_length(label, genomes) if floor is None else floor
    return sum(len(genome) >= floor for genome in genomes) // len(FULL_LENGTH.get(label, (1,)))
