"""Sequences as every part of the project sees them: upper-case, with one letter for "unknown".

The runtime, the exporters, calibration and training all call `normalise`; nothing else changes a sequence.
"""

from __future__ import annotations

from typing import Literal

Alphabet = Literal["dna", "protein"]

RESIDUES = b"ACDEFGHIKLMNPQRSTVWYBZUOX"
"""The 20 amino acids, the ambiguities B (D or N) and Z (E or Q), selenocysteine, pyrrolysine and X."""


def _upper_table(kept: bytes, other: bytes) -> bytes:
    """A 256-byte translation table: ``kept`` in either case to upper case, every other byte to ``other``."""
    table = bytearray(other * 256)
    for letter in kept:
        table[letter] = letter
        table[ord(chr(letter).lower())] = letter
    return bytes(table)


def _dna_table() -> bytes:
    table = bytearray(_upper_table(b"ACGT", b"N"))
    table[ord("U")] = table[ord("u")] = ord("T")
    return bytes(table)


TABLES = {"dna": _dna_table(), "protein": _upper_table(RESIDUES, b"X")}
"""Which letter each byte becomes: `normalise` as a table for ``bytes.translate``."""
UNKNOWN = {"dna": b"N", "protein": b"X"}
"""The letter for everything that is not in the alphabet."""
COMPLEMENTS = bytes.maketrans(b"ACGTUNRYSWKMBDHVacgtunryswkmbdhv", b"TGCAANYRSWMKVHDBtgcaanyrswmkvhdb")


def normalise(sequence: bytes, alphabet: Alphabet) -> bytes:
    """The sequence in upper case, of the same length, with every byte that is not a letter of the alphabet replaced.

    ``dna``: U becomes T; all but ACGT (N, IUPAC ambiguity codes, gaps, white space, damage) becomes N.
    ``protein``: all but `RESIDUES` (J, gaps, ``*``, …) becomes X. Normalising twice changes nothing more.
    """
    return sequence.translate(TABLES[alphabet])


def n_fraction(normalised: bytes, alphabet: Alphabet) -> float:
    """The share of unknown letters (N, or X of a protein) in a normalised sequence; 0 for an empty one."""
    if not normalised:
        return 0.0
    return normalised.count(UNKNOWN[alphabet]) / len(normalised)


def reverse_complement(sequence: bytes) -> bytes:
    """The other strand, read in its own direction.

    IUPAC codes are complemented, U counts as T, case is kept, and bytes that are no nucleotide code stay as they are.
    """
    return sequence.translate(COMPLEMENTS)[::-1]
