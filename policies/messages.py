"""The payloads of contract v1: what comes in over the bus, and what goes out.

The JSON schemas of `run.py schema` are generated from these models.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from policies.turn import Role

MAX_CONTENT = 1_000_000
"""Characters of one turn's content; a longer one is kept as a dead letter."""

Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]
Id = Annotated[str, Field(min_length=1, max_length=200)]


class _Inbound(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    event_id: Id


class TurnPayload(_Inbound):
    """One turn of a conversation. `ts` is RFC 3339 UTC; absent means now."""

    conversation_id: Id
    role: Role
    content: Annotated[Text, Field(max_length=MAX_CONTENT)] = ""
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    ts: str | None = None
    model: str | None = None
    weight_version: str | None = None
    interrupted: bool = False


class CorrectionPayload(_Inbound):
    """A person's verdict on one turn, with the direction and the right answer where they are given."""

    conversation_id: Id
    turn_event_id: Id
    verdict: Literal["followed", "ignored"]
    direction: str | None = Field(default=None, max_length=10_000)
    corrected: str | None = Field(default=None, max_length=MAX_CONTENT)
    author: str | None = Field(default=None, max_length=200)


CommandName = Literal[
    "pause",
    "resume",
    "rollback",
    "probe",
    "apply_vector",
    "remove_vector",
    "check_out",
    "revert",
    "steer",
]


class CommandPayload(_Inbound):
    """An order to the loop or the learner, answered on `events` with `reply_to` = this `event_id`."""

    command: CommandName
    args: dict[str, Any] = Field(default_factory=dict)


class _Outbound(BaseModel):
    model_config = ConfigDict(frozen=True)

    ts: str


class StatusPayload(_Outbound):
    """Retained; the last will says `offline`."""

    state: Literal["starting", "measuring", "listening", "preparing", "training", "paused", "offline"]
    weight_version: str | None = None
    step: int | None = None
    queues: dict[str, int] = Field(default_factory=dict)
    last_probe: dict[str, float] = Field(default_factory=dict)


class LabelEvent(_Outbound):
    """A decision was labelled."""

    type: Literal["label"] = "label"
    decision_id: str
    verdict: Literal["followed", "ignored", "unknown"]
    confidence: float
    labeller: str


class StepEvent(_Outbound):
    """A training step was confirmed or dropped."""

    type: Literal["step"] = "step"
    step: int
    state: Literal["confirmed", "dropped"]
    loss: float | None
    replay_share: float


class ProbeEvent(_Outbound):
    """A set of regression probes was run on the live weights."""

    type: Literal["probe"] = "probe"
    step: int | None
    values: dict[str, float]
    verdict: Literal["baseline", "accept", "breach"]


class VersionEvent(_Outbound):
    """A durable version of the live weights was written."""

    type: Literal["version"] = "version"
    version: str
    parent: str | None
    kind: str


class RollbackEvent(_Outbound):
    """The live weights were put back to an earlier version."""

    type: Literal["rollback"] = "rollback"
    to_version: str
    reason: str
    quarantined: int
    bit_for_bit: bool


class AlertEvent(_Outbound):
    """Something that a person should know."""

    type: Literal["alert"] = "alert"
    message: str


class ReplyEvent(_Outbound):
    """The answer to a command."""

    type: Literal["reply"] = "reply"
    reply_to: str
    ok: bool
    result: dict[str, Any] = Field(default_factory=dict)


OutboundEvent = LabelEvent | StepEvent | ProbeEvent | VersionEvent | RollbackEvent | AlertEvent | ReplyEvent
