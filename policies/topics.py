"""The MQTT topics of contract v1 (docs/asyncapi.json)."""

from __future__ import annotations

from typing import Literal

PREFIX = "heedloop/v1"
Channel = Literal["turns", "corrections", "commands", "status", "events"]
INBOUND: tuple[Channel, ...] = ("turns", "corrections", "commands")


def topic(agent: str, channel: Channel) -> str:
    """Return the topic of one channel of one agent."""
    return f"{PREFIX}/{agent}/{channel}"


def parse_topic(text: str) -> tuple[str, str]:
    """Split a topic into (agent, channel). Raises ValueError on a foreign topic."""
    head, _, rest = text.partition(f"{PREFIX}/")
    agent, _, channel = rest.rpartition("/")
    if head or not agent or "/" in agent:
        raise ValueError(f"topic {text!r} is not {PREFIX}/<agent>/<channel>")
    return agent, channel
