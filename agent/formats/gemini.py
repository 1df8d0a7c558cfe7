"""Gemini CLI sessions: `~/.gemini/tmp/<project>/chats/session-*.json`, and the JSONL of later versions.

A message of the model holds its calls with their results. In the JSONL a message is written again as it
grows; the last one before another message counts. `info`, `warning` and `error` are the harness speaking.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.formats.base import Parsed, Place, total
from agent.formats.state import State, StatefulReader
from agent.formats.turns import (
    Times,
    call,
    conversation_name,
    digest,
    json_text,
    kind_of,
    make_turn,
    refuse,
    text_of,
    unknown,
    word,
)
from agent.formats.wrappers import unwrap

_HARNESS = frozenset(("info", "warning", "error", "system", "help", "about", "stats", "quit", "compression"))
_MODEL = frozenset(("gemini", "model", "assistant"))
_CANCELLED = "Request cancelled"


class _State(State):
    """`held`: the message that may be written again, with its place."""

    session: str = ""
    times: Times = Times()
    interrupted: bool = False
    held: dict[str, Any] | None = None
    held_at: str = ""
    held_position: int = 0


class Gemini:
    """Gemini CLI sessions."""

    name = "gemini"

    def accepts(self, record: Any) -> bool:
        """Look for the head of a session."""
        return (
            isinstance(record, Mapping)
            and "sessionId" in record
            and (
                "projectHash" in record
                or (isinstance(record.get("messages"), list) and "startTime" in record)
            )
        )

    def reader(self, state: str = "") -> GeminiReader:
        """Return a reader of one session."""
        return GeminiReader(_State.restored(state))


class GeminiReader(StatefulReader[_State]):
    """Reads one session."""

    def __init__(self, state: _State) -> None:
        super().__init__(state)
        self._now_ms = 0

    def read(self, record: Any, place: Place) -> Parsed:
        """Take a whole session, or one line of it."""
        self._now_ms = place.now_ms
        if not isinstance(record, Mapping):
            return refuse(place, "a JSON object is needed", record)
        if "sessionId" in record and "type" not in record:
            return self._session(record, place)
        if "$set" in record or "$unset" in record:
            return Parsed(metadata=1)
        if "$rewindTo" in record:
            self._state.interrupted = True
            return self.end() + Parsed(metadata=1)
        if "type" not in record:
            return unknown(place, kind_of(record), record)
        return self._hold(dict(record), place)

    def end(self) -> Parsed:
        """Return the message that is held."""
        held, self._state.held = self._state.held, None
        if held is None:
            return Parsed()
        return self._message(held, Place(self._state.held_at, self._state.held_position, self._now_ms))

    def _session(self, record: Mapping[str, Any], place: Place) -> Parsed:
        done = self.end()
        session = record.get("sessionId")
        if isinstance(session, str) and session != self._state.session:
            self._state = _State(session=session)
        messages = record.get("messages")
        if messages is None:
            return done + Parsed(metadata=1)
        if not isinstance(messages, list):
            return done + refuse(place, "messages: a list is needed", record)
        return done + total(
            self._message(message, place.part(f"messages[{number}]", number))
            for number, message in enumerate(messages)
        )

    def _hold(self, record: dict[str, Any], place: Place) -> Parsed:
        held = self._state.held
        again = held is not None and held.get("id") is not None and held["id"] == record.get("id")
        done = Parsed() if again else self.end()
        self._state.held, self._state.held_at, self._state.held_position = record, place.at, place.position
        return done if word(record, "type") in _MODEL else done + self.end()

    def _message(self, message: Any, place: Place) -> Parsed:
        if not isinstance(message, Mapping):
            return refuse(place, "a JSON object is needed", message)
        kind = word(message, "type")
        ts, odd = self._state.times.read(message.get("timestamp"), place)
        if kind == "user":
            return Parsed(remarks=odd) + self._user(message, ts, place)
        if kind in _MODEL:
            return Parsed(remarks=odd) + self._answer(message, ts, place)
        if kind in _HARNESS:
            cancelled = text_of(message.get("content")).startswith(_CANCELLED)
            self._state.interrupted = self._state.interrupted or cancelled
            return Parsed(metadata=1, interrupts=int(cancelled))
        return unknown(place, kind_of(message), message)

    def _user(self, message: Mapping[str, Any], ts: int, place: Place) -> Parsed:
        unwrapped = unwrap(text_of(message.get("content")))
        result = Parsed()
        for rule in unwrapped.rules:
            result += self._turn(message, "rules", "system", rule, ts, place)
        if not unwrapped.typed.strip():
            return result + Parsed(noise=1)
        interrupted, self._state.interrupted = self._state.interrupted, False
        return result + self._turn(message, 0, "user", unwrapped.typed, ts, place, interrupted=interrupted)

    def _answer(self, message: Mapping[str, Any], ts: int, place: Place) -> Parsed:
        calls = message.get("toolCalls")
        calls = [one for one in calls if isinstance(one, Mapping)] if isinstance(calls, list) else []
        content = text_of(message.get("content"))
        if not content.strip() and not calls:
            return Parsed(metadata=1)
        flat = [call(one.get("id"), one.get("name"), one.get("args")) for one in calls]
        result = self._turn(
            message, 0, "assistant", content, ts, place, calls=flat, model=message.get("model")
        )
        for number, (one, known) in enumerate(zip(calls, flat, strict=True)):
            text = _result(one)
            if text is not None:
                refused = one.get("status") == "cancelled"
                result += self._turn(
                    message, number + 1, "tool", text, ts, place, call_id=known["id"], interrupted=refused
                )
        return result

    def _turn(
        self,
        message: Mapping[str, Any],
        part: object,
        role: Any,
        content: str,
        ts: int,
        place: Place,
        **more: Any,
    ) -> Parsed:
        key = message.get("id") if isinstance(message.get("id"), str) else place.position
        session = self._state.session or f"gemini-{digest(message)}"
        return make_turn(place, conversation_name(session), [key, part], role, content, ts=ts, **more)


def _result(one: Mapping[str, Any]) -> str | None:
    """Return what a call gave, None where it has not ended."""
    result = one.get("result")
    if result is None and one.get("resultDisplay") is None:
        return None
    parts = result if isinstance(result, list) else [result]
    texts = []
    for part in parts:
        response = part.get("functionResponse") if isinstance(part, Mapping) else None
        body = response.get("response") if isinstance(response, Mapping) else None
        if isinstance(body, Mapping):
            said = next((body[k] for k in ("output", "error", "content", "result") if body.get(k)), body)
            texts.append(json_text(said))
        elif part is not None:
            texts.append(text_of(part))
    return "\n".join(texts) if result is not None else text_of(one.get("resultDisplay"))
