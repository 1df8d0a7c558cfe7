"""What the body of an answer says: its id, and a digest of each choice. For both of OpenAI's endpoints,
whole or streamed; any other body gives its id where it has one, and no digest.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from policies.answers import answer_digest


@dataclass
class _Choice:
    """One choice, put together from its parts."""

    text: list[str] = field(default_factory=list)
    calls: dict[int, list[str]] = field(default_factory=lambda: defaultdict(lambda: ["", ""]))

    def add(self, said: dict[str, Any]) -> None:
        """Take in a message, a delta, or a completion's choice."""
        self.text.append(said.get("content") or said.get("text") or "")
        for place, call in enumerate(said.get("tool_calls") or ()):
            parts, function = self.calls[call.get("index", place)], call.get("function") or {}
            parts[0] += function.get("name") or ""
            parts[1] += function.get("arguments") or ""

    def digest(self) -> str:
        """The digest of what it says."""
        calls = [(name, arguments) for _, (name, arguments) in sorted(self.calls.items())]
        return answer_digest("".join(self.text), calls)


def read_answer(body: bytes) -> tuple[str | None, tuple[str, ...]]:
    """Return the id of an answer and the digests of its choices, in their order; a torn body gives what it
    can.
    """
    answer_id: str | None = None
    choices: dict[int, _Choice] = defaultdict(_Choice)
    for part in _parts(body):
        answer_id = answer_id or _text(part.get("id"))
        for place, choice in enumerate(_list(part.get("choices"))):
            said = choice.get("message") or choice.get("delta") or choice
            choices[choice.get("index", place)].add(said)
    return answer_id, tuple(choice.digest() for _, choice in sorted(choices.items()))


def _parts(body: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects of a body: itself, or those of a stream of server-sent events."""
    start = body[:64].lstrip()
    pieces = body.split(b"\n") if start.startswith((b"data:", b"event:", b":")) else [b"data:" + body]
    for piece in pieces:
        if piece.startswith(b"data:"):
            try:
                part = json.loads(piece[5:])
            except ValueError:
                continue  # `[DONE]`, or cut off in the middle
            if isinstance(part, dict):
                yield part


def _list(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
