"""Alerts in the log, as warnings."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeseq.watch.channels import Channel

LOGGER = "edgeseq.alerts"


@dataclass(frozen=True, slots=True)
class Log:
    """The log of the process."""

    @property
    def label(self) -> str:
        return "log"

    def open(self) -> Channel:
        return _Log()


class _Log:
    def deliver(self, message: Mapping[str, Any]) -> None:
        logging.getLogger(LOGGER).warning("%s", message["text"])

    def close(self) -> None:
        """Nothing is held."""
