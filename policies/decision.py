"""A decision point: one assistant action under the directions in force."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from policies.direction import Direction
from policies.turn import Turn


class DecisionPoint(BaseModel):
    """One assistant message, or one further tool call in it, with what came before it.

    `call_index` is 0 for the message (with its first tool call) and counts the further calls from 1.
    """

    model_config = ConfigDict(frozen=True)

    conversation_id: str
    turn: Turn
    call_index: int
    context: tuple[Turn, ...]
    directions: tuple[Direction, ...]

    @property
    def id(self) -> str:
        """Identify the decision by its turn, so that the same log gives the same decision."""
        return f"{self.turn.event_id}#{self.call_index}"
