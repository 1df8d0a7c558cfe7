"""An assistant message that a log writes in several records: held until it is complete."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel

from agent.formats.base import Parsed, Place
from agent.formats.state import State, StatefulReader
from agent.formats.turns import make_turn


class Draft(BaseModel):
    """What is known of the message so far. `key` says which records belong to it."""

    key: str
    conversation: str
    at: str
    position: int
    ts: int
    identity: str
    """What the event id is made of: the same for the same message of the same log."""
    model: str | None = None
    texts: list[str] = []
    calls: list[dict[str, str]] = []
    interrupted: bool = False

    def add_text(self, text: str) -> None:
        """Add a piece of text; one that is there already was logged twice."""
        if text.strip() and text not in self.texts:
            self.texts.append(text)

    def add_call(self, call: dict[str, str]) -> None:
        """Add a tool call; one whose id is there already was logged twice."""
        if all(call["id"] != known["id"] for known in self.calls):
            self.calls.append(call)

    def finish(self, now_ms: int) -> Parsed:
        """Return the turn; nothing where the message said nothing (it only thought)."""
        if not self.texts and not self.calls and not self.interrupted:
            return Parsed()
        return make_turn(
            Place(self.at, self.position, now_ms),
            self.conversation,
            self.identity,
            "assistant",
            "\n\n".join(self.texts),
            ts=self.ts,
            calls=self.calls,
            model=self.model,
            interrupted=self.interrupted,
        )


class DraftState(State):
    """A state with the message that is held."""

    draft: Draft | None = None


D = TypeVar("D", bound=DraftState)


class DraftingReader(StatefulReader[D]):
    """Base of the readers that hold a message until it is complete. `read` keeps `_now_ms` up to date."""

    def __init__(self, state: D) -> None:
        super().__init__(state)
        self._now_ms = 0

    def end(self) -> Parsed:
        """Return the message that is held."""
        draft, self._state.draft = self._state.draft, None
        return Parsed() if draft is None else draft.finish(self._now_ms)
