"""Conversations out of requests that each repeat all that was said before.

A request goes on with the conversation whose messages, up to its last answer, it begins with; only what is
new becomes turns. Any other request begins a conversation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from agent.formats.base import Parsed, Place, total
from agent.formats.turns import conversation_name, digest, make_turn, unknown
from agent.formats.wrappers import unwrap
from policies.turn import Role

_KEPT_HEADS = 256
_ROLES: dict[object, Role] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
}


@dataclass(frozen=True)
class Message:
    """One message of a request or answer. `calls` are flat `{"id", "name", "arguments"}`."""

    role: str
    content: str = ""
    calls: tuple[dict[str, str], ...] = ()
    call_id: str | None = None
    interrupted: bool = False


@dataclass(frozen=True)
class Exchange:
    """A request with its answer, where there is one. `conversation` and `previous` name what it goes on with.

    `identity` is the answer's own id, which a later exchange may name as `previous`.
    """

    messages: tuple[Message, ...]
    answer: Message | None = None
    conversation: str | None = None
    previous: str | None = None
    identity: str | None = None
    model: object = None
    ts: int = 0


class Histories(BaseModel):
    """The conversations known: the hash of all that was said in each, and by the id of an answer."""

    heads: dict[str, str] = {}
    """By hash of the messages up to the last answer: the conversation."""
    answers: dict[str, str] = {}

    def take(self, exchange: Exchange, place: Place) -> Parsed:
        """Return the turns that an exchange adds."""
        chain = [self._begin(exchange)]
        for message in exchange.messages:
            chain.append(_extended(chain[-1], message))
        known, conversation = self._known(exchange, chain, place)
        result = total(
            _turn(conversation, message, chain[number + 1], exchange, place)
            for number, message in enumerate(exchange.messages[known:], known)
        )
        head = chain[-1]
        if exchange.answer is not None:
            head = _extended(head, exchange.answer)
            result += _turn(conversation, exchange.answer, head, exchange, place)
            result += Parsed(interrupts=int(exchange.answer.interrupted))
        self._remember(exchange, chain, head, conversation)
        return result

    def _begin(self, exchange: Exchange) -> str:
        """Return the hash before the first message: of what a server keeps, or of a named conversation."""
        if exchange.previous is not None:
            return self.answers.get(exchange.previous, digest(exchange.previous))
        return digest(exchange.conversation)

    def _known(self, exchange: Exchange, chain: list[str], place: Place) -> tuple[int, str]:
        """Return how many messages are known already, and the conversation they belong to."""
        for number in range(len(chain) - 1, -1, -1):
            if chain[number] in self.heads:
                return number, self.heads[chain[number]]
        if exchange.conversation is not None:
            return 0, conversation_name(exchange.conversation)
        answer = None if exchange.answer is None else exchange.answer.content
        return 0, f"c{digest([chain[-1], answer, exchange.identity, place.position])}"

    def _remember(self, exchange: Exchange, chain: list[str], head: str, conversation: str) -> None:
        for old in chain:
            self.heads.pop(old, None)
        if head != digest(None):
            self.heads[head] = conversation
        if exchange.identity is not None:
            self.answers[exchange.identity] = head
        for kept in (self.heads, self.answers):
            while len(kept) > _KEPT_HEADS:
                del kept[next(iter(kept))]


def _extended(chain: str, message: Message) -> str:
    calls = [[call["id"], call["name"], _canonical(call["arguments"])] for call in message.calls]
    return digest([chain, message.role, message.content.strip(), calls, message.call_id])


def _canonical(arguments: str) -> Any:
    """Return arguments as a value, so that other spaces in the same JSON make no other message."""
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments


def _turn(conversation: str, message: Message, key: str, exchange: Exchange, place: Place) -> Parsed:
    role = _ROLES.get(message.role)
    if role is None:
        return unknown(place, f"message of role {message.role}", message.__dict__)
    content = message.content
    result = Parsed()
    if role == "user":
        unwrapped = unwrap(content)
        for rule in unwrapped.rules:
            result += make_turn(place, conversation, [key, "rules"], "system", rule, ts=exchange.ts)
        content = unwrapped.typed
        if not content.strip():
            return result + Parsed(noise=1)
    return result + make_turn(
        place,
        conversation,
        key,
        role,
        content,
        ts=exchange.ts,
        calls=list(message.calls),
        call_id=message.call_id,
        model=exchange.model if role == "assistant" else None,
        interrupted=message.interrupted,
    )


def merged(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Join the items that make one answer of the model: a message, and the calls that follow it."""
    joined: list[Message] = []
    for message in messages:
        last = joined[-1] if joined else None
        if (
            last is not None
            and message.role == last.role == "assistant"
            and not message.content
            and message.calls
        ):
            joined[-1] = Message("assistant", last.content, last.calls + message.calls)
        else:
            joined.append(message)
    return tuple(joined)
