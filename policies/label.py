"""A label: whether one decision followed or ignored one direction, who says so, how sure, and why."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Verdict = Literal["followed", "ignored", "unknown"]


class Label(BaseModel):
    """A verdict on (decision, direction). `direction_id` is None where no direction is known."""

    model_config = ConfigDict(frozen=True)

    decision_id: str
    direction_id: str | None
    verdict: Verdict
    confidence: float = Field(ge=0.0, le=1.0)
    labeller: str
    evidence: str = ""


_BY_SEVERITY: tuple[Verdict, ...] = ("ignored", "followed", "unknown")


def worst(verdicts: list[Verdict]) -> Verdict:
    """Return the verdict that a decision counts under: ignored before followed before unknown."""
    return next((verdict for verdict in _BY_SEVERITY if verdict in verdicts), "unknown")
