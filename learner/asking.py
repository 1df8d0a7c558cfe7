"""Ask the live server as any client does: many conversations at once, greedily, so many under way at most."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx

from policies.errors import Unreachable
from policies.turn import Message

TIMEOUT_S = 60.0


class LiveServer:
    """An OpenAI-compatible server at `url`; `at_once` bounds its requests under way."""

    def __init__(
        self, url: str, model: str, max_tokens: int, at_once: int, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._url, self._timeout_s = url, timeout_s
        self._model, self._max_tokens, self._at_once = model, max_tokens, at_once

    def answers(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        """Return the answers in the order of the conversations.

        Raises Unreachable where one does not come; what was not yet asked is not asked any more.
        """
        with (
            httpx.Client(base_url=self._url, timeout=self._timeout_s, trust_env=False) as http,
            ThreadPoolExecutor(self._at_once) as pool,
        ):
            asked = [pool.submit(self._answer, http, messages) for messages in conversations]
            try:
                return [answer.result() for answer in asked]
            except Unreachable:
                for answer in asked:
                    answer.cancel()
                raise

    def _answer(self, http: httpx.Client, messages: Sequence[Message]) -> str:
        body = {"model": self._model, "messages": list(messages), "temperature": 0}
        try:
            response = http.post("/v1/chat/completions", json=body | {"max_tokens": self._max_tokens})
            response.raise_for_status()
            return str(response.json()["choices"][0]["message"]["content"] or "")
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
            raise Unreachable(
                f"server {self._url} gives no answer: {type(error).__name__} {error}"
            ) from error
