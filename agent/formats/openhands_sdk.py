"""The events of the OpenHands software agent SDK, each of a `kind`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.formats.turns import call, text_of
from policies.sentences import word_set
from policies.turn import Role

_SILENT = word_set(
    """
    ConversationStateUpdateEvent Condensation CondensationRequest CondensationSummaryEvent TokenEvent
    LLMCompletionLogEvent ConversationErrorEvent StreamingDeltaEvent HookExecutionEvent ResumeEvent
    """
)
_STOPS = frozenset(("PauseEvent", "InterruptEvent"))
_KNOWN = (
    _SILENT
    | _STOPS
    | {
        "MessageEvent",
        "SystemPromptEvent",
        "ActionEvent",
        "ObservationEvent",
        "AgentErrorEvent",
        "UserRejectObservation",
    }
)


@dataclass(frozen=True)
class SdkEvent:
    """What an event says. `role` None: it carries no message; `interrupt`: the user stopped or refused."""

    role: Role | None = None
    content: str = ""
    calls: tuple[dict[str, str], ...] = ()
    call_id: str | None = None
    interrupt: bool = False


def is_sdk_event(event: Mapping[str, Any]) -> bool:
    """Say whether an event is one of the SDK's."""
    return isinstance(event.get("kind"), str) and (event["kind"] in _KNOWN or event["kind"].endswith("Event"))


def read_sdk_event(event: Mapping[str, Any]) -> SdkEvent | None:
    """Read one event; None for an unknown kind."""
    kind = event["kind"]
    if kind in _SILENT or kind in _STOPS:
        return SdkEvent(interrupt=kind in _STOPS)
    if kind == "SystemPromptEvent":
        return SdkEvent("system", text_of(event.get("system_prompt")))
    if kind == "MessageEvent":
        return _message(event)
    if kind == "ActionEvent":
        return _action(event)
    if kind in ("ObservationEvent", "AgentErrorEvent", "UserRejectObservation"):
        call_id = event.get("tool_call_id")
        said = next((event[k] for k in ("observation", "error", "rejection_reason") if event.get(k)), None)
        content = said.get("content", said.get("output", said)) if isinstance(said, Mapping) else said
        return SdkEvent(
            "tool",
            text_of(content),
            call_id=call_id if isinstance(call_id, str) else None,
            interrupt=kind == "UserRejectObservation",
        )
    return None


def _message(event: Mapping[str, Any]) -> SdkEvent:
    message = event.get("llm_message")
    message = message if isinstance(message, Mapping) else {}
    is_user = event.get("source") == "user" or message.get("role") == "user"
    return SdkEvent("user" if is_user else "assistant", text_of(message.get("content")))


def _action(event: Mapping[str, Any]) -> SdkEvent:
    one = event.get("tool_call")
    one = one if isinstance(one, Mapping) else {}
    body = one.get("function")
    body = body if isinstance(body, Mapping) else one
    arguments = body.get("arguments", event.get("action"))
    name = body.get("name") or event.get("tool_name")
    return SdkEvent(
        "assistant",
        text_of(event.get("thought")),
        calls=(call(event.get("tool_call_id") or one.get("id"), name, arguments),),
    )
