"""Says which weights an answer comes from: in its headers, and in the log of answers.

`--middleware learner.live.middleware.WeightVersions`: vLLM's own way in, run in its HTTP process. An answer
that is not streamed carries the position of the weights when its request came and when it was done; headers
of a stream go out before its first token, so they carry the first only. Nothing waits: positions are read
from shared memory, bodies are read by a thread once they have gone out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from learner.live.answer_log import Answer, AnswerLog, Moment, Outcome
from learner.live.control import ControlPage, map_page
from learner.live.folder import default_arena
from policies.errors import Unreachable

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

PREFIX = "/v1/"
MOST_BODY = 16 << 20
"""Bytes of a body that are kept until it has gone out."""


class WeightVersions:
    """ASGI middleware around vLLM's app; the app's own arguments say where the arena and the log are."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._page: ControlPage | None = None
        self._log: AnswerLog | None = None
        self._told = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request; a POST below /v1/ is recorded, however it ends."""
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        if not self._told:
            self._set_up(scope["app"].state.args)
        record = _Record(scope["path"], self.moment, receive, send)
        try:
            await self._app(scope, record.receive, record.send)
        finally:
            if self._log is not None:
                self._log.put(record.answer())

    def moment(self) -> Moment:
        """What the weights are now."""
        now = time.time_ns() // 1_000_000
        if self._page is None:
            return None, None, now
        position = self._page.position()
        return position.version, position.step, now

    def _set_up(self, arguments: Any) -> None:
        extra = arguments.model_loader_extra_config or {}
        extra = json.loads(extra) if isinstance(extra, str) else extra
        try:
            self._page = ControlPage(map_page(Path(extra.get("arena") or default_arena())))
        except Unreachable:
            self._page = None  # not a server with live weights
        if extra.get("answers"):
            self._log = AnswerLog(Path(extra["answers"]))
        self._told = True


class _Record:
    """One request on its way: stands between app and client, and notes what goes by."""

    def __init__(self, path: str, moment: Callable[[], Moment], receive: Receive, send: Send) -> None:
        self._path, self._moment, self._receive, self._send = path, moment, receive, send
        self._started = moment()
        self._ended: Moment | None = None
        self._status: int | None = None
        self._left = False
        self._body: list[bytes] = []
        self._kept = 0

    async def receive(self) -> Message:
        """Pass a message of the client on to the app."""
        message = await self._receive()
        self._left |= message["type"] == "http.disconnect" and self._ended is None
        return message

    async def send(self, message: Message) -> None:
        """Pass a message of the app on to the client."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._headers(message)]
        elif message["type"] == "http.response.body":
            self._keep(message.get("body", b""))
            if not message.get("more_body", False):
                self._ended = self._ended or self._moment()
        await self._send(message)

    def answer(self) -> Answer:
        """What became of the request, once the app is done with it."""
        body = b"".join(self._body) if self._kept <= MOST_BODY else None
        ended = self._ended or self._moment()
        return Answer(self._path, self._status, self._outcome(), self._started, ended, body)

    def _outcome(self) -> Outcome:
        if self._left or (self._ended is None and self._status is not None):
            return "abandoned"
        return "finished" if self._status is not None and self._status < 400 else "failed"

    def _headers(self, message: Message) -> list[tuple[bytes, bytes]]:
        headers = _named("", self._started)
        if not _streams(message):  # the whole body is there already
            self._ended = self._moment()
            headers += _named("end-", self._ended)
        return headers

    def _keep(self, body: bytes) -> None:
        self._kept += len(body)
        if self._kept <= MOST_BODY:
            self._body.append(body)
        else:
            self._body.clear()


def _streams(message: Message) -> bool:
    types = [value for name, value in message.get("headers", ()) if name.lower() == b"content-type"]
    return any(value.startswith(b"text/event-stream") for value in types)


def _named(which: str, moment: Moment) -> list[tuple[bytes, bytes]]:
    version, step, _ = moment
    if version is None:
        return []
    said = {f"x-heedloop-{which}version": version, f"x-heedloop-{which}step": str(step)}
    return [(name.encode(), value.encode()) for name, value in said.items()]
