"""A direction: what the user or the system prompt asked for, and for how long it holds."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Scope = Literal["standing", "once"]
"""`standing` holds until replaced or withdrawn; `once` holds for the answer to its own turn."""


class Direction(BaseModel):
    """One directing sentence and the turn it stands in."""

    model_config = ConfigDict(frozen=True)

    id: str
    conversation_id: str
    event_id: str
    text: str
    scope: Scope
