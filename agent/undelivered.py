"""What the embedded broker has acknowledged and the loop has not: on disk, for a broker that is killed.

amqtt keeps sessions and their queues in memory alone. A record is here before its sender hears that it was
taken, and goes when the loop's own acknowledgement comes, which is after its commit. After a restart all that
is left is published again when the loop subscribes; event ids make that once in the store. Nothing of it is
dropped: where it fills MAX_BYTES no more is taken, and waits with its sender.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from agent.spool import Record, Spool

FOLDER = "undelivered"
MAX_BYTES = 256 * 2**20


class Message(NamedTuple):
    """A topic and what was published there."""

    topic: str
    payload: bytes


class Undelivered:
    """The messages to the loop that it has not acknowledged. Not for several threads."""

    def __init__(self, home: Path, max_bytes: int = MAX_BYTES) -> None:
        self._spool = Spool(home / FOLDER, max_bytes, keeps_all=True)
        self._waiting: dict[bytes, deque[tuple[Message, Record]]] = defaultdict(deque)
        self._take()

    def add(self, topic: str, payload: bytes) -> None:
        """Keep a message. Raises OSError where there is no room: then it must not be acknowledged."""
        self._spool.append(f"{topic}\t{payload.hex()}".encode())
        self._take()

    def done(self, topic: str, payload: bytes) -> None:
        """Forget a message: the loop has it. One that is not known was delivered twice."""
        key = _key(topic, payload)
        if key in self._waiting:
            self._spool.done(self._waiting[key].popleft()[1])
            if not self._waiting[key]:
                del self._waiting[key]

    def __iter__(self) -> Iterator[Message]:
        """Yield what waits."""
        return iter([message for queue in self._waiting.values() for message, _ in queue])

    def sync(self) -> None:
        """Write what was added to the disk itself: from then on it survives a power cut, too."""
        self._spool.sync()

    def close(self) -> None:
        """Let go of the files."""
        self._spool.close()

    def _take(self) -> None:
        while (record := self._spool.take()) is not None:
            topic, _, payload = record.content.partition(b"\t")
            message = Message(topic.decode(), bytes.fromhex(payload.decode()))
            self._waiting[_key(*message)].append((message, record))


def _key(topic: str, payload: bytes) -> bytes:
    return hashlib.blake2b(f"{topic}\0".encode() + payload, digest_size=16).digest()
