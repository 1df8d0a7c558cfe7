"""A turn: one message of a conversation, in the shape of OpenAI chat messages."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Role = Literal["system", "developer", "user", "assistant", "tool"]
Message = dict[str, Any]
"""One OpenAI chat message: `role`, `content` and, where present, `tool_calls` and `tool_call_id`."""


class ToolCall(BaseModel):
    """One tool call of an assistant turn; `arguments` is the JSON text the model wrote."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    arguments: str = "{}"


class Turn(BaseModel):
    """One message with its place in a conversation. `ts` is UTC in milliseconds.

    `interrupted`: an assistant turn that was broken off; a tool turn whose call the user refused; a user turn
    typed after they broke off the agent's work or took it back.
    """

    model_config = ConfigDict(frozen=True)

    event_id: str = Field(min_length=1, max_length=200)
    conversation_id: str = Field(min_length=1, max_length=200)
    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    ts: int = Field(ge=0)
    model: str | None = None
    weight_version: str | None = None
    interrupted: bool = False

    def message(self) -> Message:
        """Return the OpenAI chat message of this turn."""
        message: Message = {"role": self.role, "content": self.content}
        if self.tool_calls:
            message["tool_calls"] = [
                {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
                for c in self.tool_calls
            ]
        if self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        return message
