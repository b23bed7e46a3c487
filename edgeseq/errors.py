"""Every error that edgeseq raises on purpose, as one tree.

    EdgeseqError
    ├── ReadError                 a read source is damaged: file, record, offset
    │   ├── TruncatedError        it ends in the middle of a record or of a gzip member
    │   └── FormatError           it is not what it claims to be
    │       └── NotReadsError     it holds something other than reads
    ├── BundleError               a bundle is refused
    │   ├── BundleDamagedError    a member is missing, extra, changed or unreadable
    │   ├── BundleVersionError    a format version that this runtime does not know
    │   └── SelfTestError         the bundle's own golden outputs are not reproduced here
    ├── TokenizerError            a tokenizer specification or an input that it cannot encode
    ├── EngineError               no execution provider runs the graph
    ├── SinkError                 results cannot be written
    ├── MissingExtraError         an optional dependency is absent: the pip line to install it
    └── UsageError                options that exclude each other or name nothing

Errors carry facts as attributes; ``__str__`` writes the sentence.
"""

from __future__ import annotations


class EdgeseqError(Exception):
    """Base of all errors of this package."""


class ReadError(EdgeseqError):
    """A read source is damaged.

    ``source`` names the file, ``record`` counts whole records before the damage (so it is the zero-based
    index of the damaged one) and ``offset`` is the byte offset in the decompressed stream at which that record starts.
    """

    def __init__(self, source: str, problem: str, *, record: int, offset: int, remedy: str = "") -> None:
        super().__init__(source, problem, record, offset, remedy)
        self.source = source
        self.problem = problem
        self.record = record
        self.offset = offset
        self.remedy = remedy

    def __str__(self) -> str:
        sentence = f"{self.source}: record {self.record + 1} at byte {self.offset}: {self.problem}"
        return f"{sentence}; {self.remedy}" if self.remedy else sentence


class TruncatedError(ReadError):
    """A source ends in the middle of a record or of a compressed member."""


class FormatError(ReadError):
    """A source breaks its own format."""


class NotReadsError(FormatError):
    """A source is something other than reads, from its first byte on."""

    def __str__(self) -> str:
        sentence = f"{self.source}: not a read file: {self.problem}"
        return f"{sentence}; {self.remedy}" if self.remedy else sentence


class BundleError(EdgeseqError):
    """A bundle is refused; nothing of it was loaded."""

    def __init__(self, bundle: str, problem: str, *, member: str = "", remedy: str = "") -> None:
        super().__init__(bundle, problem, member, remedy)
        self.bundle = bundle
        self.problem = problem
        self.member = member
        self.remedy = remedy

    def __str__(self) -> str:
        where = f"{self.bundle}: {self.member}" if self.member else self.bundle
        return f"{where}: {self.problem}" + (f"; {self.remedy}" if self.remedy else "")


class BundleDamagedError(BundleError):
    """A member is missing, extra, changed, oversized or unreadable."""


class BundleVersionError(BundleError):
    """The bundle's format version is unknown to this runtime."""


class SelfTestError(BundleError):
    """The graph does not reproduce the bundle's golden outputs on this machine."""


class TokenizerError(EdgeseqError):
    """A tokenizer specification is invalid, or an input has no encoding."""


class EngineError(EdgeseqError):
    """The inference engine cannot load or run the graph."""


class SinkError(EdgeseqError):
    """Results cannot be written; what was written before is complete."""


class MissingExtraError(EdgeseqError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(package, extra)
        self.package = package
        self.extra = extra

    def __str__(self) -> str:
        return f"{self.package} is not installed; run: pip install 'edgeseq[{self.extra}]'"


class UsageError(EdgeseqError):
    """Options that exclude each other, or that name something which does not exist."""
