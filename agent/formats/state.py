"""What a reader knows of its file, as text that can be kept beside the place it has reached."""

from __future__ import annotations

import json
from typing import Self

from pydantic import BaseModel


class State(BaseModel):
    """Base of the states. Halves of surrogate pairs, which logs hold, survive the keeping."""

    @classmethod
    def restored(cls, text: str) -> Self:
        """Return the state that was kept; a new one for \"\"."""
        return cls.model_validate(json.loads(text)) if text else cls()

    def kept(self) -> str:
        """Return the state as ASCII JSON."""
        return json.dumps(self.model_dump(exclude_defaults=True), separators=(",", ":"))
