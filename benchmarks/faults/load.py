"""The load: an agent that tells its turns and corrections, and clients that chat. It keeps the books.

Conversations take turns: the turns of one go over the bus alone, those of the next into the followed log
alone, those of the third by both under the same ids. What one way loses the other cannot bring, and what
comes by both must be known again. Corrections go over the bus, whichever way their turns take.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Literal, NamedTuple
from uuid import uuid4

import httpx

from agent.publish import Publisher
from store.clock import now_ms

DIRECTION = 'Reply only with JSON of the form {"answer": "..."}.'
_PAUSE_S = 0.25
_CORRECT_EVERY = 6
_CLIENTS = 2


Way = Literal["bus", "log", "both"]
WAYS: tuple[Way, ...] = ("bus", "log", "both")
"""How the turns of a conversation are told, in turn."""


class Said(NamedTuple):
    """One conversation as it was told: its records in order, by which way, the id of its correction, when."""

    conversation: str
    records: tuple[dict[str, str], ...]
    way: Way
    correction: str | None
    at_ms: int

    @property
    def turns(self) -> tuple[str, ...]:
        """Return the event ids of its turns."""
        return tuple(record["event_id"] for record in self.records)


class Load:
    """Publishes on the bus, writes into a log that is followed, and asks the server, until `close`."""

    def __init__(self, broker: Callable[[], str], spool: Path, log: Path, seed: int) -> None:
        self.said: list[Said] = []
        self.answered = self.failed = 0
        self.server: tuple[str, str] | None = None
        """address and model name, once they are known"""
        self._publisher = Publisher(broker(), "agent", spool=spool)
        self._log, self._random = log, random.Random(seed)
        self._ways = {correct: cycle(WAYS) for correct in (False, True)}  # each kind takes every way
        self._running, self._open = threading.Event(), True
        threads = [self._talk, *[self._chat] * _CLIENTS]
        self._threads = [threading.Thread(target=one, daemon=True) for one in threads]
        for thread in self._threads:
            thread.start()

    def resume(self) -> None:
        """Go on."""
        self._running.set()

    def pause(self) -> None:
        """Say nothing new."""
        self._running.clear()

    def flush(self, seconds: float) -> bool:
        """Wait until the broker has all. Returns whether it has."""
        return self._publisher.flush(seconds)

    @property
    def state(self) -> str:
        """Return what the publisher says of its connection."""
        return (
            f"{self._publisher.state}, {self._publisher.waiting} waiting, {self._publisher.dropped} dropped"
        )

    def say(self, *, correct: bool, way: Way | None = None) -> Said:
        """Tell one conversation by the way whose turn it is, or by `way`, and its correction by bus.

        What is not corrected has no direction, and is general replay: a random model has no pool of its own.
        """
        way = way or next(self._ways[correct])
        records = self._records(uuid4().hex, correct)
        correction = uuid4().hex if correct else None
        said = Said(records[0]["conversation_id"], records, way, correction, now_ms())
        self.said.append(said)  # before it is told: what is in the books and not in the store is on its way
        self._publish(said)
        if way != "bus":
            with self._log.open("a") as log:
                log.write("".join(json.dumps(record) + "\n" for record in records))
        return said

    def say_again(self, since_ms: int) -> int:
        """Send again what went by bus since then, as a user does after a loss that was named.

        Returns of how many conversations: the log is read again by the system itself.
        """
        again = [one for one in self.said if one.at_ms >= since_ms and (one.way != "log" or one.correction)]
        for one in again:
            self._publish(one)
        return len(again)

    def close(self) -> None:
        """Stop for good."""
        self._open = False
        self._running.set()
        for thread in self._threads:
            thread.join(30)
        self._publisher.close()

    def _records(self, conversation: str, correct: bool) -> tuple[dict[str, str], ...]:
        number = self._random.randrange(10**6)
        texts = (
            ("system", f"You are a helpful assistant.{f' {DIRECTION}' if correct else ''}"),
            ("user", f"What is lake number {number}?"),
            ("assistant", f"Lake {number} is water that stands still."),
        )
        return tuple(
            {"event_id": uuid4().hex, "conversation_id": conversation, "role": role, "content": text}
            for role, text in texts
        )

    def _publish(self, said: Said) -> None:
        """Send what of a conversation goes by bus. The correction may come before the turn it corrects."""
        for record in said.records if said.way != "log" else ():
            self._publisher.turn(**record)
        if said.correction is not None:
            last = said.records[-1]
            corrected = json.dumps({"answer": last["content"]})
            fields = {"direction": DIRECTION, "corrected": corrected, "event_id": said.correction}
            self._publisher.correction(said.conversation, last["event_id"], "ignored", **fields)

    def _talk(self) -> None:
        count = 0
        while self._running.wait() and self._open:
            self.say(correct=count % _CORRECT_EVERY == 0)
            count += 1
            time.sleep(_PAUSE_S)

    def _chat(self) -> None:
        with httpx.Client(timeout=30, trust_env=False) as client:
            while self._running.wait() and self._open:
                if self.server is None:
                    time.sleep(_PAUSE_S)
                    continue
                url, model = self.server
                body = {"model": model, "prompt": f"Lake {self.answered}", "max_tokens": 16}
                try:
                    client.post(f"{url}/v1/completions", json=body).raise_for_status()
                    self.answered += 1
                except httpx.HTTPError:
                    self.failed += 1
                time.sleep(_PAUSE_S)
