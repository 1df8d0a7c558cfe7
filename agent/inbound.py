"""One message from the bus, as it came."""

from __future__ import annotations

from typing import NamedTuple


class Inbound(NamedTuple):
    """A message that is not acknowledged yet: whose it is, its channel, and its bytes."""

    agent: str
    channel: str
    payload: bytes
