"""A class that was found in a barcode: what the journal keeps of it, and what an alert says of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgeseq.watch.answers import Crossing
from edgeseq.watch.journal import DETECTED
from edgeseq.watch.words import share_words


@dataclass(frozen=True, slots=True)
class Detection:
    """The moment at which a class was detected in a barcode for the first time."""

    barcode: str
    label: str
    time: float
    """Seconds since 1970."""
    hits: int
    """Reads called so, of ``reads`` that could have been."""
    reads: int
    low: float
    """The share of reads is at least this, with the confidence of 1 − ``alpha``."""
    background: float
    """The share of reads that may be called so where the class is absent."""
    alpha: float
    """How often this is said where there is only background: the rate for this class and barcode alone."""
    bundle: str
    """sha256 of the bundle that called the reads."""
    channels: tuple[str, ...] = ()
    """Who was to hear of it."""

    @classmethod
    def of(cls, crossing: Crossing, now: float, alpha: float, bundle: str, channels: Sequence[str]) -> Detection:
        """What is known at the moment of a crossing."""
        found = crossing.evidence
        place = crossing.barcode, crossing.label, now
        return cls(*place, found.hits, found.reads, found.low, found.background, alpha, bundle, tuple(channels))

    @classmethod
    def stored(cls, subject: str, text: str) -> Detection | None:
        """The detection in an event; None where the event is not one."""
        try:
            facts = json.loads(text)
            barcode, label = subject.split("\t")
            facts["channels"] = tuple(facts.get("channels", ()))
            return cls(barcode=barcode, label=label, **facts)
        except (ValueError, TypeError, AttributeError):
            return None

    @property
    def subject(self) -> str:
        """How the journal's events name it."""
        return f"{self.barcode}\t{self.label}"

    @property
    def id(self) -> str:
        """The same however often it is told, and of no other one: receivers can drop repeats by it."""
        text = f"{self.bundle}\t{self.subject}\t{self.time!r}"
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]

    @property
    def sentence(self) -> str:
        """For people."""
        return (
            f"{self.label} detected in {self.barcode}: {self.hits:,} of {self.reads:,} reads, at least "
            f"{share_words(self.low)} (background {share_words(self.background)})"
        )

    def text(self) -> str:
        """What the event holds."""
        facts = asdict(self)
        del facts["barcode"], facts["label"]
        return json.dumps(facts, separators=(",", ":"))

    def told(self) -> Mapping[str, Any]:
        """What an alert says of it."""
        facts = asdict(self)
        del facts["channels"]
        return {"id": self.id, "answer": DETECTED, **facts, "text": self.sentence}
