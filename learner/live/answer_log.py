"""The log of answers: one line for each request that the server was sent, written by a thread of its own.

`answers.jsonl` in a private folder; at `LIMIT` bytes it becomes `answers.1.jsonl`, over the one before. The
loop reads it into the store.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import logging
import os
import queue
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from learner.live.answer import read_answer
from policies.answers import ANSWER_LOG, OLDER_ANSWER_LOG

logger = logging.getLogger("vllm.heedloop")

LIMIT = 32 << 20
CLOSE_S = 5.0

Outcome = Literal["finished", "abandoned", "failed"]
"""`abandoned`: the client went away; `failed`: the server could not answer."""
Moment = tuple[str | None, int | None, int]
"""Version, step and UTC milliseconds; no version where the control page is not there."""


@dataclass(frozen=True)
class Answer:
    """One answer as it went out; `body` is None where it was too long to keep."""

    path: str
    status: int | None
    outcome: Outcome
    started: Moment
    ended: Moment
    body: bytes | None

    def line(self) -> bytes:
        """Its line in the log."""
        answer_id, digests = (None, ()) if self.body is None else read_answer(self.body)
        fields = {"id": answer_id, "path": self.path, "status": self.status, "outcome": self.outcome}
        told = {**fields, "digests": digests, "started": self.started, "ended": self.ended}
        return json.dumps(told).encode() + b"\n"


class AnswerLog:
    """Takes answers without making the caller wait."""

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path, self._limit = folder / ANSWER_LOG, limit
        self._answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="answer log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def put(self, answer: Answer) -> None:
        """Have an answer written."""
        self._answers.put(answer)

    def close(self) -> None:
        """Write what was put, then end the thread."""
        self._answers.put(None)
        self._thread.join(CLOSE_S)

    def _write_all(self) -> None:
        while (answer := self._answers.get()) is not None:
            try:
                append(self._path, answer.line(), self._limit)
            except Exception:  # a full disk or an odd answer must end neither the serving nor this thread
                logger.exception("an answer could not be recorded in %s", self._path)


def append(path: Path, line: bytes, limit: int) -> None:
    """Append one line; a file that has reached `limit` is moved aside first. Several processes may do so."""
    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            here = os.fstat(descriptor)
            with suppress(FileNotFoundError):
                if path.stat().st_ino == here.st_ino:
                    if here.st_size < limit:
                        os.write(descriptor, line)
                        return
                    os.replace(path, path.with_name(OLDER_ANSWER_LOG))
        finally:
            os.close(descriptor)
