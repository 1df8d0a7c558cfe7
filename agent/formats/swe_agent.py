"""SWE-agent trajectories (`.traj`): the `history` of messages, in text-action and function-calling variants.

What the environment answers stands in the user's place in the text variant; here it is a tool result, and
only the task is a user turn. Demonstrations are no turns. mini-swe-agent's `messages` are read the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.formats.base import Parsed, Place, total
from agent.formats.turns import (
    Times,
    call,
    conversation_name,
    digest,
    make_turn,
    refuse,
    text_of,
    unknown,
    word,
)

_ROLES = frozenset(("system", "developer", "user", "assistant", "tool"))


class SweAgent:
    """SWE-agent trajectories."""

    name = "swe-agent"

    def accepts(self, record: Any) -> bool:
        """Look for a history with messages, or for steps of an action and its observation."""
        if not isinstance(record, Mapping):
            return False
        if isinstance(record.get("messages"), list) and "mini-swe-agent" in str(
            record.get("trajectory_format")
        ):
            return True
        history, steps = record.get("history"), record.get("trajectory")
        if isinstance(history, list) and history:
            return all(isinstance(message, Mapping) and "role" in message for message in history[:3])
        return isinstance(steps, list) and any(
            isinstance(s, Mapping) and "observation" in s for s in steps[:3]
        )

    def reader(self, state: str = "") -> SweAgentReader:
        """Return a reader of one trajectory, or of several, one a line."""
        return SweAgentReader()


class SweAgentReader:
    """Reads trajectories."""

    def read(self, record: Any, place: Place) -> Parsed:
        """Take one trajectory."""
        if not isinstance(record, Mapping):
            return refuse(place, "a JSON object is needed", record)
        history = record.get("history") or record.get("messages") or _of_steps(record.get("trajectory"))
        if not isinstance(history, list) or not history:
            return refuse(place, "history: a list of messages is needed", record)
        return _Conversation(record, history, place).read()

    def end(self) -> Parsed:
        """Return nothing: no record is held."""
        return Parsed()

    def state(self) -> str:
        """Return nothing: each record stands by itself."""
        return ""


class _Conversation:
    def __init__(self, record: Mapping[str, Any], history: list[Any], place: Place) -> None:
        self._history = history
        self._place = place
        run = [place.file or place.position, record.get("environment"), record.get("instance_id")]
        self._name = f"swe-{digest([run, history[:3]])}"  # it keeps its name when it grows
        self._times: dict[str, Times] = {}
        self._acted: set[str] = set()
        agents = {str(m.get("agent")) for m in history if isinstance(m, Mapping)}
        self._several = len(agents) > 1

    def read(self) -> Parsed:
        """Read every message."""
        return total(
            self._message(message, self._place.part(f"history[{number}]", number))
            for number, message in enumerate(self._history)
        )

    def _message(self, message: Any, place: Place) -> Parsed:
        if not isinstance(message, Mapping):
            return refuse(place, "a JSON object is needed", message)
        role: Any = word(message, "role")
        if message.get("is_demo") or message.get("message_type") == "demonstration":
            return Parsed(noise=1)
        if role == "exit":
            return Parsed(metadata=1)
        if role not in _ROLES:
            return unknown(place, f"message of role {message.get('role')}", message)
        agent = str(message.get("agent")) if self._several else ""
        conversation = conversation_name(self._name, agent) if agent else self._name
        extra = message.get("extra")
        when = message.get("timestamp", extra.get("timestamp") if isinstance(extra, Mapping) else None)
        ts, odd = self._times.setdefault(conversation, Times()).read(when, place)
        call_id = None
        if role == "user" and conversation in self._acted:
            role = "tool"
        if role == "tool":
            ids = message.get("tool_call_ids") or [message.get("tool_call_id")]
            call_id = ids[0] if isinstance(ids, list) and ids and isinstance(ids[0], str) else None
        elif role == "assistant":
            self._acted.add(conversation)
        turn = make_turn(
            place,
            conversation,
            place.position,
            role,
            text_of(message.get("content")),
            ts=ts,
            calls=_calls(message) if role == "assistant" else None,
            call_id=call_id,
        )
        return turn + Parsed(remarks=odd)


def _calls(message: Mapping[str, Any]) -> list[dict[str, str]]:
    calls = message.get("tool_calls")
    found = []
    for one in calls if isinstance(calls, list) else []:
        if isinstance(one, Mapping):
            body = one.get("function")
            body = body if isinstance(body, Mapping) else one
            found.append(call(one.get("id"), body.get("name"), body.get("arguments")))
    return found


def _of_steps(steps: Any) -> list[Any]:
    """Make a history of steps, for a trajectory that holds no other."""
    history: list[Any] = []
    for step in steps if isinstance(steps, list) else []:
        if isinstance(step, Mapping):
            history.append({"role": "assistant", "content": step.get("response") or step.get("thought")})
            history.append({"role": "tool", "content": step.get("observation")})
    return history
