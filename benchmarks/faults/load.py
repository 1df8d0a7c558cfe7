"""The load: an agent that tells its turns and corrections, and clients that chat. It keeps the books."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import httpx

from agent.publish import Publisher
from store.clock import now_ms

DIRECTION = 'Reply only with JSON of the form {"answer": "..."}.'
_PAUSE_S = 0.25
_CORRECT_EVERY = 6
_CLIENTS = 2


class Said(NamedTuple):
    """One conversation as it was told: event ids in order, the id of its correction, and when."""

    conversation: str
    turns: tuple[str, ...]
    correction: str | None
    at_ms: int


class Load:
    """Publishes on the bus and into a log that is followed, and asks the server, until `close`."""

    def __init__(self, broker: Callable[[], str], spool: Path, log: Path, seed: int) -> None:
        self.said: list[Said] = []
        self.answered = self.failed = 0
        self.server: tuple[str, str] | None = None
        """address and model name, once they are known"""
        self._publisher = Publisher(broker(), "agent", spool=spool)
        self._log, self._random = log, random.Random(seed)
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

    def say(self, *, correct: bool) -> Said:
        """Tell one conversation: turns by bus and log, its correction by bus alone.

        What is not corrected has no direction, and is general replay: a random model has no pool of its own.
        """
        conversation, number = uuid4().hex, self._random.randrange(10**6)
        texts = (
            ("system", f"You are a helpful assistant.{f' {DIRECTION}' if correct else ''}"),
            ("user", f"What is lake number {number}?"),
            ("assistant", f"Lake {number} is water that stands still."),
        )
        turns = [
            {"event_id": uuid4().hex, "conversation_id": conversation, "role": role, "content": text}
            for role, text in texts
        ]
        for turn in turns:
            self._publisher.turn(**turn)
        with self._log.open("a") as log:
            log.write("".join(json.dumps(turn) + "\n" for turn in turns))
        ids = tuple(turn["event_id"] for turn in turns)
        corrected = self._correct(conversation, ids[-1], number) if correct else None
        said = Said(conversation, ids, corrected, now_ms())
        self.said.append(said)
        return said

    def say_again(self, since_ms: int) -> int:
        """Send again what was said since then, as a user does after a loss that was named."""
        again = [one for one in self.said if one.at_ms >= since_ms and one.correction is not None]
        for one in again:
            self._send_correction(one.conversation, one.turns[-1], one.correction, 0)
        return len(again)

    def close(self) -> None:
        """Stop for good."""
        self._open = False
        self._running.set()
        for thread in self._threads:
            thread.join(30)
        self._publisher.close()

    def _correct(self, conversation: str, turn: str, number: int) -> str:
        return self._send_correction(conversation, turn, uuid4().hex, number)

    def _send_correction(self, conversation: str, turn: str, event_id: str | None, number: int) -> str:
        corrected = json.dumps({"answer": f"Lake {number} is water that stands still."})
        fields = {"direction": DIRECTION, "corrected": corrected, "event_id": event_id}
        return self._publisher.correction(conversation, turn, "ignored", **fields)

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
