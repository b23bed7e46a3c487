"""What happens when the sequencer writes faster than the board can score: a stated policy, never silence.

all       every read, whole
prefix    every read, but of a long one only its first bases
sample    one read in so many is scored; the others get a row that says ``skipped``

The policy follows the age of the oldest bytes that wait, up quickly and down slowly, so that it does not flutter.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

Policy = Literal["all", "prefix", "sample"]
POLICIES: tuple[Policy, ...] = ("all", "prefix", "sample")
SKIPPED = "skipped"
"""The reason of a read that was not scored for want of time."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a policy begins, and what it does. Seconds are of the age of what waits."""

    prefix_after: float = 60.0
    """Seconds after which only the first bases of each read are scored."""
    sample_after: float = 300.0
    """Seconds after which only some of the reads are scored; more than ``prefix_after``."""
    prefix_bases: int = 1000
    """How many bases of a read are scored then."""
    one_in: int = 10
    """One read in so many is scored under ``sample``."""
    calm: float = 30.0
    """Seconds for which the age has to be below half of a limit before its policy ends."""


class Load:
    """Watches the backlog and says which policy holds.

    ``waited`` is the age in seconds of the oldest bytes that wait. ``skipped`` and ``shortened`` count reads.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.policy: Policy = "all"
        self.waited = 0.0
        self.skipped = 0
        self.shortened = 0
        self._calm_since: float | None = None
        self._count = 0

    def update(self, waited: float, now: float | None = None) -> bool:
        """Takes the age in seconds of the oldest bytes that wait; whether the policy changed."""
        now = time.monotonic() if now is None else now
        self.waited = waited
        before = self.policy
        if self.waited >= self.limits.sample_after:
            self.policy = "sample"
        elif self.waited >= self.limits.prefix_after and self.policy == "all":
            self.policy = "prefix"
        floor = {"all": 0.0, "prefix": self.limits.prefix_after, "sample": self.limits.sample_after}[self.policy] / 2
        if self.waited >= floor:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = now
        elif now - self._calm_since >= self.limits.calm:
            self.policy = POLICIES[max(0, POLICIES.index(self.policy) - 1)]
            self._calm_since = None
        return self.policy != before

    def scored(self) -> bool:
        """Whether the next read is among those that are scored under `sample`."""
        self._count += 1
        return self._count % self.limits.one_in == 1 or self.limits.one_in == 1
