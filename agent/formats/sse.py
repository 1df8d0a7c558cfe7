"""Put an answer together from the server-sent events that carried it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Streamed:
    """An answer as it would have come in one piece. `complete`: the stream came to its end."""

    body: dict[str, Any] = field(default_factory=dict)
    complete: bool = False


def is_stream(text: str) -> bool:
    """Say whether a text is a stream of server-sent events."""
    return text.lstrip("\ufeff \r\n").startswith(("data:", "event:", ":", "id:", "retry:"))


def assemble(text: str) -> Streamed:
    """Read a stream of Chat Completions chunks or of Responses events; what is cut is left out."""
    chat = _Chat()
    streamed = Streamed()
    for event in _events(text):
        if event == "[DONE]":
            streamed.complete = True
        elif isinstance(event, Mapping) and str(event.get("type", "")).startswith("response."):
            _responses_event(event, streamed)
        elif isinstance(event, Mapping):
            chat.add(event)
    if chat.seen:
        streamed.body = chat.body()
        streamed.complete = streamed.complete or chat.finish_reason is not None
    return streamed


def _events(text: str) -> Iterator[Any]:
    """Yield the decoded data of each event; text that is no JSON is yielded only if it is the end mark."""
    for block in text.replace("\r\n", "\n").split("\n\n"):
        lines = [line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:")]
        data = "\n".join(lines).strip()
        if data == "[DONE]":
            yield data
        elif data:
            try:
                yield json.loads(data)
            except (ValueError, RecursionError):
                continue


def _responses_event(event: Mapping[str, Any], streamed: Streamed) -> None:
    """Take one Responses event: the last one holds the whole response; of a cut stream the parts remain."""
    kind = event["type"]
    whole = event.get("response")
    if kind in ("response.completed", "response.incomplete", "response.failed") and isinstance(
        whole, Mapping
    ):
        streamed.body = dict(whole)
        streamed.complete = kind == "response.completed"
        return
    if kind == "response.created" and isinstance(whole, Mapping):
        streamed.body = {**whole, "object": "response", "output": []}
    items = streamed.body.setdefault("output", [])
    streamed.body.setdefault("object", "response")
    if kind == "response.output_item.done" and isinstance(event.get("item"), Mapping):
        streamed.body["output"] = [item for item in items if not item.get("partial")] + [dict(event["item"])]
    elif kind == "response.output_text.delta" and isinstance(event.get("delta"), str):
        if not items or not items[-1].get("partial"):
            items.append({"type": "message", "role": "assistant", "content": "", "partial": True})
        items[-1]["content"] += event["delta"]


class _Chat:
    """The chunks of a chat completion; of several choices the first is taken."""

    def __init__(self) -> None:
        self.seen = False
        self.finish_reason: str | None = None
        self._head: dict[str, Any] = {}
        self._texts: list[str] = []
        self._calls: dict[int, dict[str, str]] = {}
        self._choices: set[object] = {0}

    def add(self, chunk: Mapping[str, Any]) -> None:
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            return
        self.seen = True
        for name in ("id", "model", "created", "error"):
            if chunk.get(name) is not None:
                self._head.setdefault(name, chunk[name])
        for choice in choices:
            if isinstance(choice, Mapping):
                self._choice(choice)

    def _choice(self, choice: Mapping[str, Any]) -> None:
        index = choice.get("index", 0)
        if index != 0:
            self._choices.add(str(index))
            return
        reason = choice.get("finish_reason")
        self.finish_reason = reason if isinstance(reason, str) else self.finish_reason
        delta = choice.get("delta")
        if not isinstance(delta, Mapping):
            return
        for name in ("content", "refusal"):
            if isinstance(delta.get(name), str):
                self._texts.append(delta[name])
        calls = delta.get("tool_calls")
        for number, piece in enumerate(calls if isinstance(calls, list) else []):
            if isinstance(piece, Mapping):
                self._call(piece, number)

    def _call(self, piece: Mapping[str, Any], number: int) -> None:
        index = piece.get("index")
        known = self._calls.setdefault(
            index if isinstance(index, int) else number, {"id": "", "name": "", "arguments": ""}
        )
        body = piece.get("function")
        parts = {"id": piece.get("id"), **(body if isinstance(body, Mapping) else {})}
        for name in known:
            if isinstance(parts.get(name), str):
                known[name] += parts[name]

    def body(self) -> dict[str, Any]:
        """Return the completion that the chunks make."""
        message = {
            "role": "assistant",
            "content": "".join(self._texts),
            "tool_calls": [{"id": c["id"], "function": c} for _, c in sorted(self._calls.items())],
        }
        others = [{"index": index} for index in sorted(self._choices - {0}, key=str)]
        first = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        return {**self._head, "object": "chat.completion", "choices": [first, *others]}
