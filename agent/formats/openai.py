"""Conversations in the shape of OpenAI chat messages.

A record is one turn (with `conversation_id`), a conversation `{"messages": [...]}`, or
`{"conversation_id", "turns": [...]}`; a document is such a record, or a list of messages or of records.
Ids that a log leaves out are derived, so that the same log read again gives the same turns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.formats.base import Parsed, Place, total
from agent.formats.turns import digest, kind_of, refuse, unknown
from policies.parsing import derived_event_id, parse_turns

_LISTS = ("messages", "turns")


class OpenAIMessages:
    """Turns and conversations."""

    name = "openai-messages"

    def accepts(self, record: Any) -> bool:
        """Look for a role, or for a list of messages."""
        if isinstance(record, list):
            return any(isinstance(one, Mapping) and self.accepts(one) for one in record[:5])
        return isinstance(record, Mapping) and any(key in record for key in ("role", *_LISTS))

    def reader(self, state: str = "") -> OpenAIMessagesReader:
        """Return a reader of one log."""
        return OpenAIMessagesReader()


class OpenAIMessagesReader:
    """Reads turns and conversations."""

    def read(self, record: Any, place: Place) -> Parsed:
        """Take one record, or a document of them."""
        if not isinstance(record, list):
            return _record(record, place)
        if any(isinstance(one, Mapping) and "role" in one for one in record):
            with_id = all(isinstance(one, Mapping) and "conversation_id" in one for one in record)
            record = record if with_id else [{"messages": record}]
        return total(
            _record(one, place.part(f"record {number}", number)) for number, one in enumerate(record)
        )

    def end(self) -> Parsed:
        """Return nothing: no record is held."""
        return Parsed()

    def state(self) -> str:
        """Return nothing: each record stands by itself."""
        return ""


def _record(record: Any, place: Place) -> Parsed:
    """Read one decoded record; its position tells equal turns without id and time apart."""
    if not isinstance(record, Mapping):
        return refuse(place, "a JSON object is needed", record)
    key = next((key for key in _LISTS if key in record), None)
    if key is None:
        if "role" not in record:
            return unknown(place, kind_of(record), record)
        turn = _identified(record, record.get("ts") or place.position)
        turns, bad = parse_turns(turn, place.now_ms, place.at)
        return Parsed(tuple(turns), tuple(bad))
    items = record[key]
    if not isinstance(items, list):
        return refuse(place, f"{key}: a list is needed", record)
    conversation = record.get("conversation_id") or _conversation_id(items, place)
    shared = {"conversation_id": conversation, **{k: record[k] for k in ("model", "ts") if k in record}}
    filled = [_identified({**shared, **i}, n) if isinstance(i, Mapping) else i for n, i in enumerate(items)]
    turns, bad = parse_turns({"turns": filled}, place.now_ms, place.at)
    return Parsed(tuple(turns), tuple(bad))


def _identified(record: Mapping[str, Any], position: object) -> dict[str, Any]:
    """Give a turn without `event_id` one of its conversation, place, role and content."""
    if record.get("event_id") is not None or not isinstance(record.get("conversation_id"), str):
        return dict(record)
    event_id = derived_event_id(
        record["conversation_id"],
        position,
        record.get("role"),
        [record.get("content"), record.get("tool_calls")],
    )
    return {**record, "event_id": event_id}


def _conversation_id(messages: list[Any], place: Place) -> str:
    """Name a conversation that has no id. One in a document keeps its name when it grows."""
    begin = [place.file, messages[:1]] if place.file else messages
    return f"c{digest([place.position, begin])}"
