"""Alerts as messages to an MQTT broker."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeseq.errors import MissingExtraError, UsageError
from edgeseq.watch.channels import Channel, ChannelError

KEEPALIVE = 30
"""Seconds between signs of life."""


@dataclass(frozen=True, slots=True)
class Mqtt:
    """A broker and a topic. A message counts as delivered once the broker has acknowledged it (QoS 1)."""

    host: str
    """The broker."""
    port: int = 1883
    """Its port; 8883 is usual with TLS."""
    topic: str = "edgeseq/alerts"
    """What messages are published to."""
    name: str = ""
    """How it is called in the journal and on the page."""
    username: str = ""
    """Who logs in; nobody does where it is empty."""
    password: str = field(default="", repr=False)
    """The password of ``username``."""
    tls: bool = False
    """Encrypt, and check the broker's certificate."""
    ca: str = ""
    """File of certificates to trust instead of the system's."""
    timeout: float = 10.0
    """Seconds for each step of a delivery."""

    def __post_init__(self) -> None:
        if not self.host:
            raise UsageError("mqtt: no host is named")
        if not 0 < self.port < 65536:
            raise UsageError(f"mqtt {self.host}: port is {self.port}; it lies from 1 to 65535")
        if not self.topic or any(sign in self.topic for sign in "+#\0"):
            raise UsageError(
                f"mqtt {self.host}: topic is {self.topic!r}; it is not empty and holds no wildcard (+ or #)"
            )
        if not 0 < self.timeout <= 300:
            raise UsageError(f"mqtt {self.host}: timeout is {self.timeout}; it lies above 0 and up to 300 seconds")

    @property
    def label(self) -> str:
        return self.name or f"mqtt {self.host}"

    def open(self) -> Channel:
        try:
            import paho.mqtt.client  # noqa: F401  # whether it is there
        except ImportError as error:
            raise MissingExtraError("paho-mqtt", "mqtt") from error
        return _Mqtt(self)


class _Mqtt:
    """Connects for each message: alerts are rare, and a connection that is not held open cannot be half dead."""

    def __init__(self, settings: Mqtt) -> None:
        self._settings = settings

    def deliver(self, message: Mapping[str, Any]) -> None:
        from paho.mqtt import client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion

        settings = self._settings
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        connected = threading.Event()
        refused: list[str] = []

        def on_connect(_: mqtt.Client, __: Any, ___: Any, reason: Any, ____: Any) -> None:
            if reason.is_failure:
                refused.append(str(reason))
            connected.set()

        client.on_connect = on_connect
        client.connect_timeout = settings.timeout
        try:
            if settings.username:
                client.username_pw_set(settings.username, settings.password or None)
            if settings.tls:
                client.tls_set(settings.ca or None)
            client.connect(settings.host, settings.port, KEEPALIVE)
            client.loop_start()
            if not connected.wait(settings.timeout):
                raise ChannelError(f"no answer within {settings.timeout:g} s")
            if refused:
                raise ChannelError(f"refused: {refused[0]}")
            sent = client.publish(settings.topic, json.dumps(message), qos=1)
            sent.wait_for_publish(settings.timeout)
            if not sent.is_published():
                raise ChannelError(f"not acknowledged within {settings.timeout:g} s")
        except (OSError, ValueError, RuntimeError) as error:
            raise ChannelError(f"not reached: {error}") from error
        finally:
            client.disconnect()
            client.loop_stop()

    def close(self) -> None:
        """Nothing is held."""
