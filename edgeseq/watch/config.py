"""``run.toml``: what ``edgeseq watch`` is to do, as one frozen value.

docs/service.md has the reference; a test holds it against this module.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgeseq.errors import UsageError
from edgeseq.watch.alerts import AlertSettings
from edgeseq.watch.answers import Questions
from edgeseq.watch.load import Limits
from edgeseq.watch.page.settings import PageSettings
from edgeseq.watch.room import Disk
from edgeseq.watch.toml import Problem, Rule, TomlReader

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything that a run of the daemon is told."""

    folders: tuple[Path, ...]
    """The run folders to follow; they may appear later."""
    out: Path
    """The folder for the journal and everything else that is written."""
    bundle: Path | None = None
    """The model; the embedded panel where it is absent. It may be a link that is moved to a new bundle."""
    threads: int | None = None
    """Workers; one for each core where it is absent."""
    provider: str | None = None
    """The engine's provider instead of the best one."""
    until_idle: float | None = None
    """Seconds without anything new after which the daemon ends; it never does where this is absent."""
    log_level: Level = "info"
    """The least that is logged."""
    limits: Limits = field(default_factory=Limits)
    """What happens when the sequencer is faster than the board."""
    disk: Disk = field(default_factory=Disk)
    """How much of the disk may be used."""
    questions: Questions = field(default_factory=Questions)
    """What is asked of each barcode."""
    alerts: AlertSettings = field(default_factory=AlertSettings)
    """Who is told."""
    page: PageSettings | None = None
    """Where the page is served; there is none where this is absent."""
    samples: Mapping[str, str] = field(default_factory=dict)
    """Barcode → the name of its sample."""


RULES: Mapping[str, Rule] = {
    "threads": Rule(1, 1024),
    "until_idle": Rule(0, above=True),
    "limits.prefix_after": Rule(1),
    "limits.sample_after": Rule(1),
    "limits.prefix_bases": Rule(1),
    "limits.one_in": Rule(1),
    "limits.calm": Rule(0),
    "disk.max_bytes": Rule(100_000_000, size=True),
    "disk.min_free": Rule(0, size=True),
    "disk.events": Rule(100),
    "questions.alpha": Rule(0, 0.5, above=True),
    "questions.beta": Rule(0, 0.5, above=True),
    "questions.least": Rule(0, 1, above=True, below=True),
    "questions.background": Rule(0, 1, below=True),
    "questions.barcodes": Rule(1, 10_000),
    "alerts.cooldown": Rule(0, 31_536_000),
}
"""Ranges of numbers, by key. Channels of alerts check their own."""


class ConfigurationError(UsageError):
    """A configuration is refused: ``path`` and ``problems``, all there are, in the order of their lines."""

    def __init__(self, path: Path, problems: Sequence[Problem]) -> None:
        super().__init__(str(path), tuple(problems))
        self.path, self.problems = path, tuple(sorted(problems, key=lambda one: one.line))

    def __str__(self) -> str:
        """One line for each problem, as compilers write them."""
        return "\n".join(
            f"{self.path}:{one.line}: {one}" if one.line else f"{self.path}: {one}" for one in self.problems
        )


def read_configuration(path: Path) -> Configuration:
    """The configuration in a file. Relative paths in it are relative to its folder. Raises ConfigurationError."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(path, [Problem("", f"cannot be read: {reason}", "check the path")]) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(path, [Problem("", "is not UTF-8", "save it as UTF-8")]) from error
    reader = TomlReader(text, path.absolute().parent, RULES)
    configuration = reader.read(Configuration)
    if configuration is not None:
        _check(configuration, reader)
    if configuration is None or reader.problems:
        raise ConfigurationError(path, reader.problems)
    return configuration


def _check(configuration: Configuration, reader: TomlReader) -> None:
    """Notes values that contradict each other."""
    _check_folders(configuration, reader)
    limits, questions = configuration.limits, configuration.questions
    if limits.sample_after <= limits.prefix_after:
        wrong = f"is {limits.sample_after:g}, and limits.prefix_after {limits.prefix_after:g}"
        reader.add("limits.sample_after", wrong, "sampling begins after prefixes: make it larger")
    if questions.background is not None and questions.background >= questions.least:
        wrong = f"is {questions.least:g}, and questions.background {questions.background:g}"
        reader.add("questions.least", wrong, "what is looked for has to be more than the background")
    if len(configuration.samples) > questions.barcodes:
        wrong = f"is {questions.barcodes}, and {len(configuration.samples)} barcodes have names in [samples]"
        reader.add("questions.barcodes", wrong, "nothing is said of further barcodes: raise it")
    if configuration.samples and questions.control and questions.control not in configuration.samples:
        wrong = f"is {questions.control!r}, which is not in [samples]"
        reader.add("questions.control", wrong, f"it can be {', '.join(sorted(configuration.samples))}")
    for name in sorted({name for name in questions.classes if questions.classes.count(name) > 1}):
        reader.add("questions.classes", f"names {name!r} twice", "leave one out")


def _check_folders(configuration: Configuration, reader: TomlReader) -> None:
    if not configuration.folders:
        reader.add("folders", "is empty", "name at least one run folder")
    real = [os.path.realpath(folder) for folder in configuration.folders]
    out = os.path.realpath(configuration.out)
    for number, folder in enumerate(real):
        key, shown = f"folders[{number}]", configuration.folders[number]
        if folder == out:
            reader.add("out", f"{configuration.out} is watched as well", "name another output folder")
        elif folder.startswith(f"{out}/"):
            reader.add(key, f"{shown} lies in out", "name an output folder that is not above the run folders")
        for other in real[:number]:
            if folder == other or folder.startswith(f"{other}/") or other.startswith(f"{folder}/"):
                reader.add(key, f"{shown} and {configuration.folders[real.index(other)]} overlap", "leave one out")
