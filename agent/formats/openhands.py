"""OpenHands events: the list of an exported trajectory, evaluation output (`history`), and the SDK's events.

An action of the agent is an assistant turn with a call; the observation it caused is the result. All calls of
one answer of the model are one turn, though each has an action of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from agent.formats.base import Parsed, Place, total
from agent.formats.openhands_sdk import is_sdk_event, read_sdk_event
from agent.formats.state import State, StatefulReader
from agent.formats.turns import (
    Times,
    call,
    conversation_name,
    digest,
    kind_of,
    make_turn,
    refuse,
    text_of,
    unknown,
    word,
)
from agent.formats.wrappers import unwrap
from policies.sentences import word_set

_SILENT_ACTIONS = word_set(
    """
    null change_agent_state recall condensation condensation_request pause resume stop init
    loop_recovery send_pr push
    """
)
_SILENT_OBSERVATIONS = frozenset(("null", "agent_state_changed", "recall", "think", "agent_condensation"))
_TOOLS = word_set(
    """
    run run_ipython read write edit browse browse_interactive delegate finish reject think call_tool_mcp
    mcp task_tracking kill add_task modify_task summarize
    """
)
_BROKEN_OFF = frozenset(("stopped", "paused", "error", "user_rejected"))
_KEPT_ANSWERS = 64


class _State(State):
    """`answers`: the model's answers whose calls are all taken already."""

    seed: str = ""
    times: Times = Times()
    interrupted: bool = False
    answers: list[str] = Field(default_factory=list)


class OpenHands:
    """OpenHands trajectories and events."""

    name = "openhands"

    def accepts(self, record: Any) -> bool:
        """Look for events with a source and an action or observation."""
        if isinstance(record, list):
            return any(_is_event(event) for event in record[:5])
        if not isinstance(record, Mapping):
            return False
        inside = record.get("history", record.get("entries"))
        if isinstance(inside, list):
            return any(
                _is_event(event) or "actorType" in event for event in inside[:5] if isinstance(event, Mapping)
            )
        return _is_event(record)

    def reader(self, state: str = "") -> OpenHandsReader:
        """Return a reader of one trajectory, or of several, one a line."""
        return OpenHandsReader(_State.restored(state))


class OpenHandsReader(StatefulReader[_State]):
    """Reads events, or lists of them."""

    def read(self, record: Any, place: Place) -> Parsed:
        """Take an event, a list of events, or a record that holds such a list."""
        events = record
        if isinstance(record, Mapping):
            events = record.get("history", record.get("entries"))
        if not isinstance(events, list):
            self._state.seed = self._state.seed or digest(record)
            return self._event(record, place)
        self._state = _State(seed=_seed(record, events, place))
        return total(
            self._event(event, place.part(f"event {number}", number)) for number, event in enumerate(events)
        )

    def _event(self, event: Any, place: Place) -> Parsed:
        if not isinstance(event, Mapping):
            return refuse(place, "a JSON object is needed", event)
        ts, odd = self._state.times.read(event.get("timestamp"), place)
        return Parsed(remarks=odd) + self._known_event(event, ts, place)

    def _known_event(self, event: Mapping[str, Any], ts: int, place: Place) -> Parsed:
        if is_sdk_event(event):
            return self._sdk(event, ts, place)
        if "actorType" in event:
            return self._entry(event, ts, place)
        if isinstance(event.get("action"), str):
            return self._action(event, event["action"], ts, place)
        if isinstance(event.get("observation"), str):
            return self._observation(event, event["observation"], ts, place)
        return unknown(place, kind_of(event), event)

    def _action(self, event: Mapping[str, Any], action: str, ts: int, place: Place) -> Parsed:
        args = event.get("args")
        args = args if isinstance(args, Mapping) else {}
        if action == "system":
            return self._turn(event, "system", text_of(args.get("content")), ts, place)
        if action == "message":
            said = text_of(args.get("content")) or text_of(event.get("message"))
            if event.get("source") == "user":
                return self._user(event, said, ts, place)
            return self._turn(event, "assistant", said, ts, place)
        if action in _SILENT_ACTIONS or event.get("source") != "agent":
            return Parsed(metadata=1)
        if action not in _TOOLS and "tool_call_metadata" not in event:
            return unknown(place, f"action {action}", event)
        return self._call(event, action, args, ts, place)

    def _call(
        self, event: Mapping[str, Any], action: str, args: Mapping[str, Any], ts: int, place: Place
    ) -> Parsed:
        said, calls, answer, model = _answer_of(event)
        if answer is not None and calls:
            if answer in self._state.answers:
                return Parsed(metadata=1)
            self._state.answers = [*self._state.answers, answer][-_KEPT_ANSWERS:]
        if not calls:
            arguments = {name: value for name, value in args.items() if name != "thought"}
            calls = [call(_identity(event, place), action, arguments)]
        text = said or text_of(args.get("thought")) or text_of(args.get("final_thought"))
        return self._turn(event, "assistant", text, ts, place, calls=calls, model=model)

    def _observation(self, event: Mapping[str, Any], observation: str, ts: int, place: Place) -> Parsed:
        extras = event.get("extras")
        extras = extras if isinstance(extras, Mapping) else {}
        if observation == "agent_state_changed" and word(extras, "agent_state") in _BROKEN_OFF:
            self._state.interrupted = True
            return Parsed(metadata=1, interrupts=1)
        if observation == "recall" and text_of(extras.get("repo_instructions")).strip():
            return self._turn(event, "system", text_of(extras.get("repo_instructions")), ts, place)
        metadata = event.get("tool_call_metadata")
        call_id = metadata.get("tool_call_id") if isinstance(metadata, Mapping) else None
        if observation in _SILENT_OBSERVATIONS and (call_id is None or observation == "null"):
            return Parsed(metadata=1)
        if call_id is None and event.get("cause") is None:
            return Parsed(metadata=1)
        call_id = call_id if isinstance(call_id, str) else f"event-{event.get('cause')}"
        refused = observation == "user_rejected"
        content = text_of(event.get("content")) or text_of(event.get("message"))
        return self._turn(event, "tool", content, ts, place, call_id=call_id, interrupted=refused)

    def _user(self, event: Mapping[str, Any], said: str, ts: int, place: Place) -> Parsed:
        unwrapped = unwrap(said)
        result = Parsed()
        for rule in unwrapped.rules:
            result += self._turn(event, "system", rule, ts, place)
        if not unwrapped.typed.strip():
            return result + Parsed(noise=1)
        interrupted, self._state.interrupted = self._state.interrupted, False
        return result + self._turn(event, "user", unwrapped.typed, ts, place, interrupted=interrupted)

    def _entry(self, entry: Mapping[str, Any], ts: int, place: Place) -> Parsed:
        """Read an entry of the trajectory viewer: who did it stands in `actorType`."""
        kind, who, said = entry.get("type"), entry.get("actorType"), text_of(entry.get("content"))
        if who == "User" and kind == "message":
            return self._user(entry, said, ts, place)
        if who == "System" and kind == "message":
            return self._turn(entry, "system", said, ts, place)
        if who == "Assistant" and kind in ("message", "thought"):
            return self._turn(entry, "assistant", said, ts, place)
        if who == "Assistant" and isinstance(kind, str):
            one = call(
                _identity(entry, place), kind, {k: v for k, v in entry.items() if k in ("command", "path")}
            )
            return self._turn(entry, "assistant", said, ts, place, calls=[one])
        return unknown(place, f"entry {kind} of {who}", entry)

    def _sdk(self, event: Mapping[str, Any], ts: int, place: Place) -> Parsed:
        read = read_sdk_event(event)
        if read is None:
            return unknown(place, event.get("kind"), event)
        if read.role is None:
            self._state.interrupted = self._state.interrupted or read.interrupt
            return Parsed(metadata=1, interrupts=int(read.interrupt))
        if read.role == "user":
            return self._user(event, read.content, ts, place)
        return self._turn(
            event, read.role, read.content, ts, place, calls=list(read.calls), call_id=read.call_id,
            interrupted=read.interrupt,
        )  # fmt: skip

    def _turn(
        self, event: Mapping[str, Any], role: Any, content: str, ts: int, place: Place, **more: Any
    ) -> Parsed:
        name = conversation_name(f"openhands-{self._state.seed}")
        return make_turn(place, name, str(event.get("id", place.position)), role, content, ts=ts, **more)


def _seed(record: Any, events: list[Any], place: Place) -> str:
    """Name a trajectory by how it begins, so that it keeps its name when it grows."""
    instance = record.get("instance_id") if isinstance(record, Mapping) else None
    first = events[0] if events else None
    timed = isinstance(first, Mapping) and first.get("timestamp") is not None
    return digest([instance, first, None if timed else [place.file, place.position]])


def _is_event(event: Any) -> bool:
    if not isinstance(event, Mapping):
        return False
    if is_sdk_event(event):
        return True
    known_source = word(event, "source") in ("agent", "user", "environment")
    return known_source and bool(word(event, "action") or word(event, "observation"))


def _identity(event: Mapping[str, Any], place: Place) -> str:
    return f"event-{event.get('id', place.position)}"


def _answer_of(event: Mapping[str, Any]) -> tuple[str, list[dict[str, str]], str | None, object]:
    """Return what the model wrote for an action: its text, its calls, the id of its answer, its name."""
    metadata = event.get("tool_call_metadata")
    response = metadata.get("model_response") if isinstance(metadata, Mapping) else None
    if not isinstance(metadata, Mapping) or not isinstance(response, Mapping):
        return "", _own_call(event, metadata), None, None
    choices = response.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, Mapping) else None
    if not isinstance(message, Mapping):
        return "", _own_call(event, metadata), None, response.get("model")
    calls = []
    listed = message.get("tool_calls")
    for one in listed if isinstance(listed, list) else []:
        if isinstance(one, Mapping):
            body = one.get("function")
            body = body if isinstance(body, Mapping) else one
            calls.append(call(one.get("id"), body.get("name"), body.get("arguments")))
    answer = response.get("id") if calls and isinstance(response.get("id"), str) else None
    return text_of(message.get("content")), calls or _own_call(event, metadata), answer, response.get("model")


def _own_call(event: Mapping[str, Any], metadata: Any) -> list[dict[str, str]]:
    if not isinstance(metadata, Mapping):
        return []
    args = event.get("args")
    return [call(metadata.get("tool_call_id"), metadata.get("function_name"), args)]
