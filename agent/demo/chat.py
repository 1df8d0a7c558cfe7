"""The demo's agent and its user: a chat, told to the bus and to the agent's own log, and corrections."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict

from agent.bus import Peer
from agent.demo.client import ChatClient
from agent.demo.journal import Journal, turn_payload
from policies.errors import Unreachable
from policies.turn import Message

MAX_TOKENS = 96


class Reply(BaseModel):
    """What the agent answered, and the ids by which it can be corrected."""

    model_config = ConfigDict(frozen=True)

    conversation_id: str
    turn_event_id: str
    text: str


class ChatAgent:
    """A small OpenAI-client agent. Every turn goes out twice, over MQTT and into the log: it counts once."""

    def __init__(self, client: ChatClient, model: str, peer: Peer, agent: str, journal: Journal) -> None:
        self._client, self._model, self._peer = client, model, peer
        self._agent, self._journal = agent, journal

    async def answer(self, messages: Sequence[Message]) -> Reply:
        """Ask the server, and publish the conversation. Raises Unreachable when the request failed."""
        answer = await self._client.ask(messages, MAX_TOKENS)
        if answer.failure:
            raise Unreachable(f"the agent got no answer from the server: {answer.failure}")
        conversation = uuid4().hex
        said = [*messages, {"role": "assistant", "content": answer.text}]
        turns = [turn_payload(conversation, message, self._model) for message in said]
        payload = json.dumps({"conversation_id": conversation, "turns": turns})
        await self._peer.publish(self._agent, "turns", payload)
        self._journal.write(turns)
        return Reply(conversation_id=conversation, turn_event_id=str(turns[-1]["event_id"]), text=answer.text)

    async def correct(self, reply: Reply, corrected: str, direction: str | None, author: str) -> None:
        """Say that an answer ignored its direction, and what it should have been."""
        correction: dict[str, Any] = {
            "event_id": uuid4().hex,
            "conversation_id": reply.conversation_id,
            "turn_event_id": reply.turn_event_id,
            "verdict": "ignored",
            "corrected": corrected,
            "author": author,
        }
        if direction is not None:
            correction["direction"] = direction
        await self._peer.publish(self._agent, "corrections", json.dumps(correction))
