"""An example: what the learner trains on."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from policies.turn import Message

Kind = Literal["correction", "general"]
Origin = Literal[
    "correction",
    "accepted",
    "repair",
    "few_shot",
    "followed",
    "rehearsal:repair",
    "rehearsal:few_shot",
    "ordinary",
    "base",
]
"""Who wrote `chosen`: the user, the agent when it was told (and the user let it stand), a constraint's
repair, the live model with corrected turns in its context, the agent when it followed by itself, the same
two on another prompt (rehearsal of `parent`), the agent's ordinary turn, or the base model (general pool)."""
ExampleState = Literal["needs_pair", "ready", "held", "quarantined", "superseded", "refused"]


class Example(BaseModel):
    """A context with the decision to learn (`chosen`) and the one to leave (`rejected`, may be absent).

    `twin_context` is the same context without the direction; None when there is nothing to take out.
    `parent` is the example that it rehearses.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    kind: Kind
    decision_id: str | None = None
    direction: str | None = None
    context: tuple[Message, ...]
    chosen: str | None = None
    rejected: str | None = None
    twin_context: tuple[Message, ...] | None = None
    weight: float = Field(default=1.0, gt=0.0)
    origin: Origin
    author: str | None = None
    parent: str | None = None
    state: ExampleState = "ready"

    @property
    def corrects(self) -> bool:
        """Whether it is a corrected decision itself: neither a rehearsal of one nor a followed answer."""
        return self.kind == "correction" and self.parent is None and self.origin != "followed"
