"""How much one agent may send over the bus. What is over is counted and kept as a dead letter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from agent.inbound import Inbound
from policies.config import LimitConfig
from policies.limits import Bucket

_AGENTS = 10_000
"""Agents whose rate is remembered: more than a broker that asks for names has."""


class Refused(NamedTuple):
    """A message over a limit, with the counter that it raises and the reason for people."""

    message: Inbound
    counter: str
    reason: str


class Flow:
    """Tells the messages of a batch that are within the limits from those that are not."""

    def __init__(self, limits: LimitConfig) -> None:
        self._limits = limits
        self._buckets: dict[str, Bucket] = {}

    def split(self, batch: Sequence[Inbound], now_ms: int) -> tuple[list[Inbound], list[Refused]]:
        """Return what may go on, in its order, and what may not."""
        good: list[Inbound] = []
        over: list[Refused] = []
        for message in batch:
            refused = self._refused(message, now_ms)
            if refused is None:
                good.append(message)
            else:
                over.append(refused)
        return good, over

    def _refused(self, message: Inbound, now_ms: int) -> Refused | None:
        most = self._limits.message_bytes
        if len(message.payload) > most:
            reason = f"{len(message.payload)} bytes, at most {most} are read (limits.message_bytes)"
            return Refused(message, "messages_over_size", reason)
        if not self._bucket(message.agent).take(now_ms):
            rate = f"more than {self._limits.messages_per_minute} messages a minute of agent {message.agent}"
            return Refused(message, "messages_over_rate", f"{rate} (limits.messages_per_minute)")
        return None

    def _bucket(self, agent: str) -> Bucket:
        if len(self._buckets) >= _AGENTS and agent not in self._buckets:
            self._buckets.pop(next(iter(self._buckets)))
        return self._buckets.setdefault(agent, Bucket(self._limits.messages_per_minute))
