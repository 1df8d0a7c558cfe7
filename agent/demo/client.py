"""A small OpenAI client that keeps count: what it asked, how long it took, what failed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import httpx
from pydantic import BaseModel, ConfigDict

from policies.turn import Message

TIMEOUT_S = 120.0


class Answer(BaseModel):
    """One answered (or failed) request. `failure` is empty when all is well; times are in seconds."""

    model_config = ConfigDict(frozen=True)

    text: str
    failure: str
    tokens: int
    began: float
    seconds: float


class ChatClient:
    """Asks one server, one model. An empty, cut or invalid answer is a failure, and so is an HTTP error."""

    def __init__(self, url: str, model: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S)
        self._model = model
        self.sent = 0
        self.failures: list[str] = []

    async def ask(self, messages: Sequence[Message], max_tokens: int) -> Answer:
        """Ask one question, greedily. A failure is counted and returned, never raised."""
        self.sent += 1
        began = time.time()
        try:
            text, tokens = await self._request(messages, max_tokens)
            failure = ""
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
            text, tokens, failure = "", 0, f"{type(error).__name__}: {error}"
            self.failures.append(failure)
        return Answer(text=text, failure=failure, tokens=tokens, began=began, seconds=time.time() - began)

    async def ask_all(self, conversations: Sequence[Sequence[Message]], max_tokens: int) -> list[Answer]:
        """Ask many questions at once; the server batches them."""
        return await asyncio.gather(*(self.ask(messages, max_tokens) for messages in conversations))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _request(self, messages: Sequence[Message], max_tokens: int) -> tuple[str, int]:
        body = {"model": self._model, "messages": list(messages), "temperature": 0, "max_tokens": max_tokens}
        response = await self._http.post("/v1/chat/completions", json=body)
        response.raise_for_status()
        answer = response.json()
        choice, tokens = answer["choices"][0], int(answer["usage"]["completion_tokens"])
        text, reason = choice["message"]["content"], choice["finish_reason"]
        if not isinstance(text, str) or not text.strip():
            raise ValueError("the answer is empty")
        if reason != "stop" and not (reason == "length" and tokens >= max_tokens):
            raise ValueError(f"the answer was cut: finish_reason {reason!r} after {tokens} tokens")
        return text, tokens
