"""What a reader knows of its file, as text that can be kept beside the place it has reached."""

from __future__ import annotations

import json
from typing import Generic, Self, TypeVar

from pydantic import BaseModel

from agent.formats.base import Parsed


class State(BaseModel):
    """Base of the states. Halves of surrogate pairs, which logs hold, survive the keeping."""

    @classmethod
    def restored(cls, text: str) -> Self:
        """Return the state that was kept; a new one for \"\"."""
        return cls.model_validate(json.loads(text)) if text else cls()

    def kept(self) -> str:
        """Return the state as ASCII JSON."""
        return json.dumps(self.model_dump(exclude_defaults=True), separators=(",", ":"))


S = TypeVar("S", bound=State)


class StatefulReader(Generic[S]):
    """Base of the readers that remember something between records, and hold none back."""

    def __init__(self, state: S) -> None:
        self._state = state

    def end(self) -> Parsed:
        """Return nothing: no record is held."""
        return Parsed()

    def state(self) -> str:
        """Return what is known."""
        return self._state.kept()
