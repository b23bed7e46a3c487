"""Device profiles: what is known about a device before a model meets it, from ``devices/NAME.toml``.

The dataclasses are the schema of those files: an unknown key, a missing one or a value out of range is refused with its
line. A board of one's own is a file beside the known ones, or anywhere when it is named by its path.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeseq.errors import EdgeseqError, UsageError
from edgeseq.watch.toml import Problem, Rule, TomlReader

Number = Literal["float32", "float16", "int8", "uint8", "int4"]
"""What weights, or activations, are kept as. ``int4`` is for weights alone."""

FOLDER = Path(__file__).resolve().parent


class ProfileError(EdgeseqError):
    """A profile cannot be read; ``problems`` says everything that is wrong with it."""

    def __init__(self, path: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(path, problems)
        self.path = path
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(
            f"{self.path}:{problem.line}: {problem}" if problem.line else f"{self.path}: {problem}"
            for problem in self.problems
        )


@dataclass(frozen=True, slots=True)
class Processor:
    """The cores that run a model."""

    name: str
    architecture: Literal["aarch64", "x86_64"]
    cores: int
    gigahertz: float
    features: tuple[str, ...]
    """Of `edgeseq.cpu.SIMD`: those that decide which kernels the engine takes."""
    float_gflops: float
    """Peak of all cores, single precision: cores × clock × operations a cycle."""
    int8_gops: float
    """Peak of the dot-product instructions on all cores; 0 where there are none."""
    qemu: str = ""
    """The processor model that stands in for it under emulation; empty where there is none."""
    saturates: bool = False
    """Whether products of full-range signed bytes are summed in 16 bits, and clipped there: such weights are judged
    with 7 bits."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What holds the model."""

    gigabytes: float
    """Of the smallest variant that is sold for this use: a model has to fit there."""
    bandwidth: float
    """GB/s that a program gets when it only reads."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What runs graphs there."""

    providers: tuple[str, ...]
    """Short names as `edgeseq.session.available_providers` has them, the preferred first."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Format:
    """A pair of weight and activation formats, and what speaks for or against it on this device."""

    weights: Number
    activations: Number
    reason: str
    source: str
    reduce_range: bool = False
    """Weights use 7 of their 8 bits, so that sums of two products never clip."""
    provider: str = "cpu"

    @property
    def name(self) -> str:
        """As ``uint8 × int8 in 7 bits on cpu``: activations × weights."""
        bits = " in 7 bits" if self.reduce_range else ""
        return f"{self.activations} × {self.weights}{bits} on {self.provider}"

    def covers(self, weights: str, activations: str, *, reduce_range: bool = False, provider: str = "cpu") -> bool:
        """Whether this is that format."""
        return (self.weights, self.activations, self.reduce_range, self.provider) == (
            weights,
            activations,
            reduce_range,
            provider,
        )


@dataclass(frozen=True, slots=True)
class Profile:
    """One device. ``prefer`` is ordered, the best first; what is in neither list is allowed and has to be measured."""

    name: str
    title: str
    summary: str
    cpu: Processor
    memory: Memory
    engine: Engine
    prefer: tuple[Format, ...]
    sources: tuple[str, ...]
    """Where the figures come from."""
    refuse: tuple[Format, ...] = ()

    def __post_init__(self) -> None:
        for each in (*self.prefer, *self.refuse):
            if each.provider not in self.engine.providers:
                raise ValueError(
                    f"a format is for provider {each.provider}, which engine.providers does not have; "
                    f"known are {', '.join(self.engine.providers)}"
                )
        for each in self.refuse:
            if self.preferred(each.weights, each.activations, each.reduce_range, each.provider):
                raise ValueError(f"{each.name} is both preferred and refused; leave one of them out")
        if not self.prefer:
            raise ValueError("no format is preferred; name one under [[prefer]]")

    def preferred(
        self, weights: str, activations: str, reduce_range: bool = False, provider: str = "cpu"
    ) -> Format | None:
        """The preferred format with these parts, with its reason; None where it is not preferred."""
        return _found(self.prefer, weights, activations, reduce_range, provider)

    def refused(
        self, weights: str, activations: str, reduce_range: bool = False, provider: str = "cpu"
    ) -> Format | None:
        """The refused format with these parts, with its reason; None where it is not refused."""
        return _found(self.refuse, weights, activations, reduce_range, provider)


def device_names() -> tuple[str, ...]:
    """The names of the profiles that come with edgeseq, in alphabetical order."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def load_profile(name: str | os.PathLike[str]) -> Profile:
    """The profile with this name, or in the file with this path (anything that ends in ``.toml``).

    Raises UsageError, with the nearest name, for a device that is not known, and ProfileError, with every problem and
    its line, for a file that is not a profile.
    """
    wanted = os.fspath(name)
    if wanted.endswith(".toml"):
        return read_profile(Path(wanted))
    known = device_names()
    if wanted in known:
        return read_profile(FOLDER / f"{wanted}.toml")
    near = difflib.get_close_matches(wanted.lower().replace(" ", "-").replace("_", "-"), known, 1, 0.5)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    raise UsageError(f"no device is called {wanted!r}; {hint}")


def read_profile(path: Path) -> Profile:
    """The profile in a file. Raises ProfileError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ProfileError(str(path), (Problem("", f"cannot be read: {reason}"),)) from error
    reader = TomlReader(text, path.parent, _RULES, environment={})
    profile = reader.read(Profile)
    if profile is not None and profile.name != path.stem:
        reader.add("name", f"is {profile.name!r}", f"it has to be that of the file, {path.stem!r}")
        profile = None
    if profile is None:
        raise ProfileError(str(path), tuple(reader.problems))
    return profile


def profiles() -> Mapping[str, Profile]:
    """Name → profile of every device that is known."""
    return {name: load_profile(name) for name in device_names()}


def _found(
    formats: tuple[Format, ...], weights: str, activations: str, reduce_range: bool, provider: str
) -> Format | None:
    return next(
        (each for each in formats if each.covers(weights, activations, reduce_range=reduce_range, provider=provider)),
        None,
    )


_RULES = {
    "cpu.cores": Rule(1, 1024),
    "cpu.gigahertz": Rule(0, 10, above=True),
    "cpu.float_gflops": Rule(0, above=True),
    "cpu.int8_gops": Rule(0),
    "memory.gigabytes": Rule(0, above=True),
    "memory.bandwidth": Rule(0, above=True),
}
